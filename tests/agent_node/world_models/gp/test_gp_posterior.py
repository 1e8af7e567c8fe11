"""The posterior from sums: against dense algebra, against GPyTorch, and how its variance behaves as data arrive."""

from itertools import pairwise

import gpytorch
import numpy as np
import pytest
import torch

from agent_node.world_models.gp.exact_gp import ExactRegression
from agent_node.world_models.gp.feature_basis import Box, HilbertSpaceBasis, KernelParameters
from agent_node.world_models.gp.gp_posterior import FactorizationError, Posterior
from agent_node.world_models.gp.gp_statistics import BasisMismatch, Statistics
from tests.agent_node.world_models.gp.gp_worlds import LENGTHSCALES, PLANE, THETA, bases, dense_prior, moves


def reference_variance(posterior: Posterior, inputs: torch.Tensor) -> torch.Tensor:
    """k(x, x) - k_xz S k_zx: what the method's published code computes, wrongly."""
    return posterior.basis.diagonal(inputs, posterior.parameters) - posterior.spread(posterior.basis.features(inputs))


@pytest.mark.parametrize("basis", bases(), ids=lambda basis: str(basis.size))
def test_equals_the_dense_solution(basis: HilbertSpaceBasis) -> None:
    random = np.random.default_rng(0)
    inputs, targets = moves(random, 150)
    queries, _ = moves(random, 40)
    posterior = Posterior.of(basis, THETA, Statistics.of(basis, inputs, targets))
    covariance = dense_prior(basis, THETA, torch.cat([inputs, queries]))
    gain = torch.linalg.solve(covariance[:150, :150] + 0.01 * torch.eye(150, dtype=torch.float64), covariance[:150, 150:]).T
    mean, variance = posterior.predict(queries)
    assert torch.allclose(mean, gain @ targets, atol=1e-9)
    spread = (covariance[150:, 150:] - gain @ covariance[:150, 150:]).diagonal()
    assert torch.allclose(posterior.spread(basis.features(queries)), spread, atol=1e-9)
    missing = (basis.diagonal(queries, THETA) - covariance[150:, 150:].diagonal()).clamp_min(0)
    assert torch.allclose(variance, spread + missing, atol=1e-9)
    assert torch.equal(posterior.mean(queries), mean)


@pytest.mark.parametrize("basis", bases(), ids=lambda basis: str(basis.size))
def test_variance_falls_as_data_arrive_and_the_published_formula_rises(basis: HilbertSpaceBasis) -> None:
    random = np.random.default_rng(1)
    inputs, targets = moves(random, 1000)
    grid, _ = moves(random, 300)
    right, wrong = [], []
    for stage in (0, 10, 50, 200, 1000):
        posterior = Posterior.of(basis, THETA, Statistics.of(basis, inputs[:stage], targets[:stage]))
        variance = posterior.predict(grid)[1]
        assert bool((posterior.spread(basis.features(grid)) <= variance).all())
        right.append(float(variance.mean()))
        wrong.append(float(reference_variance(posterior, grid).mean()))
    assert all(later < earlier for earlier, later in pairwise(right)), right
    assert right[-1] < right[0] / 2
    assert all(later > earlier for earlier, later in pairwise(wrong)), wrong


def test_far_from_data_the_prior_returns() -> None:
    """Data in one quarter of the plane, queries in the opposite one. (A linear part would know the other side too, so it is left out.)"""
    random = np.random.default_rng(2)
    basis = HilbertSpaceBasis(PLANE, 256, LENGTHSCALES, None)
    inputs, targets = moves(random, 4000)
    near = (inputs[:, :2] < -4).all(dim=1)
    assert int(near.sum()) > 200
    posterior = Posterior.of(basis, THETA, Statistics.of(basis, inputs[near], targets[near]))
    far, _ = moves(random, 4000)
    far = far[(far[:, :2] > 4).all(dim=1)]
    variance = posterior.predict(far)[1]
    assert bool((variance > 0.95 * basis.diagonal(far, THETA)).all())
    assert float(posterior.predict(inputs[near])[1].mean()) < 0.2
    outside = torch.full((1, 4), 1e3, dtype=torch.float64)
    assert float(posterior.predict(outside)[1]) == pytest.approx(1.0, rel=0.05)


