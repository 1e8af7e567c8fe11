"""TD3: targets by hand, the delay of the policy, noise, a task learnt."""

from typing import Any

import numpy as np
import pytest
import torch

from agent_node.contracts import Batch, PolicySpec
from agent_node.learners.settings import TD3Settings
from agent_node.learners.td3 import TD3
from protocols.runtime.errors import ConfigurationError

LOW, HIGH = (-1.0, 0.0), (1.0, 4.0)


def learner(seed: int = 0, **changes: Any) -> TD3:
    settings = TD3Settings(**({"hidden": [32, 32], "learning_rate": 3e-3, "random_steps": 0, "tau": 0.05} | changes))
    return TD3(settings, PolicySpec((2,), 0, (), LOW, HIGH), 4, seed)


def batch(rows: int = 64, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    return Batch(
        observation=torch.randn(rows, 2, generator=generator),
        goal=torch.zeros(rows, 0),
        action=torch.rand(rows, 2, generator=generator) * torch.tensor([2.0, 4.0]) + torch.tensor(LOW),
        reward=torch.rand(rows, generator=generator),
        next_observation=torch.randn(rows, 2, generator=generator),
        terminated=(torch.rand(rows, generator=generator) < 0.3).float(),
        weight=torch.ones(rows),
        imagined=torch.zeros(rows),
    )


def act(td3: TD3, rows: int, explore: bool) -> np.ndarray[Any, Any]:
    return td3.act(np.zeros((rows, 2), np.float32), np.zeros((rows, 0), np.float32), np.arange(rows), np.ones(rows, bool), explore).actions


def test_targets_are_those_of_the_less_optimistic_target_critic() -> None:
    td3, given = learner(target_noise=0.0, discount=0.9), batch()
    td3.critic_targets.vector.add_(torch.randn(td3.critic_targets.vector.shape, generator=torch.Generator().manual_seed(1)) * 0.3)
    action = torch.tanh(td3.actor_target(given.next_observation))
    inputs = torch.cat([given.next_observation, action], dim=1)
    both = td3.critic_targets(inputs.expand(2, -1, -1)).squeeze(2).detach()
    expected = given.reward + 0.9 * (1 - given.terminated) * torch.minimum(both[0], both[1])
    torch.testing.assert_close(td3._target(given), expected)
    assert (both[0] < both[1]).any() and (both[0] > both[1]).any(), "each of the two is the less optimistic one somewhere"


def test_the_noise_on_target_actions_is_clipped() -> None:
    """With critics that return the first component of the action, targets show the action itself."""
    td3, given = learner(target_noise=10.0, target_noise_clip=0.25, discount=1.0, hidden=[4]), batch(4000)
    given.terminated.zero_()
    given.reward.zero_()
    td3.actor_target.vector.zero_()
    for network in (td3.critic_targets,):
        network.vector.zero_()
        network.weights[0].data[:, 2, 0], network.biases[0].data[:, :, 0], network.weights[1].data[:, 0, 0] = 1.0, 5.0, 1.0
        network.biases[1].data[:] = -5.0
    target = td3._target(given)
    assert float(target.abs().max()) == pytest.approx(0.25, abs=1e-5)
    assert float((target.abs() > 0.2499).float().mean()) > 0.9
    errors = td3.td_errors(given)
    np.testing.assert_array_equal(errors, td3.td_errors(given))


@pytest.mark.parametrize("delay", [1, 3])
def test_policy_and_targets_are_updated_less_often(delay: int) -> None:
    td3, given = learner(policy_delay=delay), batch()
    for number in range(1, 7):
        before = {name: tensor.clone() for name, tensor in td3.live().items()}
        metrics = td3.learn(given)
        changed = {name for name, tensor in td3.live().items() if not torch.equal(tensor, before[name])}
        late = {"actor", "actor_target", "critic_targets"} if number % delay == 0 else set()
        assert changed == {"critics"} | late
        assert ("policy_loss" in metrics) == bool(late)
        assert not td3.critics.gradient.any() and not td3.actor.gradient.any()


def test_actions_are_uniform_at_first_and_always_within_the_bounds() -> None:
    td3 = learner(random_steps=2000, exploration_noise=0.3)
    actions = act(td3, 2000, True)
    np.testing.assert_allclose(actions.mean(axis=0), [0.0, 2.0], atol=0.1)
    np.testing.assert_allclose(actions.std(axis=0), [2 / 12**0.5, 4 / 12**0.5], rtol=0.05)
    noisy, greedy = act(td3, 2000, True), act(td3, 2000, False)
    assert (noisy >= LOW).all() and (noisy <= HIGH).all()
    assert np.ptp(greedy, axis=0).max() == 0
    np.testing.assert_allclose(noisy.std(axis=0), [0.3, 0.6], rtol=0.1)


def test_a_target_is_found() -> None:
    """One step, reward -(a - a*)^2: the policy finds a*, for each of two observations."""
    td3, random = learner(exploration_noise=0.3), np.random.default_rng(0)
    wanted = {0.0: (0.5, 1.0), 1.0: (-0.5, 3.0)}
    for _ in range(600):
        seen = random.integers(0, 2, (64, 1)).repeat(2, axis=1).astype(np.float32)
        action = random.uniform(LOW, HIGH, (64, 2)).astype(np.float32)
        best = np.array([wanted[float(one)] for one in seen[:, 0]])
        given = batch(64)
        given.observation, given.action = torch.from_numpy(seen), torch.from_numpy(action)
        given.reward = torch.from_numpy(-((action - best) ** 2).sum(axis=1).astype(np.float32))
        given.terminated = torch.ones(64)
        td3.learn(given)
    for number, best_action in wanted.items():
        found = td3.act(np.full((1, 2), number, np.float32), np.zeros((1, 0), np.float32), None, np.zeros(1, bool), False).actions
        np.testing.assert_allclose(found[0], best_action, atol=0.25)


def test_discrete_actions_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="learner td3 needs continuous actions"):
        TD3(TD3Settings(), PolicySpec((2,), 0, (3,)), 4, 0)
