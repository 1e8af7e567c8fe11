"""Two groups of runs against each other, performance profiles, analysis of variance."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from benchmarks.variance_analysis import analysis_of_variance
from orchestrator.results.statistics.curve_statistics import profile
from orchestrator.results.statistics.estimate import mean
from orchestrator.results.statistics.group_comparison import SIGNIFICANCE, contrast, holm, least_p, probability_of_improvement, rank_test
from orchestrator.results.statistics.runs_table import ScoreSample

scores = st.floats(-100, 100).map(lambda value: round(value, 2))
runs = st.lists(scores, min_size=5, max_size=8)


def test_probability_of_improvement_counts_pairs_and_halves_ties() -> None:
    found = probability_of_improvement(ScoreSample.of([1, 2, 3]), ScoreSample.of([2, 2, 0]))
    assert found.value == pytest.approx((1 + (1 + 1) + 3) / 9), "1 beats 0; 2 beats 0 and ties twice; 3 beats all"
    assert found.interval is None and found.n == 6
    assert probability_of_improvement(ScoreSample.of([1, 2, 3]), ScoreSample.of([2, 2, 0]), higher=False).value == pytest.approx(3 / 9)


@given(runs, runs)
@settings(max_examples=50)
def test_improvement_is_unchanged_by_ascending_functions_and_complementary(x: list[float], y: list[float]) -> None:
    there = probability_of_improvement(ScoreSample.of(x), ScoreSample.of(y), repeats=200)
    warped = probability_of_improvement(ScoreSample.of(np.array(x) ** 3), ScoreSample.of(np.array(y) ** 3), repeats=200)
    assert (there.value, there.interval) == (warped.value, warped.interval)
    back = probability_of_improvement(ScoreSample.of(y), ScoreSample.of(x), repeats=200)
    assert there.value is not None and back.value == pytest.approx(1 - there.value)
    lower = probability_of_improvement(ScoreSample.of(x), ScoreSample.of(y), higher=False, repeats=200)
    assert lower.value == pytest.approx(back.value)
    assert there.interval is not None and 0 <= there.interval[0] <= there.interval[1] <= 1 + 1e-12


def test_improvement_of_normals_is_the_one_of_theory_and_its_interval_covers_it() -> None:
    generator = np.random.default_rng(5)
    truth = stats.norm.cdf(0.5 / np.sqrt(2))
    hits = 0
    for _ in range(300):
        found = probability_of_improvement(
            ScoreSample.of(generator.normal(0.5, size=20)), ScoreSample.of(generator.normal(size=20)), repeats=500
        )
        hits += bool(found.contains(truth))
    assert 0.91 <= hits / 300 <= 0.98


def test_improvement_over_tasks_is_their_mean_and_lonely_tasks_are_named() -> None:
    first = ScoreSample({"a": np.array([1.0, 1.0]), "b": np.array([0.0]), "c": np.array([7.0])})
    second = ScoreSample({"a": np.array([0.0]), "b": np.array([1.0, 0.0]), "d": np.array([7.0])}, ("d seed 3: killed",))
    found = probability_of_improvement(first, second)
    assert found.value == pytest.approx((1.0 + 0.25) / 2)
    assert found.points == (0.25, 1.0), "one for each task"
    assert found.missing[0] == "d seed 3: killed" and {text[0] for text in found.missing[1:]} == {"c", "d"}
    nothing = probability_of_improvement(ScoreSample.of([], ["a seed 0: killed"]), ScoreSample.of([1.0, 2.0]))
    assert nothing.value is None and nothing.missing == ("a seed 0: killed",) and nothing.failed == 1


def test_ranks_of_few_runs_by_hand() -> None:
    low, high = ScoreSample.of([1.0, 2, 3, 4, 5]), ScoreSample.of([6.0, 7, 8, 9, inf])
    assert rank_test(low, high) == rank_test(high, low) == pytest.approx(2 / 252) == pytest.approx(least_p(low, high))
    # Ranks 1, 2, 3, 4, 6 add up to 16; one of 252 orders makes that, one makes 15, and as many are as far out above.
    assert rank_test(low, ScoreSample.of([4.5, 5.5, 8, 9, 10])) == pytest.approx(4 / 252)
    assert rank_test(low, ScoreSample.of([])) == rank_test(ScoreSample.of([inf, inf]), ScoreSample.of([inf, inf])) == 1.0


def test_ranks_within_tasks() -> None:
    generator = np.random.default_rng(4)
    level = {"a": 0.0, "b": 50.0, "c": -20.0}

    def group(shift: float, size: int = 5) -> ScoreSample:
        return ScoreSample({name: shift + middle + generator.normal(size=size) for name, middle in level.items()})

    assert rank_test(group(-2.5), group(0.0)) < 0.001, "what tasks have in common is seen across them, however far apart they are"
    # By another way to the same: all that the ranks of two tasks of 2 against 2 runs can be.
    first, second = (
        ScoreSample({"a": np.array([1.0, 2]), "b": np.array([1.0, 3])}),
        ScoreSample({"a": np.array([3.0, 4]), "b": np.array([2.0, 4])}),
    )
    sums = [one + other for one in (3, 4, 5, 5, 6, 7) for other in (3, 4, 5, 5, 6, 7)]
    exact = np.mean([abs(total - 10) >= abs(3 + 4 - 10) for total in sums])
    assert rank_test(first, second) == pytest.approx(exact, abs=0.01)
    assert least_p(first, second) == pytest.approx(2 / 36)
    told = sum(rank_test(group(0.0, 4), group(0.0, 4)) <= SIGNIFICANCE for _ in range(100))
    assert told <= 12
    lonely = ScoreSample({"d": np.array([1.0])})
    assert rank_test(lonely, second) == 1.0


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0] and holm([]) == []


def test_where_nothing_differs_a_difference_is_told_of_in_less_than_the_level() -> None:
    generator = np.random.default_rng(7)
    told = 0
    for _ in range(400):
        baseline, *groups = (ScoreSample.of(generator.normal(size=6)) for _ in range(5))
        told += min(holm([rank_test(group, baseline) for group in groups])) <= SIGNIFICANCE
    assert told / 400 <= SIGNIFICANCE + 0.03


def test_contrasts() -> None:
    first, second = ScoreSample.of([2.0] * 5), ScoreSample.of([1.0] * 5, missing=["seed 5: killed"])
    assert contrast(first, second).interval == (1.0, 1.0)
    ratio = contrast(first, second, kind="ratio")
    assert (ratio.value, ratio.interval, ratio.n, ratio.failed) == (2.0, (2.0, 2.0), 10, 1)
    around_zero = ScoreSample.of([-1.0, -0.5, 0.0, 0.5, 1.2])
    assert contrast(first, around_zero, mean, "ratio").interval is None, "the baseline could be 0: any ratio is possible"
    assert contrast(first, ScoreSample.of([0.0] * 5), kind="ratio").value is None
    assert contrast(first, ScoreSample.of([])).value is None


def test_the_interval_of_a_difference_covers_it() -> None:
    generator = np.random.default_rng(6)
    hits = sum(
        bool(contrast(ScoreSample.of(generator.normal(1.0, 2.0, 25)), ScoreSample.of(generator.normal(size=25)), repeats=500).contains(1.0))
        for _ in range(300)
    )
    assert 0.91 <= hits / 300 <= 0.98


def test_a_profile_is_the_share_of_runs_above_a_score() -> None:
    found = profile(ScoreSample({"a": np.array([1.0, 2.0]), "b": np.array([2.0, 3.0, 4.0, 5.0])}), [0.0, 1.0, 2.0, 5.0])
    assert found.share.tolist() == [1.0, 0.75, 0.375, 0.0], "tasks count equally; a score is not above itself"
    assert found.low is None and found.high is None and found.n == 6
    assert profile(ScoreSample.of([3.0, 1.0, 3.0])).scores.tolist() == [1.0, 3.0]
    with pytest.raises(ValueError, match="at least one run"):
        profile(ScoreSample.of([]))


@given(runs)
@settings(max_examples=50)
def test_profiles_fall_lie_in_their_band_and_go_with_ascending_functions(values: list[float]) -> None:
    found = profile(ScoreSample.of(values), repeats=100)
    warped = profile(ScoreSample.of(np.array(values) ** 3), repeats=100)
    assert found.low is not None and found.high is not None and warped.low is not None
    assert (np.diff(found.share) <= 0).all() and found.share[-1] == 0
    assert (found.low <= found.share + 1e-12).all() and (found.share <= found.high + 1e-12).all()
    assert (found.share == warped.share).all() and (found.low == warped.low).all()


def test_the_band_of_a_profile_covers_the_truth() -> None:
    generator = np.random.default_rng(8)
    tau = np.array([-1.0, 0.0, 0.5])
    truth = stats.norm.sf(tau)
    hits = np.zeros(3)
    for _ in range(300):
        found = profile(ScoreSample.of(generator.normal(size=40)), tau, repeats=500)
        hits += (found.low <= truth) & (truth <= found.high)
    assert (hits / 300 >= 0.9).all() and (hits / 300 <= 0.99).all()


def test_analysis_of_variance_by_hand() -> None:
    found = analysis_of_variance(
        {"a": ScoreSample.of([1, 2, 3]), "b": ScoreSample.of([2, 3, 4]), "c": ScoreSample.of([5, 6, 7]), "one": ScoreSample.of([9])}
    )
    assert found is not None
    assert found.statistic == pytest.approx(13.0), "between: 26 / 2; within: 6 / 6"
    assert found.p == pytest.approx(stats.f.sf(13.0, 2, 6))
    assert (found.between, found.within, found.left_out) == (2, 6, ("one",))
    assert found.n == {"a": 3, "b": 3, "c": 3}
    assert [(pair.first, pair.second) for pair in found.apart()] == [("a", "c"), ("b", "c")]
    pair = found.pairs[1]
    assert pair.difference == pytest.approx(-4.0)
    # Half the width: the studentized range's quantile times sqrt(mean square within / n).
    reach = stats.studentized_range.ppf(0.95, 3, 6) * np.sqrt(1 / 3)
    assert pair.interval == pytest.approx((-4 - reach, -4 + reach), rel=1e-4)
    assert pair.p == pytest.approx(stats.studentized_range.sf(4 / np.sqrt(1 / 3), 3, 6), abs=1e-6)


def test_analysis_of_variance_where_there_is_nothing_to_test() -> None:
    assert analysis_of_variance({"a": ScoreSample.of([1, 2]), "b": ScoreSample.of([1])}) is None
    equal = analysis_of_variance({"a": ScoreSample.of([1, 1]), "b": ScoreSample.of([1, 1], missing=["seed 2: killed"])})
    assert equal is not None and equal.p is None and equal.pairs == () and equal.missing == ("seed 2: killed",)


@given(st.permutations([0.1, 0.5, 0.2, 0.9]))
@settings(max_examples=3, deadline=None)
def test_analysis_of_variance_does_not_depend_on_the_order_of_runs(values: list[float]) -> None:
    other = ScoreSample.of([0.4, 0.8, 0.7])
    one, two = (analysis_of_variance({"a": ScoreSample.of(order), "b": other}) for order in (values, sorted(values)))
    assert one is not None and two is not None and one.p == two.p
