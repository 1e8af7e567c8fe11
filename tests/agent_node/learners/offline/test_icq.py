"""Implicit constraint Q-learning: weights, targets and losses by hand, and batches with the actions that follow."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from agent_node.contracts import Batch, PolicySpec
from agent_node.learners.offline.icq import batch_weights
from agent_node.memory.episode import Episode
from agent_node.memory.replay_buffer import ReplayBuffer
from agent_node.session.observation_features import Features
from protocols.spaces.layout import Layout
from tests.agent_node.learners.offline.batches import learner, random_steps

DISCRETE = PolicySpec((2,), 0, (3,))
CONTINUOUS = PolicySpec((2,), 0, (), (-1.0, -1.0), (1.0, 1.0))


def cut(spec: PolicySpec) -> Batch:
    """Rows 0 to 9 are the last steps of episodes that were cut off, rows 10 to 19 of episodes that ended by themselves."""
    given = random_steps(spec)
    ended, followed = torch.zeros(64), torch.ones(64)
    ended[10:20], followed[:20] = 1.0, 0.0
    return replace(given, terminated=ended, extras=given.extras | {"followed": followed})


def weighted(next_value: torch.Tensor, reward: torch.Tensor, discount: float, alpha: float) -> torch.Tensor:
    """y of `cut`, from all next values."""
    target = reward.clone()
    later = next_value[20:]
    target[20:] += discount * len(later) * torch.exp(later / alpha) / torch.exp(later / alpha).sum() * later
    return target


def test_weights_are_a_softmax_over_the_rows_that_count_with_mean_one() -> None:
    scores, counts = torch.tensor([0.0, 1.0, 50.0, 2.0]), torch.tensor([1.0, 1.0, 0.0, 0.5])
    expected = torch.tensor([1.0, np.e, 0.0, np.e**2]) / (1 + np.e + np.e**2) * 3
    torch.testing.assert_close(batch_weights(scores, counts), expected)
    assert not batch_weights(scores, torch.zeros(4)).any(), "no row counts"


def test_losses_of_discrete_actions_are_those_by_hand() -> None:
    one, given = learner("discrete_icq", DISCRETE, value_temperature=2.0, advantage_temperature=0.3, discount=0.9), cut(DISCRETE)
    one.targets.vector.mul_(1.5)
    rows = torch.arange(64)
    with torch.no_grad():
        q = one.critics(given.observation.expand(2, -1, -1))
        next_q = one.targets(given.next_observation.expand(2, -1, -1))
        log_pi = one.policy(given.observation).log_softmax(dim=1)
    action, following = given.action[:, 0], given.extras["next_action"][:, 0]
    target = weighted(next_q[:, rows, following].amin(dim=0), given.reward, 0.9, 2.0)
    errors = (q[:, rows, action] - target).square()[:, 10:]
    advantage = q[:, rows, action].amin(dim=0) - (log_pi.exp() * q.amin(dim=0)).sum(dim=1)
    share = 64 * torch.exp(advantage / 0.3) / torch.exp(advantage / 0.3).sum()
    metrics = one.learn(given)
    assert metrics["loss"] == pytest.approx(float(errors.sum() / 64), rel=1e-5)
    assert metrics["policy_loss"] == pytest.approx(float(-(share * log_pi[rows, action]).mean()), rel=1e-5)
    assert metrics["largest_weight"] == pytest.approx(float(share.max()), rel=1e-5)


def test_losses_of_continuous_actions_are_those_by_hand() -> None:
    one, given = learner("icq", CONTINUOUS, value_temperature=2.0, advantage_temperature=0.3, discount=0.9), cut(CONTINUOUS)
    one.critic_targets.vector.mul_(1.5)
    one.actor.vector.mul_(3.0)
    with torch.no_grad():
        mean = torch.tanh(one.actor(given.observation))
        next_value = one._q(one.critic_targets, given.next_observation, given.extras["next_action"]).amin(dim=0)
        value = one._q(one.critics, given.observation, given.action)
    target = weighted(next_value, given.reward, 0.9, 2.0)
    torch.testing.assert_close(one._target(given), target)
    loss, _ = one._critic_loss(given, given.observation, value, target)
    assert float(loss) == pytest.approx(float((value - target).square()[:, 10:].sum() / 64), rel=1e-5)
    with torch.no_grad():
        advantage = value.amin(dim=0) - one._q(one.critics, given.observation, mean).amin(dim=0)
    share = 64 * torch.exp(advantage / 0.3) / torch.exp(advantage / 0.3).sum()
    expected = (share * (mean - given.action).square().mean(dim=1)).mean()
    torch.testing.assert_close(one._actor_loss(given, given.observation, mean, value[0]), expected)


@pytest.mark.parametrize(("kind", "spec"), [("discrete_icq", DISCRETE), ("icq", CONTINUOUS)])
def test_updates_lower_both_losses(kind: str, spec: PolicySpec) -> None:
    one, given = learner(kind, spec, tau=1e-9, advantage_temperature=10.0), cut(spec)
    losses = [one.learn(given) for _ in range(100)]
    for name in ("loss", "policy_loss"):
        assert losses[-1][name] < 0.9 * losses[0][name], name


@pytest.mark.parametrize("layout", [Layout(shape=[1], actions=[7]), Layout(shape=[1], low=[-1.0], high=[1.0])])
def test_samples_have_the_actions_that_follow_in_their_episode(layout: Layout) -> None:
    """Episodes of 2 to 6 steps; observations and actions name the step."""
    buffer = ReplayBuffer(200, Features(layout, 1), next_actions=True)
    for number in range(20):
        steps = 2 + number % 5
        seen = np.arange(steps + 1, dtype=np.float32)[:, None]
        action = seen[:-1] if layout.low else seen[:-1].astype(np.int32)
        buffer.add(Episode(number, seen, action / 8 if layout.low else action, np.full(steps, steps, np.float32), False))
    sample = buffer.sample(300, np.random.default_rng(0))
    step, last = sample.observation[:, 0, 0], sample.reward - 1
    followed = sample.extras["followed"] == 1
    np.testing.assert_array_equal(followed, step < last)
    assert 0 < followed.sum() < 300
    scale = 8 if layout.low else 1
    np.testing.assert_allclose(sample.extras["next_action"][followed, 0] * scale, step[followed] + 1)