def dense_exact(inputs: torch.Tensor, targets: torch.Tensor, queries: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Posterior of a squared exponential (0.3, variance 1, noise 0.0025) by plain linear algebra."""

    def kernel(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return torch.exp(-0.5 * ((first[:, None] - second[None]) / 0.3).square().sum(dim=2))

    factor = torch.linalg.cholesky(kernel(inputs, inputs) + 0.0025 * torch.eye(len(inputs), dtype=torch.float64))
    half = torch.linalg.solve_triangular(factor, kernel(inputs, queries), upper=False)
    return half.T @ torch.linalg.solve_triangular(factor, targets, upper=False), 1 - half.square().sum(dim=0)


def test_exact_regression_stays_exact_where_gpytorch_by_itself_does_not() -> None:
    random = np.random.default_rng(4)
    inputs = torch.from_numpy(random.uniform(-1, 1, (900, 2)))
    targets = torch.sin(4 * inputs) + 0.05 * torch.from_numpy(random.standard_normal((900, 2)))
    queries = torch.from_numpy(random.uniform(-1, 1, (100, 2)))
    wanted_mean, wanted_variance = dense_exact(inputs, targets, queries)
    theta = KernelParameters.of((0.3, 0.3), 1.0, 0.0025)
    regression = ExactRegression(Box((-1, -1), (1, 1), (2, 2)), inputs, targets, theta)
    mean, variance = regression.predict(queries)
    assert float((mean - wanted_mean).abs().max()) < 1e-8
    assert float((variance - wanted_variance).abs().max()) < 1e-8
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        process = regression.process
        process.train()
        process.eval()
        sloppy = process(queries.expand(2, -1, -1))
        off_mean = float((sloppy.mean.T - wanted_mean).abs().max())
        off_variance = float((sloppy.variance[0] - wanted_variance).abs().max())
    assert not gpytorch.settings.max_cholesky_size.value() > 900
    assert off_mean > 1e-3 and off_variance > 1e-3, (off_mean, off_variance)


def test_believed_inputs_shrink_the_variance_and_leave_the_mean() -> None:
    basis = HilbertSpaceBasis(PLANE, 128, LENGTHSCALES)
    random = np.random.default_rng(5)
    statistics = Statistics.of(basis, *moves(random, 50))
    posterior = Posterior.of(basis, THETA, statistics)
    plan, _ = moves(random, 20)
    elsewhere, _ = moves(random, 100)
    conditioned_on = posterior.conditioned_on(plan)
    assert torch.equal(conditioned_on.mean(elsewhere), posterior.mean(elsewhere))
    assert bool((conditioned_on.predict(elsewhere)[1] <= posterior.predict(elsewhere)[1] + 1e-12).all())
    assert float((conditioned_on.predict(plan)[1] / posterior.predict(plan)[1]).max()) < 0.9
    observed = Posterior.of(basis, THETA, statistics + Statistics.of(basis, plan, posterior.mean(plan)))
    assert torch.allclose(observed.predict(elsewhere)[1], conditioned_on.predict(elsewhere)[1], atol=1e-10)
    assert torch.allclose(observed.mean(elsewhere), posterior.mean(elsewhere), atol=1e-8), "the assumed outcome is the predicted one"


def test_drawn_functions_have_the_posterior_moments() -> None:
    basis = HilbertSpaceBasis(PLANE, 32, LENGTHSCALES)
    random = np.random.default_rng(6)
    posterior = Posterior.of(basis, THETA, Statistics.of(basis, *moves(random, 100)))
    queries, _ = moves(random, 30)
    values = torch.stack([posterior.draw(random).mean(queries) for _ in range(1000)])
    spread = posterior.spread(basis.features(queries))
    assert float(((values.mean(dim=0) - posterior.mean(queries)) / spread.sqrt()[:, None]).abs().max()) < 5 / 1000**0.5
    assert torch.allclose(values.var(dim=0), spread[:, None].expand(-1, 2), rtol=0.25)
    between = (values[..., 0] - values[..., 0].mean(dim=0)) * (values[..., 1] - values[..., 1].mean(dim=0))
    assert float((between.mean(dim=0) / spread).abs().max()) < 0.2, "outputs are drawn independently"


def test_mean_of_one_posterior_with_the_variance_of_another() -> None:
    basis = HilbertSpaceBasis(PLANE, 64, LENGTHSCALES)
    own, other = (Statistics.of(basis, *moves(np.random.default_rng(seed), 60)) for seed in (7, 8))
    queries, _ = moves(np.random.default_rng(9), 30)
    merged, alone = Posterior.of(basis, THETA, own + other), Posterior.of(basis, THETA, own)
    both = merged.with_spread_of(alone)
    assert torch.equal(both.mean(queries), merged.mean(queries))
    assert torch.equal(both.predict(queries)[1], alone.predict(queries)[1])


def test_what_cannot_be_factorized_is_said_and_not_mended() -> None:
    basis = HilbertSpaceBasis(PLANE, 32, LENGTHSCALES)
    negative = Statistics.of(basis, *moves(np.random.default_rng(0), 100)).scaled(-1.0)
    with pytest.raises(FactorizationError, match="no sum over data"):
        Posterior.of(basis, THETA, negative)
    with pytest.raises(BasisMismatch):
        Posterior.of(bases()[2], THETA, negative)
