"""Feature maps: what kernel they stand for, and what makes two of them the same."""

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from agent_node.world_models.gp.feature_basis import (
    Box,
    HilbertSpaceBasis,
    KernelParameters,
    largest_densities,
)
from tests.agent_node.world_models.gp.gp_worlds import LENGTHSCALES, PLANE, THETA, bases, dense_prior, moves

SHORT = Box((-10, -10), (10, 10), (2.5, 2.5))


def squared_exponential(inputs: torch.Tensor, box: Box, lengthscales: tuple[float, ...]) -> torch.Tensor:
    low, high = torch.tensor(box.low), torch.tensor(box.high)
    scaled = (2 * inputs - low - high) / (high - low)
    difference = (scaled[:, None] - scaled[None]) / torch.tensor(lengthscales)
    return torch.exp(-0.5 * difference.square().sum(dim=2))


def test_many_features_make_the_kernel() -> None:
    basis = HilbertSpaceBasis(SHORT, 400, (0.4, 0.5), None)
    inputs = torch.from_numpy(np.random.default_rng(0).uniform(-9, 9, (80, 2)))
    theta = KernelParameters.of((0.4, 0.5), 1.7, 0.01)
    kernel = 1.7 * squared_exponential(inputs, SHORT, (0.4, 0.5))
    assert float((dense_prior(basis, theta, inputs) - kernel).abs().max()) < 1.7 * 0.005


def test_the_share_of_prior_variance_that_features_cover() -> None:
    """Share of the prior variance at random inputs; the published table of this basis has 0.86, 0.93, 0.97, 0.98 (m = 64 .. 512)."""
    inputs, _ = moves(np.random.default_rng(0), 400)
    covered = []
    for count in (64, 128, 256, 512):
        basis = HilbertSpaceBasis(PLANE, count, LENGTHSCALES, None)
        covered.append(float((basis.features(inputs).square() @ basis.prior(THETA)).mean()))
    assert covered == sorted(covered)
    assert covered == pytest.approx([0.86, 0.93, 0.97, 0.98], abs=0.02)


@pytest.mark.parametrize("basis", bases(), ids=lambda basis: str(basis.size))
def test_what_features_lack_is_the_rest_of_the_prior(basis: HilbertSpaceBasis) -> None:
    inputs, _ = moves(np.random.default_rng(5), 4000)
    features = basis.features(inputs)
    lacking = (basis.diagonal(inputs, THETA) - features.square() @ basis.prior(THETA)).clamp_min(0).mean()
    assert float(basis.missing(THETA)) == pytest.approx(float(lacking), rel=0.05, abs=1e-9)


@pytest.mark.parametrize("basis", bases(), ids=lambda basis: str(basis.size))
def test_features_never_exceed_their_bound_and_the_kernel_its_diagonal(basis: HilbertSpaceBasis) -> None:
    inputs = torch.from_numpy(np.random.default_rng(1).uniform(-40, 40, (500, 4)))  # mostly outside the box
    features = basis.features(inputs)
    assert features.shape == (500, basis.size)
    assert bool((features.square() <= basis.largest() * (1 + 1e-9)).all())
    exact = basis.diagonal(inputs, THETA)
    slack = 1.8  # the series overshoots where few terms are kept
    assert bool((features.square() @ basis.prior(THETA) <= exact * slack).all())


def test_outside_the_box_is_its_edge_where_the_prior_returns() -> None:
    basis = HilbertSpaceBasis(PLANE, 64, LENGTHSCALES, None)
    edge = torch.tensor([[14.0, 3.0, 0.2, 0.1]], dtype=torch.float64)
    beyond = torch.tensor([[1e6, 3.0, 0.2, 0.1]], dtype=torch.float64)
    assert torch.equal(basis.features(edge), basis.features(beyond))
    assert float(basis.features(edge).abs().max()) < 1e-12


@given(st.lists(st.floats(0.05, 3), min_size=1, max_size=3), st.integers(1, 20))
def test_the_index_set_is_that_of_largest_density(rates: list[float], count: int) -> None:
    chosen = largest_densities(rates, count)
    assert len(set(chosen)) == count

    def cost(index: tuple[int, ...]) -> float:
        return sum((rate * j) ** 2 for rate, j in zip(rates, index, strict=True))

    everything = sorted(cost(index) for index in product(range(1, count + 1), repeat=len(rates)))[:count]
    assert sorted(map(cost, chosen)) == pytest.approx(everything)


def test_identity_is_equal_for_equal_settings_only() -> None:
    def hsgp(**changes: object) -> str:
        given = {"box": PLANE, "count": 32, "reference": LENGTHSCALES, "linear_variance": 1.0, "meaning": {"change_scale": [1.0, 1.0]}}
        return HilbertSpaceBasis(**(given | changes)).basis_id  # type: ignore[arg-type]

    wider = Box(PLANE.low, PLANE.high, (1.5, 1.4, 2.6, 2.6))
    further = Box((-11, -10, -1, -1), PLANE.high, PLANE.half_widths)
    ids = [
        hsgp(),
        hsgp(count=33),
        hsgp(reference=(0.2, 0.4, 1.2, 1.2)),
        hsgp(linear_variance=None),
        hsgp(box=wider),
        hsgp(box=further),
        hsgp(meaning={"change_scale": [2.0, 1.0]}),
    ]
    assert len(set(ids)) == len(ids)
    assert hsgp() == hsgp(box=Box([-10, -10, -1, -1], [10, 10, 1, 1], [1.4, 1.4, 2.6, 2.6]))  # type: ignore[arg-type]
    assert hsgp(linear_variance=2.0) == hsgp(), "a prior variance does not change what sums mean"


def test_theta_changes_the_prior_and_no_feature() -> None:
    basis = HilbertSpaceBasis(PLANE, 32, LENGTHSCALES)
    other = KernelParameters.of((0.2, 0.9, 2.0, 0.5), 3.0, 0.1)
    assert not torch.allclose(basis.prior(THETA), basis.prior(other))
