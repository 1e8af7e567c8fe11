"""Curves of several runs, and bands of time around faults."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.results.statistics.curve_statistics import at_steps, band, common_steps, stretch
from orchestrator.results.statistics.fault_bands import FaultWindow, around, band_means
from orchestrator.results.statistics.runs_table import Curve, RunCurves


def curve(*points: tuple[float, float]) -> Curve:
    steps, values = zip(*points, strict=True)
    return Curve(np.array(steps, float), np.array(values, float))


def line(slope: float, end: float = 100.0, points: int = 11) -> Curve:
    steps = np.linspace(0.0, end, points)
    return Curve(steps, slope * steps)


@pytest.mark.parametrize(
    ("steps", "values", "rule"),
    [
        ([0, 1], [1.0], "as many values as steps"),
        ([], [], "at least one"),
        ([0, 1, 1], [1, 2, 3], "must ascend"),
        ([0, 1], [1, float("nan")], "not finite"),
    ],
)
def test_curves_that_are_none_are_refused(steps: list[float], values: list[float], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        Curve(np.array(steps, float), np.array(values, float))


def test_between_points_a_curve_is_straight_and_beyond_them_unknown() -> None:
    found = at_steps(curve((10, 1), (20, 3)), [5, 10, 15, 20, 25])
    assert np.isnan(found[[0, 4]]).all()
    assert found[1:4].tolist() == [1, 2, 3]
    assert common_steps([curve((0, 1), (2, 1)), curve((1, 1), (2, 1))]).tolist() == [0, 1, 2]
    assert common_steps([line(1.0)], points=3).tolist() == [0, 50, 100]


def test_a_band_has_the_interquartile_mean_of_those_who_got_so_far() -> None:
    runs = RunCurves({f"seed {slope}": line(slope, 100.0 if slope < 5 else 50.0) for slope in range(7)}, ("seed 7: killed",))
    found = band(runs, [0, 50, 100])
    assert found.n.tolist() == [7, 7, 5] and found.missing == ("seed 7: killed",)
    assert found.value == pytest.approx([0, 150, 200]), "of seven runs the middle five, of five the middle three"
    assert (found.low <= found.value).all() and (found.value <= found.high).all() and found.high[1] > found.low[1]
    assert np.isnan(found.runs["seed 6"][2])
    few = band(RunCurves({"a": line(1.0), "b": line(3.0)}), [50])
    assert few.value.tolist() == [100] and np.isnan(few.low).all() and few.n.tolist() == [2]
    assert band(RunCurves({}, ("a: killed",))).steps.size == 0
    assert np.isnan(band(runs, [500]).value).all(), "no run has got there"
    far = band(RunCurves({"a": line(1.0), "b": line(3.0, 50.0), "c": line(5.0, 50.0)}), [50, 100], share=0.5)
    assert far.value[0] == 150 and np.isnan(far.value[1]) and far.n.tolist() == [3, 1], "the last of three is no group"


def test_common_steps_lie_where_enough_curves_do_however_little_they_have_in_common() -> None:
    wide, narrow = curve((0, 0), (1_000_000, 1)), [curve((99.5, 0), (5_000, 1)), curve((100, 0), (200, 2), (400, 2))]
    many = curve(*((step, 0) for step in range(500)))
    assert stretch([wide, *narrow], 1.0) == (100, 400) and stretch([wide, *narrow], 0.0) == (0, 1_000_000)
    assert common_steps([wide, *narrow, many], points=4, share=1.0).tolist() == [100, 200, 300, 400]
    assert common_steps([wide, *narrow], share=1.0).tolist() == [100, 200, 400]
    far = band(
        RunCurves({"a": curve(*((step, 1.0) for step in range(0, 100_000, 1000))), "b": curve((100, 3.0), (200, 3.0))}),
        points=10,
        share=1.0,
    )
    assert far.steps[~np.isnan(far.value)].tolist() == [100, 200] and far.steps[-1] == 99_000, "the grid of the whole is too wide for it"
    assert stretch([curve((0, 0)), curve((1, 0))], 1.0) is None and common_steps([curve((0, 0)), curve((1, 0))], share=1.0).size == 0
    assert stretch([curve((0, 0), (3, 0)), curve((3, 0))], 1.0) == (3, 3)


@given(st.lists(st.floats(-10, 10), min_size=5, max_size=7), st.randoms(use_true_random=False))
@settings(max_examples=30)
def test_a_band_does_not_depend_on_the_order_of_runs(slopes: list[float], chance: object) -> None:
    names = {f"run {number}": line(slope) for number, slope in enumerate(slopes)}
    shuffled = dict(chance.sample(list(names.items()), len(names)))  # type: ignore[attr-defined]
    one, two = band(RunCurves(names), [10, 60], repeats=50), band(RunCurves(shuffled), [10, 60], repeats=50)
    assert (one.value == two.value).all() and (one.low == two.low).all() and (one.high == two.high).all()


def faulty(level: float, drop: float, back: float) -> Curve:
    """At 0, 1, ... 99: `level`, from 40 to 60 less by `drop`, from then on less by `back`."""
    steps = np.arange(100.0)
    return Curve(steps, level - drop * ((steps >= 40) & (steps < 60)) - back * (steps >= 60))


def test_bands_around_a_window_tell_the_change_apart_from_the_level() -> None:
    runs = RunCurves({f"seed {seed}": faulty(10.0 * seed, 2.0 + 0.1 * seed, 0.5) for seed in range(5)}, ("seed 5: killed",))
    (found,) = around(runs, {run: [FaultWindow("split", 40, 60)] for run in runs.curves}, span=20)
    assert found.window == "split"
    assert found.before.value == pytest.approx(20.0)
    assert found.during.value == pytest.approx(20.0 - 2.2)
    assert found.change_during.value == pytest.approx(-2.2)
    assert found.change_during.interval is not None and -2.4 <= found.change_during.interval[0] <= found.change_during.interval[1] <= -2.0
    assert found.change_after.value == pytest.approx(-0.5)
    assert found.before.interval is not None and found.before.interval[1] - found.before.interval[0] > 10, "seeds differ much in level"
    assert all(part.n == 5 and part.failed == 1 for part in (found.before, found.during, found.change_after))


def test_runs_without_values_in_a_band_are_named() -> None:
    died = Curve(np.arange(45.0), np.ones(45))
    silent = Curve(np.arange(40.0), np.ones(40))
    kill = [FaultWindow("kill", 40, 60)]
    (found,) = around(RunCurves({"died": died, "silent": silent}), {"died": kill, "silent": kill}, span=10)
    assert found.during.n == 1 and found.during.missing == ("silent: no values during",)
    assert found.after.value is None and found.after.failed == 2
    assert found.change_after.missing == ("died: no values before or after", "silent: no values before or after")


def test_bands_are_cut_where_another_window_reaches_into_them() -> None:
    steps = np.arange(100.0)
    first, second = FaultWindow("first", 20, 30), FaultWindow("second", 40, 50)
    before, during, after = band_means(Curve(steps, steps), second, [first, second], span=30)
    assert before == pytest.approx(np.arange(30, 40).mean()), "not while the first one lasts"
    assert (during, after) == (44.5, pytest.approx(np.arange(50, 80).mean()))
    assert band_means(Curve(steps, steps), first, [first, second], span=30)[2] == pytest.approx(np.arange(30, 40).mean())
    whole, longer = FaultWindow("whole", 10, 90), FaultWindow("longer", 40, 60)
    assert band_means(Curve(steps, steps), second, [second, whole, longer], span=30) == (24.5, 44.5, 64.5), "what contains it cuts nothing"


def test_windows_may_begin_at_different_times_in_different_runs() -> None:
    runs = RunCurves(
        {"a": faulty(1.0, 1.0, 0.0), "b": Curve(np.arange(100.0) + 10, faulty(1.0, 1.0, 0.0).values), "c": faulty(1.0, 1.0, 0.0)}
    )
    windows = {"a": [FaultWindow("split", 40, 60)], "b": [FaultWindow("split", 50, 70)]}
    (found,) = around(runs, windows, span=10)
    assert found.change_during.points == (-1.0, -1.0)
    assert found.change_during.missing == ("c: no values before or during",)
    with pytest.raises(ValueError, match="2 windows called split"):
        around(runs, {"a": [FaultWindow("split", 1, 2), FaultWindow("split", 3, 4)]}, span=1)
    with pytest.raises(ValueError, match="must end after it starts"):
        FaultWindow("split", 2, 2)
