"""Agent-specific effects: the shared sums stay additive, and every agent recovers its own effect."""

import math

import numpy as np
import pytest
import torch

from agent_node.world_models.gp.feature_basis import HilbertSpaceBasis, KernelParameters
from agent_node.world_models.gp.gp_posterior import PersonalPosterior, Posterior
from agent_node.world_models.gp.gp_statistics import PersonalStatistics, Statistics
from agent_node.world_models.gp.log_evidence import log_evidence
from tests.agent_node.world_models.gp.gp_worlds import LENGTHSCALES, PLANE, moves, summed

GAINS = (1.20, 0.74, 1.04, 0.94)
TAU, NOISE = 0.1, 0.01
THETA = KernelParameters.of(LENGTHSCALES, 1.0, NOISE**2)
BASIS = HilbertSpaceBasis(PLANE, 256, LENGTHSCALES, meaning={"personal": (NOISE / TAU) ** 2})


def pushes(random: np.random.Generator, n: int, gain: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Inputs, actions and changes in a free plane: the displacement is the action times the agent's own gain."""
    inputs, _ = moves(random, n)
    actions = inputs[:, 2:]
    return inputs, actions, gain * actions + NOISE * torch.from_numpy(random.standard_normal((n, 2)))


DATA = [pushes(np.random.default_rng(agent), 300, gain) for agent, gain in enumerate(GAINS)]
OWN = [
    PersonalStatistics.zero(BASIS, 2, 2, (NOISE / TAU) ** 2).absorbed(BASIS, inputs, actions, targets) for inputs, actions, targets in DATA
]
COMMON = Posterior.of(BASIS, THETA, summed(own.shared() for own in OWN))


def joint_design() -> tuple[torch.Tensor, torch.Tensor]:
    """All agents' rows `[Phi, A_1, .., A_4]` and the prior variances of w, z_1, .., z_4."""
    rows = []
    for agent, (inputs, actions, _) in enumerate(DATA):
        effects = torch.zeros(len(inputs), 2 * len(GAINS), dtype=torch.float64)
        effects[:, 2 * agent : 2 * agent + 2] = actions
        rows.append(torch.cat([BASIS.features(inputs), effects], dim=1))
    prior = torch.cat([BASIS.prior(THETA), torch.full((2 * len(GAINS),), TAU**2, dtype=torch.float64)])
    return torch.cat(rows), prior


def test_marginalising_equals_the_joint_solution() -> None:
    design, prior = joint_design()
    targets = torch.cat([targets for _, _, targets in DATA])
    root = prior.sqrt()
    matrix = torch.eye(len(root), dtype=torch.float64) + torch.outer(root, root) * (design.T @ design) / NOISE**2
    factor = torch.linalg.cholesky(matrix)
    solution = root[:, None] * torch.cholesky_solve(root[:, None] * (design.T @ targets) / NOISE**2, factor)
    assert float((COMMON.weights - solution[: BASIS.size]).abs().max()) < 1e-9
    covariance = torch.outer(root, root) * torch.cholesky_inverse(factor)
    for agent, own in enumerate(OWN):
        personal = PersonalPosterior.of(COMMON, own)
        place = slice(BASIS.size + 2 * agent, BASIS.size + 2 * agent + 2)
        assert float((personal.effects - solution[place]).abs().max()) < 1e-9
        inputs, actions, _ = pushes(np.random.default_rng(50 + agent), 60, 1.0)
        rows = torch.zeros(60, len(root), dtype=torch.float64)
        rows[:, : BASIS.size], rows[:, place] = BASIS.features(inputs), actions
        mean, variance = personal.predict(inputs, actions)
        assert float((mean - rows @ solution).abs().max()) < 1e-9
        spread = ((rows @ covariance) * rows).sum(dim=1) + COMMON.unrepresented(inputs, BASIS.features(inputs))
        assert float((variance - spread).abs().max()) < 1e-9


def test_one_step_error_is_the_noise_with_personal_effects_and_ten_times_as_large_without() -> None:
    pooled = Posterior.of(BASIS, THETA, summed(own.raw for own in OWN))
    within, without = [], []
    for agent, (own, gain) in enumerate(zip(OWN, GAINS, strict=True)):
        inputs, actions, targets = pushes(np.random.default_rng(100 + agent), 1000, gain)
        mean, _ = PersonalPosterior.of(COMMON, own).predict(inputs, actions)
        within.append(float((mean - targets).square().mean().sqrt()))
        without.append(float((pooled.mean(inputs) - targets).square().mean().sqrt()))
    assert max(within) < 0.012, within
    assert min(without) > 0.02 and 0.1 < max(without) < 0.17, without


def test_marginalised_sums_are_valid_and_add_up_over_batches() -> None:
    inputs, actions, targets = DATA[0]
    nothing = PersonalStatistics.zero(BASIS, 2, 2, (NOISE / TAU) ** 2)
    step = nothing.absorbed(BASIS, inputs[:100], actions[:100], targets[:100])
    both = step.absorbed(BASIS, inputs[100:], actions[100:], targets[100:])
    assert np.allclose(both.shared().pack(), OWN[0].shared().pack(), rtol=1e-9, atol=1e-9)
    for own in OWN:
        own.shared().validate(BASIS)
    nothing.shared().validate(BASIS)
    assert np.array_equal(nothing.shared().pack(), Statistics.zero(BASIS, 2).pack())


def test_the_evidence_counts_the_marginalised_effects() -> None:
    basis = HilbertSpaceBasis(PLANE, 32, LENGTHSCALES)
    ratio = (NOISE / TAU) ** 2
    parts, blocks, observed = [], [], []
    for inputs, actions, targets in DATA[:2]:
        own = PersonalStatistics.zero(basis, 2, 2, ratio).absorbed(basis, inputs, actions, targets)
        parts.append(own.shared())
        blocks.append(NOISE**2 * torch.eye(300, dtype=torch.float64) + TAU**2 * actions @ actions.T)
        observed.append(targets)
    features = torch.cat([basis.features(inputs) for inputs, _, _ in DATA[:2]])
    covariance = (features * basis.prior(THETA)) @ features.T + torch.block_diag(*blocks)  # type: ignore[no-untyped-call]
    factor = torch.linalg.cholesky(covariance)
    half = torch.linalg.solve_triangular(factor, torch.cat(observed), upper=False)
    wanted = -0.5 * float(half.square().sum() + 2 * (2 * factor.diagonal().log().sum() + 600 * math.log(2 * math.pi)))
    assert log_evidence(basis, THETA, summed(parts)) == pytest.approx(wanted, rel=1e-9)
