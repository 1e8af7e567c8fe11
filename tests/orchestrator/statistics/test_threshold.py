"""Time to threshold, with runs that never got there."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from orchestrator.results.statistics.runs_table import Curve, RunCurves
from orchestrator.results.statistics.time_to_threshold import ThresholdTime, first_reached, survival, time_to_threshold, waiting

# Weeks of remission with 6-mercaptopurine (Freireich et al. 1963), the textbook example; True: relapse, False: still well when last seen.
WEEKS = [6, 6, 6, 6, 7, 9, 10, 10, 11, 13, 16, 17, 19, 20, 22, 23, 25, 32, 32, 34, 35]
RELAPSE = [1, 1, 1, 0, 1, 0, 1, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0]
times = st.lists(st.builds(ThresholdTime, st.integers(1, 30).map(float), st.booleans()), min_size=5, max_size=15)


def curve(*values: float) -> Curve:
    return Curve(np.arange(len(values), dtype=float) * 10, np.array(values))


def test_the_textbook_example() -> None:
    remission = [ThresholdTime(week, bool(relapse)) for week, relapse in zip(WEEKS, RELAPSE, strict=True)]
    found = waiting(remission)
    events, share, _ = survival(remission)
    assert events.tolist() == [6, 7, 10, 13, 16, 22, 23]
    assert share == pytest.approx([0.857, 0.807, 0.753, 0.690, 0.627, 0.538, 0.448], abs=5e-4)
    assert found.median.value == 23 and found.median.interval == (13, inf), "as R's survfit with log-log intervals"
    assert found.reached == 9 and found.median.n == 21 and found.horizon == 35
    assert found.median.record()["interval"] == [13.0, "inf"]


@given(times)
@settings(max_examples=100)
def test_survival_is_scipys(drawn: list[ThresholdTime]) -> None:
    if not any(time.reached for time in drawn):
        return
    events, share, _ = survival(drawn)
    other = stats.ecdf(
        stats.CensoredData(uncensored=[time.at for time in drawn if time.reached], right=[time.at for time in drawn if not time.reached])
    ).sf
    assert share == pytest.approx(other.evaluate(events), abs=1e-12)


@given(times)
@settings(max_examples=100)
def test_medians_go_with_any_ascending_function_of_time(drawn: list[ThresholdTime]) -> None:
    one, two = waiting(drawn).median, waiting([ThresholdTime(time.at**2, time.reached) for time in drawn]).median
    assert one.value is not None and one.interval is not None and two.interval is not None
    assert two.value == one.value**2
    assert two.interval == (one.interval[0] ** 2, one.interval[1] ** 2)
    if any(time.reached for time in drawn):
        assert one.interval[0] <= min(one.value, max(time.at for time in drawn)) and one.value <= one.interval[1]


def test_without_censoring_it_is_the_median() -> None:
    found = waiting([ThresholdTime(value, True) for value in (5.0, 1.0, 3.0, 9.0, 7.0)])
    assert found.median.value == 5.0
    assert found.median.interval == (1.0, inf), "of five times the last may be the median: two to the minus fifth is more than 2.5 %"


def test_censored_runs_make_it_longer_never_shorter() -> None:
    quick = [ThresholdTime(value, True) for value in (10.0, 20.0, 30.0)]
    left_out, counted = waiting(quick), waiting([*quick, *[ThresholdTime(100.0, False)] * 4])
    assert left_out.median.value == 20.0
    assert counted.median.value == inf, "more than half have not reached it"
    assert counted.median.interval == (10.0, inf)
    nobody = waiting([ThresholdTime(100.0, False)] * 6)
    assert (nobody.median.value, nobody.median.interval) == (inf, (100.0, inf))


def test_the_interval_covers_the_true_median_though_a_third_is_censored() -> None:
    generator = np.random.default_rng(4)
    hits = 0
    for _ in range(400):
        time, end = generator.exponential(1.0, 30), generator.exponential(2.0, 30)
        found = waiting([ThresholdTime(min(one, two), one <= two) for one, two in zip(time.tolist(), end.tolist(), strict=True)])
        hits += bool(found.median.contains(np.log(2)))
    assert 0.92 <= hits / 400 <= 0.99


def test_when_a_curve_reaches_a_level() -> None:
    assert first_reached(curve(0, 5, 4, 5, 6), 5) == ThresholdTime(10, True)
    assert first_reached(curve(3, 2, 1), 1, higher=False) == ThresholdTime(20, True)
    assert first_reached(curve(3, 2, 1), 9) == ThresholdTime(20, False)


def test_groups_of_curves() -> None:
    runs = RunCurves({"a": curve(0, 1), "b": curve(0, 0, 1), "c": curve(0, 0, 0, 0)}, ("d: killed",))
    found = time_to_threshold(runs, 1.0)
    assert (found.median.value, found.reached, found.median.n, found.median.failed) == (20.0, 2, 3, 1)
    assert found.median.interval is None and found.median.points == (10.0, 20.0), "points, since there are fewer than five runs"
    nothing = time_to_threshold(RunCurves({}, ("a: killed",)), 1.0)
    assert nothing.median.value is None and nothing.median.failed == 1
