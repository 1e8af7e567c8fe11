"""The evidence from sums, its gradient, and what is learnt from it."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from agent_node.world_models.gp.feature_basis import Box, HilbertSpaceBasis, KernelParameters
from agent_node.world_models.gp.gp_posterior import FactorizationError, Posterior
from agent_node.world_models.gp.gp_statistics import BasisMismatch, Statistics
from agent_node.world_models.gp.log_evidence import NOISE_FLOOR, ParameterBounds, evidence, log_evidence, maximise
from tests.agent_node.world_models.gp.gp_worlds import LENGTHSCALES, PLANE, THETA, bases, dense_prior, moves, summed

THETAS = [THETA, KernelParameters.of((0.2, 0.9, 2.0, 0.7), 3.0, 0.001), KernelParameters.of((1.5, 0.3, 0.8, 3.0), 0.1, 0.5)]


def dense_evidence(covariance: torch.Tensor, targets: torch.Tensor) -> float:
    factor = torch.linalg.cholesky(covariance)
    half = torch.linalg.solve_triangular(factor, targets, upper=False)
    n, outputs = targets.shape
    return -0.5 * float(half.square().sum() + outputs * (2 * factor.diagonal().log().sum() + n * math.log(2 * math.pi)))


@pytest.mark.parametrize("theta", THETAS)
@pytest.mark.parametrize("basis", bases(96), ids=lambda basis: str(basis.size))
def test_equals_the_dense_evidence(basis: HilbertSpaceBasis, theta: KernelParameters) -> None:
    inputs, targets = moves(np.random.default_rng(0), 600)
    noise = float(theta.noise_variance) * torch.eye(600, dtype=torch.float64)
    wanted = dense_evidence(dense_prior(basis, theta, inputs) + noise, targets)
    assert log_evidence(basis, theta, Statistics.of(basis, inputs, targets)) == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("theta", THETAS)
def test_the_closed_gradient_is_that_of_differences(theta: KernelParameters) -> None:
    basis = HilbertSpaceBasis(PLANE, 40, LENGTHSCALES)
    statistics = Statistics.of(basis, *moves(np.random.default_rng(1), 300))
    prior, noise, step = basis.prior(theta), float(theta.noise_variance), 1e-5
    found = evidence(statistics, prior, noise)
    for k in (0, 7, 39, 42):
        ends = []
        for sign in (1, -1):
            moved = prior.clone()
            moved[k] *= math.exp(sign * step)
            ends.append(evidence(statistics, moved, noise).value)
        assert float(found.prior_gradient[k]) == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-4, abs=1e-4)
    ends = [evidence(statistics, prior, noise * math.exp(sign * step)).value for sign in (1, -1)]
    assert found.noise_gradient == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-4)


def test_two_agents_learn_bitwise_equal_parameters_from_equal_statistics() -> None:
    parts = {}
    for origin in range(4):
        basis = HilbertSpaceBasis(PLANE, 96, LENGTHSCALES)
        parts[origin] = Statistics.of(basis, *moves(np.random.default_rng(origin), 150))
    learnt = []
    for arrival in ((0, 1, 2, 3), (3, 1, 0, 2)):
        own = HilbertSpaceBasis(PLANE, 96, LENGTHSCALES)
        ledger = {origin: Statistics.unpack(parts[origin].pack(), own, 2) for origin in arrival}
        total = summed(ledger[origin] for origin in sorted(ledger))
        learnt.append(maximise(own, total, THETA, ParameterBounds.around(THETA)))
    assert torch.equal(learnt[0].logarithms(), learnt[1].logarithms())
    assert not torch.equal(learnt[0].logarithms(), THETA.logarithms())


SMALL = Box((-10, -1), (10, 1), (3.0, 6.0))
START = KernelParameters.of((0.4, 1.2), 1.0, 0.01)
TRUTH = KernelParameters.of((0.5, 1.4), 2.0, 0.0025)


def drawn(theta: KernelParameters, n: int) -> tuple[HilbertSpaceBasis, Statistics]:
    """Statistics of a function of position and push, drawn from the prior at `theta`, which so many features represent."""
    basis = HilbertSpaceBasis(SMALL, 250, (0.4, 1.2))
    random = np.random.default_rng(2)
    inputs = torch.from_numpy(random.uniform((-10, -1), (10, 1), (n, 2)))
    weights = basis.prior(theta).sqrt()[:, None] * torch.from_numpy(random.standard_normal((basis.size, 12)))
    noise = float(theta.noise_variance.sqrt()) * torch.from_numpy(random.standard_normal((n, 12)))
    return basis, Statistics.of(basis, inputs, basis.features(inputs) @ weights + noise)


def test_finds_the_parameters_that_made_the_data() -> None:
    basis, statistics = drawn(TRUTH, 2000)
    learnt = maximise(basis, statistics, START, ParameterBounds.around(START), 40)
    assert torch.allclose(learnt.lengthscales, TRUTH.lengthscales, rtol=0.06)
    assert float(learnt.noise_variance) == pytest.approx(0.0025, rel=0.05)
    assert log_evidence(basis, learnt, statistics) > log_evidence(basis, TRUTH, statistics)


def test_what_features_cannot_represent_is_not_learnt() -> None:
    """Without the correction the evidence is greatest where the variance that features lack hides all information of the data."""
    basis = HilbertSpaceBasis(PLANE, 256, LENGTHSCALES)
    inputs, targets = moves(np.random.default_rng(0), 1000, 1.1)
    targets = (inputs[:, :2] + targets).clamp(-10, 10) - inputs[:, :2]  # walls: a kink that no smooth function has
    statistics = Statistics.of(basis, inputs, targets)
    learnt = maximise(basis, statistics, THETA, ParameterBounds.around(THETA))
    assert float(basis.missing(learnt)) < 0.2 * float(learnt.noise_variance)
    rough = KernelParameters.of((0.1, 0.1, 0.3, 0.3), 1.0, float(learnt.noise_variance))
    assert float(basis.missing(rough)) > 0.5
    queries, _ = moves(np.random.default_rng(1), 200)
    before = Posterior.of(basis, learnt, Statistics.of(basis, inputs[:100], targets[:100])).predict(queries)[1].mean()
    assert float(Posterior.of(basis, learnt, statistics).predict(queries)[1].mean()) < 0.4 * float(before)


def test_parameters_keep_their_bounds_and_the_noise_its_floor() -> None:
    basis, statistics = drawn(KernelParameters.of((0.6, 1.4), 2.0, 1e-8), 2000)
    bounds = ParameterBounds.around(START, lengthscale_range=(0.9, 1.1))
    learnt = maximise(basis, statistics, START, bounds, 40).logarithms()
    assert bool((learnt >= bounds.lower - 1e-12).all() and (learnt <= bounds.upper + 1e-12).all())
    assert math.exp(float(learnt[-1])) == pytest.approx(NOISE_FLOOR, rel=0.2)


def test_frozen_parameters_stay() -> None:
    basis, statistics = drawn(KernelParameters.of((0.6, 1.4), 2.0, 0.02), 500)
    bounds = ParameterBounds.around(START, lengthscale_range=(1.0, 1.0), frozen_noise=True)
    learnt = maximise(basis, statistics, START, bounds)
    assert torch.allclose(learnt.lengthscales, START.lengthscales, rtol=1e-15)
    assert float(learnt.noise_variance) == pytest.approx(0.01, rel=1e-15)
    assert float(learnt.signal_variance) != pytest.approx(1.0, rel=1e-3)


def test_nothing_is_learnt_from_nothing_and_nothing_from_what_is_no_sum() -> None:
    basis, statistics = drawn(START, 100)
    bounds = ParameterBounds.around(START)
    assert maximise(basis, Statistics.zero(basis, 12), START, bounds) is START
    with pytest.raises(FactorizationError):
        maximise(basis, replace(statistics, gram=-statistics.gram), START, bounds)
    with pytest.raises(BasisMismatch):
        log_evidence(bases()[2], START, statistics)
    with pytest.raises(BasisMismatch):
        maximise(bases()[2], statistics, START, bounds)
