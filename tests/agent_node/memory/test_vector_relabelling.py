"""Hindsight with vector goals, and with goals at which episodes go on."""

from __future__ import annotations

import numpy as np
import pytest

from agent_node.exchange.settings import Strategy
from agent_node.memory.episode import Episode
from agent_node.memory.replay_buffer import ReplayBuffer
from agent_node.session.observation_features import Features
from protocols.spaces.discrete_goals import DiscreteGoals
from protocols.spaces.goal_space import GoalSpace
from protocols.spaces.layout import Layout
from protocols.spaces.vector_goals import VectorGoals

STEPS = 6
LAYOUT = Layout(shape=[1], actions=[2])


def filled(space: GoalSpace, goal: object, achieved: np.ndarray, reward: np.ndarray, episodes: int = 4) -> ReplayBuffer:
    buffer = ReplayBuffer(100, Features(LAYOUT, 1), space)
    for number in range(episodes):
        times = np.arange(STEPS + 1, dtype=np.float32)[:, None]
        episode = Episode(number, times, np.zeros((STEPS, 1), np.int32), reward.astype(np.float32), True, goal, achieved)  # type: ignore[arg-type]
        buffer.add(episode)
    return buffer


def walk() -> np.ndarray:
    """A point that moves by 0.1 a step from 0."""
    return (0.1 * np.arange(STEPS + 1, dtype=np.float32))[:, None]


@pytest.mark.parametrize(("strategy", "first"), [("future", 1), ("final", STEPS), ("episode", 0)])
def test_goals_are_points_of_the_own_trajectory(strategy: Strategy, first: int) -> None:
    space = VectorGoals((-1.0,), (1.0,), 0.01, ends=False)
    sample = filled(space, (0.9,), walk(), np.zeros(STEPS)).sample(400, np.random.default_rng(0), 0.5, [strategy])
    which = sample.relabelled
    assert which.sum() == 200
    time, at = sample.observation[which, 0, 0], np.rint(10 * sample.goal[which, 0])
    assert at.min() >= first and at.max() <= STEPS
    if strategy == "future":
        assert (at > time).all()
    reached = at == time + 1
    assert np.array_equal(sample.reward[which], reached.astype(np.float32)) and reached.any()
    assert np.array_equal(sample.terminated[which], (time == STEPS - 1).astype(np.float32)), "episodes go on at goals"
    assert np.allclose(sample.goal[~which], 0.9)


def test_where_goals_end_episodes_a_relabelled_step_terminates_at_its_goal_and_none_starts_there() -> None:
    space = VectorGoals((-1.0,), (1.0,), 0.01)
    sample = filled(space, (0.9,), walk(), np.zeros(STEPS)).sample(400, np.random.default_rng(0), 0.5, ["episode"])
    which = sample.relabelled
    time, at = sample.observation[which, 0, 0], np.rint(10 * sample.goal[which, 0])
    assert (at != time).all() and np.array_equal(sample.terminated[which], (at == time + 1).astype(np.float32))


def test_strategies_that_need_partners_offer_no_vector_goals() -> None:
    space = VectorGoals((-1.0,), (1.0,))
    sample = filled(space, (0.9,), walk(), np.zeros(STEPS)).sample(50, np.random.default_rng(0), 0.5, ["joint", "peer_goal"])
    assert not sample.relabelled.any()


def test_of_mixed_rewards_only_the_part_of_the_goal_is_exchanged() -> None:
    # The recorded reward is 7 in every step, and besides 0.5 in those that end at the pursued goal 0: the first two.
    achieved = np.zeros((STEPS + 1, 2), np.uint8)
    achieved[1:3, 0] = achieved[4:, 1] = 1
    reward = 7 + 0.5 * achieved[1:, 0]
    space = DiscreteGoals(2, "own", 0.5, ends=False, mixed=True)
    sample = filled(space, 0, achieved, reward).sample(300, np.random.default_rng(0), 0.5, ["future"])
    time = sample.observation[:, 0, 0].astype(int)
    for t, goal, paid in zip(time, sample.goal, sample.reward, strict=True):
        assert paid == 7 + 0.5 * achieved[t + 1, goal]
    which = sample.relabelled
    assert (sample.goal[which] == 1).any() and (time[which & (sample.goal == 1)] >= 3).any(), "steps that stand on the goal are relabelled"


def test_a_buffer_with_vector_goals_survives_a_checkpoint() -> None:
    space = VectorGoals((-1.0,), (1.0,), 0.01)
    buffer = filled(space, (0.9,), walk(), np.zeros(STEPS))
    again = ReplayBuffer(100, Features(LAYOUT, 1), space)
    again.load_state_dict(buffer.state_dict())
    one, other = (b.sample(64, np.random.default_rng(3), 0.5, ["future", "final"]) for b in (buffer, again))
    assert np.array_equal(one.goal, other.goal) and np.array_equal(one.reward, other.reward)
