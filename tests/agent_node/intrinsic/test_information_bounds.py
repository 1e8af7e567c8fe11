"""Bounds of mutual information against closed forms: normal pairs, small tables, and extreme scores."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from agent_node.intrinsic.information_bounds import LEAST_LOG_PROBABILITY, LowerBound, UpperBound, infonce_bound, jsd_bound
from agent_node.learners.library.optimisers import Adam

DIMENSIONS = 6


def pairs(rho: float, n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Standard normal s, u `[n, 6]` with correlation rho in each dimension: I = -3 ln(1 - rho^2) nats."""
    generator = torch.Generator().manual_seed(seed)
    s, noise = torch.randn(2, n, DIMENSIONS, generator=generator)
    return s, rho * s + (1 - rho**2) ** 0.5 * noise


def trained(bound: LowerBound | UpperBound, rho: float, steps: int = 800, rate: float = 1e-3) -> None:
    optimiser = Adam(bound.vector, bound.gradient, rate, float("inf"))
    s, u = pairs(rho, 256 * 200, seed=5)
    for step in range(steps):
        rows = slice(256 * (step % 200), 256 * (step % 200 + 1))
        bound.loss(s[rows], u[rows]).backward()  # type: ignore[no-untyped-call]
        optimiser.step()


def lower(deep: bool = True, negatives: int | None = None, seed: int = 1) -> LowerBound:
    return LowerBound(DIMENSIONS, DIMENSIONS, deep, negatives, torch.Generator().manual_seed(seed))


def test_scores_of_zero_give_bounds_of_zero() -> None:
    for bound in (jsd_bound, infonce_bound):
        assert bound(torch.zeros(8), torch.zeros(8, 8)).abs().max() < 1e-6
        assert bound(torch.zeros(8), torch.zeros(8, 3)).abs().max() < 1e-6


def test_perfect_separation_reaches_the_largest_bounds() -> None:
    scores = torch.full((8, 8), -50.0).fill_diagonal_(50.0)
    assert jsd_bound(scores.diagonal(), scores).tolist() == pytest.approx([2 * math.log(2)] * 8, abs=1e-3)
    assert infonce_bound(scores.diagonal(), scores).tolist() == pytest.approx([math.log(8)] * 8, abs=1e-3)


