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
    found = waiting([ThresholdTime(week, bool(relapse)) for week, relapse in zip(WEEKS, RELAPSE, strict=True)])
    assert found.times.tolist() == [6, 7, 10, 13, 16, 22, 23]
    assert found.survival == pytest.approx([0.857, 0.807, 0.753, 0.690, 0.627, 0.538, 0.448], abs=5e-4)
    assert found.median.value == 23 and found.median.interval == (13, inf), "as R's survfit with log-log intervals"
    mean = found.restricted_mean
    assert mean.value == pytest.approx(23.3, abs=0.05) and mean.interval is not None
    assert (mean.interval[1] - mean.value) / 1.96 == pytest.approx(2.83, abs=0.01), "its standard error there"
    assert found.reached == 9 and found.median.n == 21
    assert found.text() == "23 [13, inf] n=21, 9 reached it"
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


def test_without_censoring_it_is_the_median_and_the_mean() -> None:
    found = waiting([ThresholdTime(value, True) for value in (5.0, 1.0, 3.0, 9.0, 7.0)])
    assert found.median.value == 5.0
    assert found.restricted_mean.value == pytest.approx(5.0)
    assert found.median.interval == (1.0, inf), "of five times the last may be the median: two to the minus fifth is more than 2.5 %"


def test_censored_runs_make_it_longer_never_shorter() -> None:
    quick = [ThresholdTime(value, True) for value in (10.0, 20.0, 30.0)]
    left_out, counted = waiting(quick), waiting([*quick, *[ThresholdTime(100.0, False)] * 4], horizon=100.0)
    assert left_out.median.value == 20.0
    assert counted.median.value == inf, "more than half have not reached it"
    assert counted.median.interval == (10.0, inf)
    assert counted.restricted_mean.value == pytest.approx((10 + 20 + 30 + 4 * 100) / 7)
    nobody = waiting([ThresholdTime(100.0, False)] * 6)
    assert (nobody.median.value, nobody.median.interval) == (inf, (100.0, inf))
    with pytest.raises(ValueError, match="beyond the last observation"):
        waiting([ThresholdTime(100.0, False)] * 6, horizon=200.0)


def test_the_interval_covers_the_true_median_though_a_third_is_censored() -> None:
    generator = np.random.default_rng(4)
    median_hits = mean_hits = 0
    for _ in range(400):
        time, end = generator.exponential(1.0, 30), generator.exponential(2.0, 30)
        found = waiting(
            [ThresholdTime(min(one, two), one <= two) for one, two in zip(time.tolist(), end.tolist(), strict=True)], horizon=None
        )
        median_hits += bool(found.median.contains(np.log(2)))
        # E[min(T, h)] = 1 - exp(-h)
        mean_hits += bool(found.restricted_mean.contains(1 - np.exp(-found.horizon)))
    assert 0.92 <= median_hits / 400 <= 0.99
    assert 0.85 <= mean_hits / 400 <= 0.98, "the horizon is itself drawn here, at the last observation, where variance is estimated worst"


def test_when_a_curve_reaches_a_level() -> None:
    assert first_reached(curve(0, 5, 4, 5, 6), 5) == ThresholdTime(10, True)
    assert first_reached(curve(0, 5, 4, 5, 6), 5, hold=2) == ThresholdTime(30, True), "twice in a row"
    assert first_reached(curve(0, 5, 4, 5), 5, hold=2) == ThresholdTime(30, False), "the end came before the second time"
    assert first_reached(curve(3, 2, 1), 1, higher=False) == ThresholdTime(20, True)
    assert first_reached(curve(3, 2, 1), 9) == ThresholdTime(20, False)


def test_groups_of_curves() -> None:
    runs = RunCurves({"a": curve(0, 1), "b": curve(0, 0, 1), "c": curve(0, 0, 0, 0)}, ("d: killed",))
    found = time_to_threshold(runs, 1.0)
    assert (found.median.value, found.reached, found.median.n, found.median.failed) == (20.0, 2, 3, 1)
    assert found.median.interval is None and found.median.points == (10.0, 20.0), "points, since there are fewer than five runs"
    strict = time_to_threshold(runs, 1.0, never=30)
    assert strict.median.value == 20.0 and strict.median.n == 3
    assert time_to_threshold(RunCurves({"a": curve(0, 1)}, ("d: killed", "e: killed")), 1.0, never=30).median.value == inf
    nothing = time_to_threshold(RunCurves({}, ("a: killed",)), 1.0)
    assert nothing.median.value is None and nothing.median.failed == 1
