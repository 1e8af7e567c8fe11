"""Prioritised replay: draws in proportion to priorities, weights that correct them, what enters and leaves."""

from __future__ import annotations

import numpy as np
import pytest

from agent_node.learners.settings import DoubleDQNSettings
from agent_node.memory.episode import Episode
from agent_node.memory.replay_buffer import ReplayBuffer
from agent_node.memory.settings import PrioritizedReplaySettings
from agent_node.memory.sum_tree import SumTree
from agent_node.session.agent_components import AgentComponents
from agent_node.session.observation_features import Features
from agent_node.session.roles import LEARNER, REPLAY
from agent_node.session.training import create_trainer
from agent_node.session.transition_batches import BatchSampler
from agent_node.settings.agent import AgentSettings
from agent_node.settings.exchange import ExchangeSettings
from protocols.runtime.telemetry import TimeShares
from protocols.spaces.layout import Layout

LAYOUT = Layout(shape=[2], actions=[3])


@pytest.mark.parametrize("rows", [1, 2, 5, 64, 1000])
def test_sums_and_draws_follow_the_weights(rows: int) -> None:
    random, tree, weights = np.random.default_rng(rows), SumTree(rows), np.zeros(rows)
    for _ in range(20):
        changed = random.choice(rows, size=min(rows, 7), replace=False)
        weights[changed] = random.random(len(changed)) * (random.random(len(changed)) < 0.7)
        tree.update(changed, weights[changed])
    weights[0] = 0.5
    tree.update(np.zeros(1, np.int64), 0.5)
    np.testing.assert_array_equal(tree.weights(np.arange(rows)), weights)
    assert tree.total == pytest.approx(weights.sum())
    counts = np.bincount(tree.draw(200_000, random), minlength=rows)
    assert (counts[weights == 0] == 0).all()
    np.testing.assert_allclose(counts / counts.sum(), weights / weights.sum(), atol=2e-3)


def test_nothing_is_drawn_from_nothing() -> None:
    with pytest.raises(ValueError, match="weight 0"):
        SumTree(4).draw(1, np.random.default_rng(0))


def filled(rows: int = 1000, held_out: float = 0.0, **given: float) -> ReplayBuffer:
    buffer = ReplayBuffer(rows, Features(LAYOUT, 1), held_out=held_out, priorities=PrioritizedReplaySettings(**given))
    for number in range(20):
        observation = np.stack([np.full(11, number), np.arange(11)], axis=1).astype(np.float32)
        buffer.add(Episode(number, observation, np.zeros((10, 1), np.int32), np.zeros(10, np.float32), False))
    return buffer


@pytest.mark.parametrize(("alpha", "beta"), [(0.6, 0.4), (1.0, 1.0), (0.0, 0.4)])
def test_transitions_are_drawn_and_weighted_by_their_errors(alpha: float, beta: float) -> None:
    """P(i) = p_i^alpha / sum p^alpha, weight (N P(i))^-beta / greatest."""
    buffer, random = filled(alpha=alpha, beta=beta), np.random.default_rng(0)
    for _ in range(20):
        seen = buffer.sample(500, random)
        assert seen.rows is not None
        buffer.update_priorities(seen.rows, seen.observation[:, 0, 0] + 1)  # the error is the number of the episode + 1
    sample = buffer.sample(100_000, random)
    number = sample.observation[:, 0, 0].astype(int)
    expected = np.arange(1, 21.0) ** alpha
    np.testing.assert_allclose(np.bincount(number, minlength=20) / 100_000, expected / expected.sum(), atol=4e-3)
    assert sample.weight is not None
    importance = (20 * expected[number] / expected.sum()) ** -beta
    np.testing.assert_allclose(sample.weight, importance / importance.max(), rtol=1e-4)


def test_new_ones_have_the_greatest_priority_and_old_ones_leave() -> None:
    buffer, random = filled(rows=220, alpha=1.0), np.random.default_rng(0)
    seen = buffer.sample(2000, random)
    assert seen.rows is not None
    buffer.update_priorities(seen.rows, np.full(2000, 3.0, np.float32))
    buffer.update_priorities(seen.rows, np.full(2000, 1.0, np.float32))
    observation = np.stack([np.full(11, 99), np.arange(11)], axis=1).astype(np.float32)
    buffer.add(Episode(99, observation, np.zeros((10, 1), np.int32), np.zeros(10, np.float32), False))
    number = buffer.sample(100_000, random).observation[:, 0, 0].astype(int)
    assert 0 not in number, "its place was taken"
    assert np.mean(number == 99) == pytest.approx(30 / (30 + 190), abs=0.01)


def test_held_out_transitions_are_never_drawn_and_checkpoints_keep_priorities() -> None:
    buffer, random = filled(held_out=0.3, alpha=1.0), np.random.default_rng(0)
    seen = buffer.sample(3000, random)
    assert seen.rows is not None
    assert not any(buffer.is_held_out(number) for number in set(seen.observation[:, 0, 0].astype(int).tolist()))
    buffer.update_priorities(seen.rows, seen.observation[:, 0, 1] + 1)
    other = ReplayBuffer(1000, Features(LAYOUT, 1), held_out=0.3, priorities=PrioritizedReplaySettings(alpha=1.0))
    other.load_state_dict(buffer.state_dict())
    one, two = (ring.sample(500, np.random.default_rng(1)) for ring in (buffer, other))
    np.testing.assert_array_equal(one.observation, two.observation)
    np.testing.assert_array_equal(one.weight, two.weight)  # type: ignore[arg-type]


def test_the_trainer_gives_the_errors_back() -> None:
    learner = DoubleDQNSettings(
        hidden=[8], batch_size=16, learning_starts=10, replay_ratio=1, prioritized_replay=PrioritizedReplaySettings()
    )
    components = AgentComponents(AgentSettings(learner=learner, goals=None), ExchangeSettings(), LAYOUT, 1, "agent-0", 0)
    trainer = create_trainer(components, TimeShares())
    rewards = np.where(np.arange(60) % 6 == 0, 50.0, 0.0).astype(np.float32)
    observation = np.stack([np.arange(61) % 6 == 0, np.arange(61) % 5], axis=1).astype(np.float32)
    components[REPLAY].add(Episode(0, observation, np.zeros((60, 1), np.int32), rewards, True))
    for _ in range(30):
        trainer.tick()
    sampler = BatchSampler(components)
    batch = sampler.batch(4000)
    assert sampler.rows is not None and trainer.updates == 30
    errors = components[LEARNER].td_errors(batch)
    often = np.bincount(sampler.rows, minlength=60)[:60] / 4000
    by_row = np.zeros(60)
    by_row[sampler.rows] = errors
    assert np.corrcoef(often, by_row)[0, 1] > 0.5
