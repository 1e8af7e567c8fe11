"""Aggregates and their bootstrap intervals: closed forms, symmetries, sample sizes, coverage of known distributions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from orchestrator.results.statistics.estimate import Aggregate, distribution, estimate, interquartile_mean, mean, median, within_tasks
from orchestrator.results.statistics.runs_table import ScoreSample

AGGREGATES: dict[str, Aggregate] = {
    "interquartile mean": interquartile_mean,
    "mean": mean,
    "median": median,
}
scores = st.floats(-100, 100).map(lambda value: round(value, 3))
groups = st.lists(st.lists(scores, min_size=1, max_size=9), min_size=1, max_size=4)


def sample(tasks: Sequence[Sequence[float]]) -> ScoreSample:
    return ScoreSample({f"task {number}": np.array(values) for number, values in enumerate(tasks)})


def test_the_interquartile_mean_is_that_of_the_middle_half_of_all_runs() -> None:
    assert interquartile_mean([np.array([0.0, 0.4, 0.5, 0.6, 1.0])]) == pytest.approx(0.5), "one of five left out at each end"
    assert interquartile_mean([np.array([9.0, 1.0, 2.0])]) == pytest.approx(4.0), "of three none is left out"
    assert interquartile_mean([np.array([1.0, 8.0]), np.array([3.0, 2.0])]) == pytest.approx(2.5), "runs of all tasks together"


@given(groups)
def test_the_interquartile_mean_is_scipys_trimmed_mean(tasks: list[list[float]]) -> None:
    pooled = np.concatenate([np.array(values) for values in tasks])
    assert interquartile_mean([np.array(values) for values in tasks]) == pytest.approx(stats.trim_mean(pooled, 0.25), abs=1e-9)


def test_other_aggregates() -> None:
    tasks = [np.array([0.0, 1.0, 5.0]), np.array([2.0, 4.0])]
    assert mean(tasks) == pytest.approx(2.5), "tasks count equally"
    assert median(tasks) == pytest.approx(2.0)
    far = [np.array([0.0, 1.0, 1.0, 9.0]), np.array([100.0])]
    assert within_tasks(interquartile_mean)(far) == pytest.approx(50.5), "the middle of each, and neither is trimmed away"


@given(groups, st.randoms(use_true_random=False))
@settings(max_examples=50)
def test_neither_order_of_runs_nor_of_tasks_matters(tasks: list[list[float]], chance: object) -> None:
    shuffled = [chance.sample(values, len(values)) for values in tasks]  # type: ignore[attr-defined]
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    for aggregate in AGGREGATES.values():
        one, two = (estimate(sample(found), aggregate, repeats=50, least=2) for found in (tasks, shuffled))
        assert (one.value, one.interval, one.points) == (two.value, two.interval, two.points)


@given(st.lists(st.lists(scores, min_size=5, max_size=9), min_size=1, max_size=3), st.floats(0.1, 10), st.floats(-50, 50))
@settings(max_examples=50)
def test_scaling_scores_scales_value_and_interval(tasks: list[list[float]], scale: float, shift: float) -> None:
    for aggregate in AGGREGATES.values():
        before = estimate(sample(tasks), aggregate, repeats=50)
        after = estimate(sample([[scale * value + shift for value in values] for values in tasks]), aggregate, repeats=50)
        assert before.value is not None and before.interval is not None and after.interval is not None
        assert after.value == pytest.approx(scale * before.value + shift, abs=1e-6)
        assert after.interval == pytest.approx([scale * end + shift for end in before.interval], abs=1e-6)
        assert before.interval[0] <= before.interval[1]


@given(st.lists(scores, min_size=5, max_size=11).filter(lambda values: len(values) % 2 == 1))
@settings(max_examples=50)
def test_the_median_of_an_odd_number_of_runs_goes_with_any_ascending_function(values: list[float]) -> None:
    one = estimate(ScoreSample.of(values), median, repeats=50)
    other = estimate(ScoreSample.of(np.arctan(values)), median, repeats=50)
    assert one.value is not None and other.value == pytest.approx(float(np.arctan(one.value)), abs=1e-12)


def test_the_same_runs_give_the_same_interval_and_other_seeds_another() -> None:
    values = np.random.default_rng(3).normal(size=12)
    first, again = estimate(ScoreSample.of(values)), estimate(ScoreSample.of(values[::-1]))
    assert first == again
    drawn = [distribution([values], mean, seed=seed) for seed in (0, 0, 1)]
    assert (drawn[0] == drawn[1]).all() and (drawn[0] != drawn[2]).any()


def test_portions_of_the_bootstrap_make_its_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.results.statistics.estimate._AT_ONCE", 1000)
    found = distribution([np.arange(7.0), np.arange(20.0)], mean, repeats=501)
    assert found.shape == (501,)
    assert len(np.unique(found)) > 100


def test_the_variance_of_the_resampled_mean_is_the_one_of_theory() -> None:
    values = np.random.default_rng(0).normal(size=30)
    spread = distribution([values], mean, repeats=40_000).std()
    assert spread == pytest.approx(values.std() / np.sqrt(30), rel=0.02)


def test_resampling_stays_within_tasks() -> None:
    found = estimate(sample([[0.0] * 6, [100.0] * 6]), mean)
    assert found.interval == (50.0, 50.0), "between tasks nothing is drawn"


def test_few_runs_give_points_in_the_place_of_an_interval() -> None:
    found = estimate(ScoreSample.of([0.3, 0.1, 0.2, 0.4], missing=["seed 4: killed"]))
    assert found.interval is None and found.points == (0.1, 0.2, 0.3, 0.4)
    assert found.text() == "0.25 (0.10, 0.20, 0.30, 0.40) n=4 of 5"
    assert found.contains(0.2) is None
    assert estimate(sample([[1.0] * 9, [2.0] * 4])).interval is None, "the task with the fewest decides"
    assert estimate(ScoreSample.of([0.3, 0.1]), least=2).interval is not None
    assert estimate(ScoreSample.of([0.3]), least=1).interval is None, "of one run nothing can be drawn"


def test_a_group_without_runs_says_so() -> None:
    found = estimate(ScoreSample.of([], missing=["seed 0: killed", "seed 1: killed"]))
    assert (found.value, found.n, found.failed) == (None, 0, 2)
    assert found.text() == "– n=0 of 2"
    assert found.record()["missing"] == ["seed 0: killed", "seed 1: killed"]


def covered(generator: np.random.Generator, trials: int, shape: tuple[int, int], draw: str, truth: float) -> float:
    """Share of groups, tasks by runs, whose interval contains the truth; a task's own level is added to its runs, of mean 0."""
    level = np.linspace(-0.1, 0.1, shape[0]) if shape[0] > 1 else np.zeros(1)
    hits = 0
    for _ in range(trials):
        values = getattr(generator, draw)(size=shape) + level[:, None]
        hits += bool(estimate(sample(values.tolist()), repeats=2_000).contains(truth))
    return hits / trials


def test_95_percent_intervals_cover_the_truth_in_92_to_97_percent_of_500_groups() -> None:
    assert 0.92 <= covered(np.random.default_rng(1), 500, (3, 20), "normal", 0.0) <= 0.97


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("runs", "expected"), [(5, 0.89), (10, 0.94), (20, 0.94), (60, 0.94)])
def test_coverage_by_number_of_runs_is_what_the_documentation_says(runs: int, expected: float) -> None:
    assert covered(np.random.default_rng(2), 3_000, (1, runs), "normal", 0.0) == pytest.approx(expected, abs=0.015)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("draw", ["uniform", "laplace"])
def test_coverage_of_other_distributions(draw: str) -> None:
    assert 0.92 <= covered(np.random.default_rng(3), 2_000, (2, 25), draw, 0.5 if draw == "uniform" else 0.0) <= 0.97
