"""The amount of a disturbance at which a share of a figure is lost."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import isotonic_regression

from orchestrator.results.statistics.runs_table import ScoreSample
from orchestrator.results.statistics.tolerance import monotone, tolerance


def samples(*groups: list[float]) -> list[ScoreSample]:
    return [ScoreSample.of(group) for group in groups]


@given(
    st.lists(st.lists(st.floats(-10, 10), min_size=6, max_size=6), min_size=2, max_size=7),
    st.lists(st.integers(1, 9), min_size=7, max_size=7),
)
@settings(max_examples=100)
def test_the_falling_sequence_is_that_of_isotonic_regression(rows: list[list[float]], counts: list[int]) -> None:
    figures, weights = np.array(rows), np.array(counts[: len(rows)], float)
    found = monotone(figures, weights)
    for column in range(figures.shape[1]):
        other = isotonic_regression(figures[:, column], weights=weights, increasing=False).x
        assert found[:, column] == pytest.approx(other, abs=1e-9)


def test_the_amount_is_on_the_line_between_two_that_were_tried() -> None:
    found = tolerance([0, 100, 200], samples([1.0], [0.98], [0.78]), 0.05)
    assert found.value == pytest.approx(115), "0.95 is 3/20 of the way from 0.98 to 0.78"
    assert found.interval is None and found.n == 3
    assert tolerance([0, 100], samples([1.0], [0.95]), 0.05).value == pytest.approx(100)
    assert tolerance([0, 100], samples([1.0], [0.96]), 0.05).value == inf
    assert tolerance([10, 100], samples([1.0], [0.5]), 0.5).value == pytest.approx(100)


def test_a_dip_by_chance_that_more_of_it_undoes_is_none() -> None:
    # 0.94 and 0.98 become 0.96 both.
    assert tolerance([0, 50, 100, 200], samples([1.0], [0.94], [0.98], [0.86]), 0.05).value == pytest.approx(110)


def test_what_is_better_when_it_is_less_rises() -> None:
    assert tolerance([0, 100], samples([2.0], [4.0]), 0.05, higher=False).value == pytest.approx(5)
    assert tolerance([0, 100], samples([2.0], [1.0]), 0.05, higher=False).value == inf


def test_what_has_no_value() -> None:
    assert tolerance([0, 1], samples([], [1.0]), 0.05).value is None, "nothing to compare with"
    assert tolerance([0, 1], samples([1.0], []), 0.05).value is None
    assert tolerance([0, 1], samples([-1.0], [-2.0]), 0.05).value is None, "no share of a negative figure"
    assert tolerance([0, 1, 2], samples([1.0], [], [0.0]), 0.5).value == pytest.approx(1), "an amount without runs is passed over"
    with pytest.raises(ValueError, match="ascend"):
        tolerance([1, 0], samples([1.0], [1.0]), 0.05)


def test_the_interval_covers_the_truth_and_may_be_open() -> None:
    generator = np.random.default_rng(3)
    amounts = [0, 100, 200, 400]
    truth, hits = 125.0, 0  # 1 - 0.0004 x
    for _ in range(200):
        groups = [ScoreSample.of(1 - 0.0004 * amount + 0.02 * generator.standard_normal(10)) for amount in amounts]
        found = tolerance(amounts, groups, 0.05, repeats=400)
        hits += bool(found.contains(truth))
    assert 0.88 <= hits / 200 <= 0.99
    flat = tolerance(amounts, [ScoreSample.of(1 + 0.001 * generator.standard_normal(8)) for _ in amounts], 0.05)
    assert flat.value == inf and flat.interval == (inf, inf)
    groups = [ScoreSample.of(level + 0.02 * generator.standard_normal(8)) for level in (1, 0.99, 0.98, 0.955)]
    half = tolerance(amounts, groups, 0.05)
    assert half.interval is not None and half.interval[0] < 400 and half.interval[1] == inf