def test_the_gradient_raises_the_own_score_and_lowers_the_others() -> None:
    scores = torch.randn(8, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    jsd_bound(scores.diagonal(), scores).mean().backward()  # type: ignore[no-untyped-call]
    assert scores.grad is not None
    slopes = scores.grad
    assert bool((slopes.diagonal() > 0).all())
    assert bool((slopes[~torch.eye(8, dtype=torch.bool)] < 0).all())


@pytest.mark.parametrize("negatives", [3, 8])
def test_bounds_equal_their_definitions(negatives: int) -> None:
    scores = torch.randn(8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    own, given = scores.diagonal(), scores[:, :negatives]
    for k in range(8):
        others = [j for j in range(negatives) if j != k]
        jsd = math.log(2) - math.log1p(math.exp(-own[k])) - np.mean([math.log1p(math.exp(scores[k, j])) - math.log(2) for j in others])
        assert float(jsd_bound(own, given)[k]) == pytest.approx(jsd, abs=1e-7)
        total = [math.exp(own[k]), *(math.exp(scores[k, j]) for j in others)]
        infonce = float(own[k]) - math.log(sum(total)) + math.log(len(total))
        assert float(infonce_bound(own, given)[k]) == pytest.approx(infonce, abs=1e-7)


@pytest.mark.parametrize("deep", [True, False])
@pytest.mark.parametrize("negatives", [None, 5])
def test_gradients_of_lower_bounds_by_hand_are_those_of_autograd(deep: bool, negatives: int | None) -> None:
    bound = lower(deep, negatives)
    s, u = pairs(0.6, 32, seed=3)
    bound.descend(s, u)
    by_hand = bound.gradient.clone()
    bound.gradient.zero_()
    bound.loss(s, u).backward()  # type: ignore[no-untyped-call]
    assert by_hand.abs().max() > 1e-3
    torch.testing.assert_close(by_hand, bound.gradient, atol=1e-7, rtol=1e-4)


def test_gradients_of_upper_bounds_by_hand_are_those_of_autograd() -> None:
    """Normal components, two discrete factors, and an absent member, whose one-hot vector is 0."""
    bound = UpperBound(DIMENSIONS, DIMENSIONS, (2, 3), torch.Generator().manual_seed(3))
    s, u = pairs(0.6, 32, seed=3)
    chosen = torch.cat([torch.nn.functional.one_hot(torch.arange(32) % count, count).float() for count in (2, 3)], dim=1)
    chosen[:4, 2:] = 0.0
    action = torch.cat([u, chosen], dim=1)
    bound.descend(s, action)
    by_hand = bound.gradient.clone()
    bound.gradient.zero_()
    bound.loss(s, action).backward()  # type: ignore[no-untyped-call]
    assert by_hand.abs().max() > 1e-3
    torch.testing.assert_close(by_hand, bound.gradient, atol=1e-7, rtol=1e-4)


@pytest.mark.parametrize("deep", [True, False])
def test_lower_bounds_of_normal_pairs_rise_with_the_correlation(deep: bool) -> None:
    read = []
    for rho in (0.0, 0.3, 0.6, 0.9):
        bound = lower(deep)
        trained(bound, rho, steps=400)
        s, u = pairs(rho, 256, seed=9)
        with torch.no_grad():
            read.append([float(jsd_bound(*bound(s, u)).mean()), float(infonce_bound(*bound(s, u)).mean())])
            shuffled = float(jsd_bound(*bound(s, u.roll(1, 0))).mean())
        assert shuffled < 0.02
        assert read[-1][1] <= -3 * math.log(1 - rho**2) + 0.15, "a lower bound"
    for less, more in pairwise(read):
        assert less[0] < more[0] and less[1] < more[1]
    assert abs(read[0][0]) < 0.05


@pytest.mark.parametrize("rho", [0.3, 0.6])
def test_the_upper_bound_of_normal_pairs_is_that_of_the_theory(rho: float) -> None:
    bound = UpperBound(DIMENSIONS, DIMENSIONS, (), torch.Generator().manual_seed(2))
    trained(bound, rho, steps=1600)
    s, u = pairs(rho, 20_000, seed=9)
    with torch.no_grad():
        assert float(bound(s, u).mean()) == pytest.approx(DIMENSIONS * rho**2 / (1 - rho**2), rel=0.1)
        assert abs(float(bound(s, u.roll(1, 0)).mean())) < 0.05 * DIMENSIONS


def test_the_upper_bound_by_moments_equals_that_by_all_pairs() -> None:
    bound = UpperBound(DIMENSIONS, DIMENSIONS, (), torch.Generator().manual_seed(3))
    s, u = pairs(0.5, 64, seed=1)
    assert bound.normal is not None
    with torch.no_grad():
        mean, output = bound.normal(s.expand(2, -1, -1))
        variance = output.tanh().exp()
        log_q = -(u[None] - mean[:, None]).square() / (2 * variance[:, None])  # [k, j, dimension]: action j under state k
        wanted = (log_q.diagonal(dim1=0, dim2=1).T - log_q.mean(dim=1)).sum(dim=1)
        torch.testing.assert_close(bound(s, u), wanted, atol=1e-5, rtol=1e-4)


def test_the_discrete_upper_bound_of_a_table_is_the_exact_sum() -> None:
    table = torch.tensor([[0.4, 0.1], [0.1, 0.4]])  # p(s, u)
    cells = torch.arange(4).repeat_interleave((1000 * table.flatten()).round().long())
    s = torch.nn.functional.one_hot(cells // 2, 2).float()
    u = torch.nn.functional.one_hot(cells % 2, 2).float()
    bound = UpperBound(2, 0, (2,), torch.Generator().manual_seed(4))
    optimiser = Adam(bound.vector, bound.gradient, 1e-2, float("inf"))
    for _ in range(300):
        bound.loss(s, u).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    share = table / table.sum(dim=1, keepdim=True)
    exact = float((table * share.log()).sum() - (table.sum(1)[:, None] * table.sum(0) * share.log()).sum())
    with torch.no_grad():
        assert float(bound(s, u).mean()) == pytest.approx(exact, rel=0.02)


def test_log_probabilities_of_choices_are_bounded_from_below() -> None:
    bound = UpperBound(1, 0, (2,), torch.Generator().manual_seed(0))
    assert bound.logits is not None
    with torch.no_grad():
        bound.vector.zero_()
        bound.logits.biases[-1].copy_(torch.tensor([[[50.0, -50.0]]]))
        u = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        assert bound(torch.zeros(2, 1), u).tolist() == pytest.approx([-LEAST_LOG_PROBABILITY / 2, LEAST_LOG_PROBABILITY / 2], rel=1e-4)


def test_mixed_actions_add_up() -> None:
    bound = UpperBound(3, 2, (2, 3), torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    s, normal = torch.randn(16, 3, generator=generator), torch.randn(16, 2, generator=generator)
    hot = [torch.nn.functional.one_hot(torch.randint(n, (16,), generator=generator), n).float() for n in (2, 3)]
    whole = bound(s, torch.cat([normal, *hot], dim=1))
    constant = torch.cat([normal, *(torch.eye(n)[:1].expand(16, n) for n in (2, 3))], dim=1)
    only_normal = bound(s, constant)
    only_discrete = bound(s, torch.cat([torch.zeros(16, 2), *hot], dim=1)) - bound(
        s, torch.cat([torch.zeros(16, 2), constant[:, 2:]], dim=1)
    )
    torch.testing.assert_close(whole, only_normal + only_discrete, atol=1e-5, rtol=1e-4)
