"""Recurrent PPO: what the actor did is what the learner recomputes, sequences lose no step, and a memory is learnt."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from agent_node.contracts import Batch
from agent_node.learners.ppo import PPO
from agent_node.learners.recurrent_ppo import RecurrentPPO, ppo
from agent_node.learners.settings import PPOSettings
from agent_node.memory.rollout_buffer import RolloutBuffer
from agent_node.session.observation_features import Features
from agent_node.session.transition_batches import goal_encodings, rollout_batch
from tests.agent_node.grid_worlds import DONE, FIRST, MEMBER, layout
from tests.agent_node.learners import memory_task

CELLS = [{"cell": "gru", "sequence": 5}, {"cell": "lstm", "layers": 2, "sequence": 5}]


def learner(seed: int = 0, recurrent: dict[str, Any] | None = None, **changes: Any) -> RecurrentPPO:
    given = {"hidden": [16], "recurrent": recurrent or CELLS[0], "minibatch_size": 64} | changes
    made = ppo(PPOSettings(**given), memory_task.SPEC, 4, seed)
    assert isinstance(made, RecurrentPPO)
    return made


def played(student: RecurrentPPO, steps: int, copies: int = 4, seed: int = 0) -> Batch:
    """Two rollouts of random observations with episodes that end at any step; the second one, which begins in the midst of them."""
    random = np.random.default_rng(seed)
    buffer, flags = RolloutBuffer(steps, copies, 2, 1, True), np.full(copies, FIRST, np.uint16)
    for _ in range(2 * steps + 1):
        seen = random.standard_normal((copies, 2)).astype(np.float32)
        buffer.add(seen, random.random(copies).astype(np.float32), flags, True)
        rows = np.flatnonzero(flags != DONE)
        choice = student.act(seen[rows], np.zeros((len(rows), 0), np.float32), rows, flags[rows] == FIRST, True)
        buffer.acted(rows, np.full(len(rows), -1), choice, flags[rows] == FIRST)
        flags = np.where(flags == DONE, FIRST, np.where(random.random(copies) < 0.15, DONE, MEMBER)).astype(np.uint16)
    taken = buffer.take()
    assert taken is not None
    return rollout_batch(taken, Features(layout(), 1), goal_encodings(None))


def test_settings_choose_the_learner() -> None:
    assert type(ppo(PPOSettings(), memory_task.SPEC, 4, 0)) is PPO
    assert PPOSettings().capabilities == PPOSettings.capabilities and "values" in PPOSettings.capabilities
    recurrent = learner().capabilities
    assert "recurrent" in recurrent and "values" not in recurrent
    with pytest.raises(ValueError, match="depends on the policy's memory"):
        learner().values(np.zeros((1, 2), np.float32), np.zeros((1, 0), np.float32))


@pytest.mark.parametrize("cell", CELLS)
def test_the_learner_recomputes_what_the_actor_did(cell: dict[str, Any]) -> None:
    """With equal weights all ratios are 1, in sequences too that begin in the midst of an episode, and for each step that counts once."""
    student = learner(recurrent=cell)
    given = played(student, 12)
    assert given.first is not None
    own = given.weight.reshape(-1) > 0
    assert own.any() and not own.all() and given.first[1:].any() and not given.first[0].all()
    state = torch.cat([given.observation, given.goal], dim=2)
    with torch.no_grad():
        outputs = student._rollout_outputs(given, state, own)
        inputs, action = state.flatten(0, 1)[own], given.action.flatten(0, 1)[own]
        expected = given.extras["log_probability"].reshape(-1)[own]
        found = student.head.log_probability(student.head.parameters(outputs), action)
        torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)
        seen = []
        for rows, forward in student._minibatches(len(inputs)):
            seen.append(rows)
            parts = student.head.parameters(forward(student.policy, inputs[rows]))
            torch.testing.assert_close(student.head.log_probability(parts, action[rows]), expected[rows], atol=2e-5, rtol=1e-4)
    assert sorted(torch.cat(seen).tolist()) == list(range(int(own.sum()))), "each step that counts is in one minibatch"
    metrics = learner(recurrent=cell, epochs=1, minibatch_size=10**4).learn(given)
    assert metrics["divergence"] == pytest.approx(0.0, abs=1e-6) and metrics["samples"] == own.sum()


@pytest.mark.parametrize("cell", CELLS)
def test_values_are_those_of_the_states_before_and_after_each_step(cell: dict[str, Any]) -> None:
    student = learner(recurrent=cell)
    given = played(student, 12)
    assert given.first is not None
    state, following = given.observation, given.next_observation
    with torch.no_grad():
        value, next_value = student._rollout_values(given, state, following)
        memory = given.extras["memory"][0][:, student.policy.state_width :]
        for t in range(12):
            memory = torch.where(given.first[t].unsqueeze(1) > 0, 0.0, memory)
            own = given.weight[t] > 0
            torch.testing.assert_close(memory[own], given.extras["memory"][t][own][:, student.policy.state_width :])
            outputs, memory = student.value(state[t], memory)
            torch.testing.assert_close(value[t], outputs.squeeze(1))
            torch.testing.assert_close(next_value[t], student.value(following[t], memory)[0].squeeze(1))


def test_steps_that_do_not_count_change_nothing() -> None:
    ours, others = learner(), learner()
    given, changed = played(ours, 12), played(learner(), 12)
    given.weight[6:, 1] = changed.weight[6:, 1] = 0.0
    changed.reward[6:, 1] = 1e3
    changed.action[6:, 1] = 0
    others.load_state_dict(ours.state_dict())
    ours._shuffle, others._shuffle = np.random.default_rng(0), np.random.default_rng(0)
    ours.learn(given)
    others.learn(changed)
    assert torch.equal(ours.policy.vector, others.policy.vector) and torch.equal(ours.value.vector, others.value.vector)


def test_states_are_kept_by_row_and_cleared_where_an_episode_begins() -> None:
    student = learner()
    seen, goals = np.ones((4, 2), np.float32), np.zeros((4, 0), np.float32)
    rows, none = np.arange(4), np.zeros(4, bool)
    assert not student.act(seen, goals, rows, ~none, True).extras["memory"].any()
    second = student.act(seen, goals, rows, none, True).extras["memory"]
    assert (second != 0).any(axis=1).all()
    student.act(seen, goals, None, none, True)
    third = student.act(seen, goals, rows, np.array([True, False, False, False]), True).extras["memory"]
    assert not third[0].any() and (third[1:] != second[1:]).any()
    assert not student.act(seen, goals, rows, none, False).extras


def remembered(recurrent: dict[str, Any] | None) -> float:
    """Share of right answers in the memory task, after at most 60 rollouts of 32 copies."""
    copies, random = 32, np.random.default_rng(0)
    settings = PPOSettings(
        hidden=[16], recurrent=recurrent, minibatch_size=64, epochs=4, learning_rate=3e-3, entropy_coef=0.01, discount=1.0
    )
    student, right = ppo(settings, memory_task.SPEC, copies, 0), 0.0
    for _ in range(60):
        one = memory_task.play(student, copies, 2, random)
        first = np.zeros((2 * memory_task.LENGTH, copies), np.float32)
        first[:: memory_task.LENGTH] = 1
        terminated = np.roll(first, -1, axis=0)
        student.learn(
            Batch(
                observation=torch.from_numpy(np.concatenate([seen[:-1] for seen in one.observation])),
                goal=torch.zeros(len(first), copies, 0),
                action=torch.from_numpy(np.concatenate(one.action).astype(np.int64)),
                reward=torch.from_numpy(np.concatenate(one.reward)),
                next_observation=torch.from_numpy(np.concatenate([seen[1:] for seen in one.observation])),
                terminated=torch.from_numpy(terminated),
                weight=torch.ones(len(first), copies),
                imagined=torch.zeros(len(first), copies),
                first=torch.from_numpy(first),
                extras={name: torch.from_numpy(np.concatenate([extra[name] for extra in one.extras])) for name in one.extras[0]},
            )
        )
        tested = memory_task.play(student, copies, 4, random, explore=False)
        right = float(np.mean([reward[-1] for reward in tested.reward]))
        if right > 0.95:
            break
    return right


def test_it_learns_what_only_a_memory_can() -> None:
    assert remembered({"cell": "gru", "sequence": 8}) > 0.95
    assert remembered(None) < 0.7


def test_what_was_learnt_outlives_a_restart() -> None:
    student = learner()
    student.learn(played(student, 6))
    other = learner(seed=9)
    other.load_state_dict(student.state_dict())
    other._shuffle = np.random.default_rng()
    other._shuffle.bit_generator.state = student._shuffle.bit_generator.state
    given = played(learner(), 6, seed=3)
    assert student.learn(given) == other.learn(given)
    assert torch.equal(student.policy.vector, other.policy.vector) and torch.equal(student.value.vector, other.value.vector)
