"""Sums over data: packing, additivity, and what is refused."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from agent_node.world_models.gp.feature_basis import HilbertSpaceBasis
from agent_node.world_models.gp.gp_statistics import BasisMismatch, InvalidStatistics, Statistics, vector_length
from tests.agent_node.world_models.gp.gp_worlds import LENGTHSCALES, PLANE, bases, moves, summed

BASES = bases(24)
SEEDS = st.integers(0, 2**32 - 1)


def of(basis: HilbertSpaceBasis, seed: int, n: int) -> Statistics:
    return Statistics.of(basis, *moves(np.random.default_rng(seed), n))


def test_the_vector_has_the_published_length() -> None:
    """8 (m (m + 1) / 2 + m d_y + d_y + 2) bytes: 267 kB for 256 features."""
    assert 8 * vector_length(256, 2) == 8 * (256 * 257 // 2 + 256 * 2 + 2 + 2) == 267_296
    statistics = of(HilbertSpaceBasis(PLANE, 251, LENGTHSCALES), 0, 10)
    assert statistics.pack().nbytes == 267_296


@given(st.sampled_from(BASES), SEEDS, st.integers(0, 60))
def test_packing_keeps_every_bit(basis: HilbertSpaceBasis, seed: int, n: int) -> None:
    statistics = of(basis, seed, n)
    vector = statistics.pack()
    back = Statistics.unpack(vector, basis, 2)
    assert vector.dtype == np.float64 and vector.shape == (vector_length(basis.size, 2),)
    for name in ("gram", "moment", "squares"):
        assert torch.equal(getattr(back, name), getattr(statistics, name))
    assert (back.count, back.log_determinant, back.basis_id) == (n, 0.0, basis.basis_id)
    assert np.array_equal(back.pack(), vector)
    back.gram.zero_()
    assert np.array_equal(statistics.pack(), vector), "unpacked statistics share no memory with what they came from"


@given(st.sampled_from(BASES), SEEDS, st.lists(st.integers(0, 30), min_size=1, max_size=5), st.integers(1, 50))
def test_the_sum_of_parts_is_the_whole(basis: HilbertSpaceBasis, seed: int, sizes: list[int], batch: int) -> None:
    inputs, targets = moves(np.random.default_rng(seed), sum(sizes))
    whole = Statistics.of(basis, inputs, targets, batch)
    ends = np.cumsum(sizes)
    parts = [Statistics.of(basis, inputs[end - n : end], targets[end - n : end]) for n, end in zip(sizes, ends, strict=True)]
    total = summed(parts)
    scale = max(1.0, float(np.abs(whole.pack()).max()))
    assert np.abs(total.pack() - whole.pack()).max() <= 1e-13 * scale
    rest = summed([*parts[1:], Statistics.zero(basis, 2)])
    assert np.abs((total + parts[0].scaled(-1.0)).pack() - rest.pack()).max() <= 1e-12 * scale


@given(SEEDS, st.permutations(range(5)))
def test_sums_in_sorted_order_are_equal_bit_by_bit_however_the_parts_came(seed: int, order: list[int]) -> None:
    parts = {origin: of(BASES[0], seed + origin, 20) for origin in range(5)}
    arrived = {origin: parts[origin] for origin in order}
    first = summed(parts[origin] for origin in sorted(parts))
    second = summed(Statistics.unpack(arrived[origin].pack(), BASES[0], 2) for origin in sorted(arrived))
    assert np.array_equal(first.pack(), second.pack())


def test_the_sum_of_vectors_is_the_vector_of_the_sum() -> None:
    first, second = of(BASES[0], 1, 30), of(BASES[0], 2, 40)
    assert np.array_equal(first.pack() + second.pack(), (first + second).pack())
    assert np.array_equal(first.pack() * 0.5, first.scaled(0.5).pack())


def test_other_bases_are_never_added() -> None:
    first, second = of(BASES[0], 0, 10), of(BASES[1], 0, 10)
    with pytest.raises(BasisMismatch, match="same settings"):
        first + second
    with pytest.raises(BasisMismatch):
        first.validate(BASES[1])


@given(st.sampled_from(BASES), SEEDS, st.integers(0, 400), st.floats(0.01, 3))
def test_sums_over_data_are_valid(basis: HilbertSpaceBasis, seed: int, n: int, factor: float) -> None:
    of(basis, seed, n).scaled(factor).validate(basis)


def test_many_equal_transitions_are_valid() -> None:
    inputs, targets = moves(np.random.default_rng(0), 1)
    Statistics.of(BASES[0], inputs.repeat(20_000, 1), targets.repeat(20_000, 1)).validate(BASES[0])


def _with(changes: dict[str, object]) -> NDArray[np.float64]:
    """The vector of honest statistics of 50 transitions with something changed."""
    statistics = of(BASES[0], 0, 50)
    return Statistics(**({field: getattr(statistics, field) for field in statistics.__dataclass_fields__} | changes)).pack()  # type: ignore[arg-type]


def _gram(size: int, place: tuple[int, int], value: float) -> torch.Tensor:
    gram = of(BASES[0], 0, 50).gram.clone()
    gram[place] = gram[place[::-1]] = value
    return gram


HONEST = of(BASES[0], 0, 50)
INPUTS, _ = moves(np.random.default_rng(0), 50)
SHARED = Statistics.of(BASES[0], INPUTS, INPUTS[:, 2:] @ torch.ones(2, 2, dtype=torch.float64))
"""each of two features explains half of what is observed"""
LIES = {
    "not finite": {"moment": HONEST.moment * float("nan")},
    "neither can be negative": {"count": -1.0},
    "sum of squares": {"squares": -HONEST.squares},
    "n max phi": {"count": 5.0},
    "between 0 and": {"gram": _gram(HONEST.size, (3, 3), -1.0)},
    "Cauchy-Schwarz": {"moment": HONEST.moment * 40},
    "positive semidefinite": {"gram": _gram(HONEST.size, (0, 1), float(HONEST.gram[0, 0] + HONEST.gram[1, 1]))},
    "explain more": {"moment": SHARED.moment, "squares": SHARED.squares * 0.8},
}


@pytest.mark.parametrize("rule", LIES)
def test_what_no_data_could_give_is_refused_with_the_rule(rule: str) -> None:
    with pytest.raises(InvalidStatistics, match=rule):
        Statistics.unpack(_with(LIES[rule]), BASES[0], 2).validate(BASES[0])


def test_a_vector_of_another_length_is_refused() -> None:
    with pytest.raises(InvalidStatistics, match="numbers"):
        Statistics.unpack(HONEST.pack()[:-1], BASES[0], 2)


def test_transitions_that_are_not_finite_are_refused() -> None:
    inputs, targets = moves(np.random.default_rng(0), 5)
    targets[2, 0] = float("inf")
    with pytest.raises(ValueError, match="not finite"):
        Statistics.of(BASES[0], inputs, targets)
