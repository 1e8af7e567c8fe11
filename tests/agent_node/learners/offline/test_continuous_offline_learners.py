"""Learners from stored data with continuous actions: losses by hand, and one-step tasks with data of a part of the actions."""

from math import log

import numpy as np
import pytest
import torch

from agent_node.contracts import PolicySpec
from murmuration.testing import check_learner
from protocols.runtime.component_registry import component
from tests.agent_node.learners.offline.batches import CONTINUOUS, greedy, learner, random_steps, steps

SPEC = PolicySpec((2,), 0, (), (-1.0, -1.0), (1.0, 1.0))


@pytest.mark.parametrize("kind", CONTINUOUS)
def test_learner_contract(kind: str) -> None:
    check_learner(component("learner", kind).settings(hidden=[16, 16]))


@pytest.mark.parametrize("kind", CONTINUOUS)
def test_a_restored_learner_has_the_parameters_of_the_original(kind: str) -> None:
    one, two = learner(kind, SPEC, 0), learner(kind, SPEC, 1)
    for number in range(3):
        one.learn(random_steps(SPEC, number))
    two.load_state_dict({name: tensor.clone() for name, tensor in one.state_dict().items()})
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, two.state_dict()[name]), name


@pytest.mark.parametrize("kind", CONTINUOUS)
def test_the_best_action_of_the_data_is_found(kind: str) -> None:
    """One step, reward 2 - |a - a*|^2, uniform actions."""
    changes = {"value_coef": 20.0} if kind == "td3_bc" else {}
    one, generator, best = learner(kind, SPEC, **changes), torch.Generator().manual_seed(0), torch.tensor([0.5, -0.4])
    for _ in range(600):
        action = torch.rand(64, 2, generator=generator) * 2 - 1
        one.learn(steps(torch.ones(64, 2), action, 2 - (action - best).square().sum(dim=1), terminated=1.0))
    np.testing.assert_allclose(greedy(one, np.ones((1, 2), np.float32))[0], best, atol=0.3)


@pytest.mark.parametrize(("kind", "stays"), [("td3_bc", True), ("cql", True), ("omar", True), ("td3", False)])
def test_policies_stay_near_the_actions_of_the_data(kind: str, stays: bool) -> None:
    """Data of actions in [-0.2, 0.2], with rewards that grow towards one corner of [-1, 1]^2: only there is the reward known."""
    changes = {"td3_bc": {"value_coef": 0.2}, "td3": {}}.get(kind, {"conservative_coef": 5.0})
    one, generator = learner(kind, SPEC, **changes), torch.Generator().manual_seed(0)
    for _ in range(600):
        action = 0.4 * torch.rand(64, 2, generator=generator) - 0.2
        one.learn(steps(torch.ones(64, 2), action, 1 + action.sum(dim=1), terminated=1.0))
    furthest = float(np.abs(greedy(one, np.ones((1, 2), np.float32))).max())
    assert (furthest < 0.5) == stays, furthest


def test_the_actor_weighs_its_value_by_the_mean_of_their_sizes() -> None:
    one, given = learner("td3_bc", SPEC, value_coef=2.0), random_steps(SPEC)
    action, value = torch.full((64, 2), 0.25), torch.linspace(-3, 5, 64)
    expected = (action - given.action).square().mean() - 2.0 * value.mean() / value.abs().mean()
    torch.testing.assert_close(one._actor_loss(given, given.observation, action, value), expected)


def test_the_gap_is_the_log_of_the_integral_of_exp_q_over_the_value_of_the_data() -> None:
    """With critics that are constant, c, the integral of exp(c) over [-1, 1]^2 is 4 exp(c), whatever actions are sampled; n samples add
    ln n."""
    one, given = learner("cql", SPEC, sampled_actions=7), random_steps(SPEC)
    one.critics.vector.zero_()
    one.critics.biases[-1].data.fill_(3.0)
    value = one._value(given)
    loss, metrics = one._critic_loss(given, given.observation, value, torch.full((64,), 3.0))
    assert metrics["conservative_gap"] == pytest.approx(log(7 * 4), rel=1e-5)
    assert float(loss.detach()) == pytest.approx(2 * log(7 * 4), rel=1e-5)


def test_the_search_finds_better_actions_than_the_policy_and_never_worse_ones() -> None:
    one, given = learner("omar", SPEC, search_samples=50), random_steps(SPEC)
    one.critics.vector.add_(torch.randn(one.critics.vector.shape, generator=torch.Generator().manual_seed(1)) * 0.5)
    with torch.no_grad():
        action = torch.zeros(64, 2)
        value = one._q(one.critics, given.observation, action)[0]
        best = one._search(given.observation, action, value)
        improved = one._q(one.critics, given.observation, best)[0] - value
    assert float(best.abs().max()) <= 1
    assert float(improved.min()) >= -1e-6 and float((improved > 0.01).float().mean()) > 0.5
