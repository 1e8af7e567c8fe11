"""Recurrent double DQN: targets along sequences, what does not count, the burn-in, states when acting, and a memory that is learnt."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from agent_node.contracts import Batch
from agent_node.learners.double_dqn import DoubleDQN
from agent_node.learners.recurrent_double_dqn import RecurrentDoubleDQN, double_dqn
from agent_node.learners.settings import DoubleDQNSettings
from agent_node.memory.episode import Episode
from agent_node.memory.replay_buffer import ReplayBuffer
from agent_node.session.observation_features import Features
from agent_node.session.transition_batches import goal_encodings, sequence_batch
from protocols.spaces.layout import Layout
from tests.agent_node.learners import memory_task

FEATURES = Features(Layout(shape=[2], actions=[2]), 1)
BURN_IN, SEQUENCE = 3, 4


def learner(seed: int = 0, rows: int = 4, **changes: Any) -> RecurrentDoubleDQN:
    given = {"hidden": [16], "recurrent": {"sequence": SEQUENCE, "burn_in": BURN_IN}} | changes
    made = double_dqn(DoubleDQNSettings(**given), memory_task.SPEC, rows, seed)
    assert isinstance(made, RecurrentDoubleDQN)
    return made


def filled(episodes: int = 20, seed: int = 0) -> ReplayBuffer:
    buffer, random = ReplayBuffer(1000, FEATURES), np.random.default_rng(seed)
    for number in range(episodes):
        steps = int(random.integers(2, 12))
        seen, action = random.standard_normal((steps + 1, 2)).astype(np.float32), random.integers(0, 2, (steps, 1)).astype(np.int32)
        buffer.add(Episode(number, seen, action, random.random(steps).astype(np.float32), bool(number % 2)))
    return buffer


def batch(n: int = 16, seed: int = 0) -> Batch:
    drawn = filled().sequences(n, np.random.default_rng(seed), SEQUENCE, BURN_IN)
    return sequence_batch(drawn, FEATURES, goal_encodings(None))


def test_settings_choose_the_learner() -> None:
    assert type(double_dqn(DoubleDQNSettings(), memory_task.SPEC, 4, 0)) is DoubleDQN
    capabilities = learner().capabilities
    assert "recurrent" in capabilities and not {"probabilities", "td_errors"} & set(capabilities)
    with pytest.raises(ValueError, match="depend on the policy's memory"):
        learner().td_errors(batch())


@pytest.mark.parametrize("dueling", [False, True])
def test_the_update_is_that_of_single_steps_from_the_states_along_the_sequence(dueling: bool) -> None:
    student = learner(dueling=dueling, max_grad_norm=1e9)
    given = batch()
    assert given.first is not None and given.first.any() and (given.weight[BURN_IN:] == 0).any()
    assert not given.weight[:BURN_IN].any() and given.terminated.any()
    online, target = torch.zeros(16, student.online.state_width), torch.zeros(16, student.online.state_width)
    seen = torch.cat([given.observation, given.next_observation[-1:]])
    errors, values = [], []
    with torch.no_grad():
        for t in range(BURN_IN + SEQUENCE + 1):
            if t < BURN_IN + SEQUENCE:
                anew = given.first[t].unsqueeze(1) > 0
                online, target = torch.where(anew, 0.0, online), torch.where(anew, 0.0, target)
            (q, online), (q_target, target) = student.online(seen[t], online), student.target(seen[t], target)
            q, q_target = student._combined(q), student._combined(q_target)
            if t > BURN_IN:
                before = t - 1
                y = given.reward[before] + 0.99 * (1 - given.terminated[before]) * q_target.gather(1, q.argmax(1, keepdim=True)).squeeze(1)
                counts = given.weight[before] > 0
                errors.append((values[-1] - y)[counts])
            if t < BURN_IN + SEQUENCE:
                values.append(q.gather(1, given.action[t]).squeeze(1))
    expected = torch.cat(errors).square().mean()
    assert student.learn(given)["loss"] == pytest.approx(float(expected), rel=1e-4)
    assert student.updates == 1


def test_steps_that_do_not_count_change_nothing() -> None:
    ours, others = learner(), learner()
    given, changed = batch(), batch()
    idle = changed.weight == 0
    changed.reward[idle] = 1e3
    changed.action[idle] = 1 - changed.action[idle]
    ours.learn(given)
    others.learn(changed)
    assert torch.equal(ours.online.vector, others.online.vector)
    before = learner()
    assert not torch.equal(ours.online.vector, before.online.vector)


def test_the_burn_in_matters_only_through_the_state() -> None:
    given, changed = batch(), batch()
    inside = (changed.first is not None) and (changed.first.cumsum(0)[BURN_IN] == 0)  # the episode began before the burn-in
    assert torch.is_tensor(inside) and inside.any()
    changed.observation[:BURN_IN, inside] += 5.0
    ours, others = learner(), learner()
    assert ours.learn(given)["loss"] != others.learn(changed)["loss"]
    none = {"recurrent": {"sequence": SEQUENCE, "burn_in": 0}}
    cut = [
        Batch(**{
            name: getattr(one, name)[BURN_IN:]
            for name in ("observation", "goal", "action", "reward", "next_observation", "terminated", "weight", "imagined", "first")
        })
        for one in (given, changed)
    ]  # fmt: skip
    assert learner(**none).learn(cut[0]) == learner(**none).learn(cut[1])


def test_states_are_kept_by_row_and_cleared_where_an_episode_begins() -> None:
    seen, goals = np.random.default_rng(0).standard_normal((5, 4, 2)).astype(np.float32), np.zeros((4, 0), np.float32)
    rows, none = np.arange(4), np.zeros(4, bool)
    student, twin = learner(exploration=0.0), learner(exploration=0.0)
    student._memory[:] = 7.0
    twin._memory[:] = 0.0
    for t in range(5):
        first = none if t else ~none
        found = student.act(seen[t], goals, rows, first, False).actions
        assert np.array_equal(found, twin.act(seen[t], goals, rows, none, False).actions)
        assert np.array_equal(student._memory, twin._memory) and student._memory.any()
    kept = student._memory.copy()
    student.act(seen[0], goals, None, none, True)
    assert np.array_equal(student._memory, kept), "states of no copy are not kept"
    student.act(seen[0, :2], goals[:2], np.array([3, 1]), none[:2], True)
    assert np.array_equal(student._memory[[0, 2]], kept[[0, 2]]) and (student._memory[[3, 1]] != kept[[3, 1]]).any(axis=1).all()


def remembered(recurrent: dict[str, Any] | None) -> float:
    copies, random = 16, np.random.default_rng(0)
    settings = DoubleDQNSettings(
        hidden=[16], recurrent=recurrent, learning_rate=3e-3, exploration=0.2, batch_size=64, tau=0.05, discount=0.9
    )
    student, buffer, number, right = double_dqn(settings, memory_task.SPEC, copies, 0), ReplayBuffer(20_000, FEATURES), 0, 0.0
    for _ in range(60):
        one = memory_task.play(student, copies, 1, random)
        for row in range(copies):
            buffer.add(Episode(number, one.observation[0][:, row], one.action[0][:, row], one.reward[0][:, row], True))
            number += 1
        for _ in range(10):
            if recurrent is None:
                drawn = buffer.sample(64, random)
                seen, following = (torch.from_numpy(part[:, -1]) for part in (drawn.observation, drawn.next_observation))
                action, reward, terminated = (torch.from_numpy(part) for part in (drawn.action, drawn.reward, drawn.terminated))
                student.learn(
                    Batch(seen, torch.zeros(64, 0), action.long(), reward, following, terminated, torch.ones(64), torch.zeros(64))
                )
            else:
                student.learn(sequence_batch(buffer.sequences(16, random, 4, 4), FEATURES, goal_encodings(None)))
        tested = memory_task.play(student, copies, 6, random, explore=False)
        right = float(np.mean([reward[-1] for reward in tested.reward]))
        if right > 0.95:
            break
    return right


def test_it_learns_what_only_a_memory_can() -> None:
    assert remembered({"sequence": 4, "burn_in": 4}) > 0.95
    assert remembered(None) < 0.75


def test_what_was_learnt_outlives_a_restart() -> None:
    student, other = learner(), learner(seed=9)
    student.learn(batch())
    other.load_state_dict(student.state_dict())
    assert student.learn(batch(seed=2)) == other.learn(batch(seed=2))
    assert torch.equal(student.online.vector, other.online.vector)
