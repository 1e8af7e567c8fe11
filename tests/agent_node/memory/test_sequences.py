"""Sequences from the replay buffer: consecutive steps of one episode, and which of them count."""

from __future__ import annotations

import numpy as np

from agent_node.memory.episode import Episode
from agent_node.memory.replay_buffer import ReplayBuffer
from agent_node.session.observation_features import Features
from protocols.spaces.layout import Layout

LENGTH, BEFORE, HISTORY = 5, 3, 2
FEATURES = Features(Layout(shape=[2], actions=[100]), HISTORY)


def filled(held_out: float = 0.0) -> ReplayBuffer:
    """Observation (number, t), action t, reward t + number / 1000; some episodes are shorter than a sequence, and some longer."""
    buffer = ReplayBuffer(2000, FEATURES, held_out=held_out)
    for number in range(60):
        steps = 1 + number % 17
        seen = np.stack([np.full(steps + 1, number), np.arange(steps + 1)], axis=1).astype(np.float32)
        action = np.arange(steps, dtype=np.int32)[:, None]
        buffer.add(Episode(number, seen, action, (action[:, 0] + number / 1000).astype(np.float32), terminated=number % 2 == 0))
    return buffer


def test_they_are_consecutive_steps_of_one_episode() -> None:
    drawn = filled().sequences(2000, np.random.default_rng(0), LENGTH, BEFORE)
    assert drawn.observation.shape == (LENGTH + BEFORE + 1, 2000, HISTORY, 2) and drawn.action.shape == (LENGTH + BEFORE, 2000, 1)
    newest = drawn.observation[:, :, -1]
    number, t = newest[:, :, 0], newest[:, :, 1]
    assert (number == number[0]).all()
    steps = 1 + number[0].astype(int) % 17
    counts = drawn.weight > 0
    assert not counts[:BEFORE].any() and (drawn.weight[counts] == 1).all() and counts.any(axis=0).all()
    following = np.broadcast_to(t[1:], counts.shape)[counts]
    assert (following == t[:-1][counts] + 1).all()
    assert (drawn.action[..., 0][counts] == t[:-1][counts]).all()
    np.testing.assert_allclose(drawn.reward[counts], (t[:-1] + number[:-1] / 1000)[counts], rtol=1e-5)
    ends = (t[:-1] == steps - 1) & (number[:-1] % 2 == 0)
    assert (drawn.terminated[counts] == ends[counts]).all()
    before = drawn.observation[:, :, 0, 1]
    assert (before[t > 0] == t[t > 0] - 1).all() and (before[t == 0] == 0).all()


def test_a_state_begins_with_the_episode() -> None:
    drawn = filled().sequences(2000, np.random.default_rng(0), LENGTH, BEFORE)
    t = drawn.observation[:-1, :, -1, 1]
    assert (drawn.first.sum(axis=0) <= 1).all() and (t[drawn.first > 0] == 0).all()
    counts = drawn.weight > 0
    since = np.cumsum(drawn.first, axis=0) > 0
    early = counts & (t < BEFORE)
    assert since[early].all(), "a step near the start of its episode has all steps before it in its sequence"
    within = np.flatnonzero(drawn.first.sum(axis=0) == 0)
    assert (np.diff(t[:BEFORE, within], axis=0) == 1).all(), "else the steps before a sequence are those of its episode"


def test_each_step_is_drawn() -> None:
    buffer = filled(held_out=0.3)
    drawn = buffer.sequences(20_000, np.random.default_rng(1), LENGTH, BEFORE)
    counts = drawn.weight > 0
    seen = {(int(number), int(t)) for number, t in drawn.observation[:-1, :, -1][counts]}
    assert seen == {(number, t) for number in range(60) for t in range(1 + number % 17) if not buffer.is_held_out(number)}
    assert buffer.held_out_count
