"""Recurrent replay learners in an agent: their state follows every tick, and they learn from sequences."""

from __future__ import annotations

from math import isfinite

import numpy as np
import pytest

from agent_node.learners.settings import DoubleDQNSettings
from agent_node.memory.episode import Episode
from agent_node.session.acting import Actor
from agent_node.session.agent_components import AgentComponents
from agent_node.session.roles import LEARNER, REPLAY
from agent_node.session.training import create_trainer
from agent_node.settings.agent import AgentSettings
from agent_node.settings.exchange import ExchangeSettings
from protocols.conversations.stepping.stepping_messages import Flag
from protocols.runtime.telemetry import TimeShares
from protocols.spaces.layout import Layout

COPIES = 6


def components(seed: int = 0) -> AgentComponents:
    learner = DoubleDQNSettings.model_validate(
        {"hidden": [16], "recurrent": {"sequence": 4, "burn_in": 2}, "exploration": 0.0, "batch_size": 16, "learning_starts": 50}
    )
    return AgentComponents(
        AgentSettings(learner=learner, goals=None), ExchangeSettings(), Layout(shape=[2], actions=[50]), COPIES, "agent-0", seed
    )


def actions(unanswered: int | None, evaluated: bool = False) -> list[list[int]]:
    """Actions of 8 ticks; the one with the number `unanswered` is not answered. The third copy begins a new episode at tick 4."""
    actor, random, found = Actor(components()), np.random.default_rng(0), []
    for tick in range(8):
        flags = np.full(COPIES, Flag.MEMBER | (Flag.FIRST if tick == 0 else 0) | (Flag.EVALUATION if evaluated else 0), np.uint16)
        flags[2] |= Flag.FIRST if tick == 4 else 0
        arrays = {
            "observation": random.standard_normal((COPIES, 2)).astype(np.float32), "reward": np.zeros(COPIES, np.float32),
            "flags": flags, "episode": np.arange(COPIES) + COPIES * ((np.arange(COPIES) == 2) & (tick >= 4)),
            "applied": np.zeros((COPIES, 1), np.int32),
        }  # fmt: skip
        taken, _ = actor.observe(arrays, tick > 0, answer=tick != unanswered)
        found.append(taken[:, 0].tolist())
    return found


@pytest.mark.parametrize("evaluated", [False, True])
def test_a_tick_without_an_answer_is_part_of_the_state(evaluated: bool) -> None:
    always, once = actions(None, evaluated), actions(1, evaluated)
    assert once[2:] == always[2:]
    assert [row[2] for row in always[:4]] != [row[2] for row in always[4:]]


def test_it_learns_from_sequences() -> None:
    built = components()
    trainer, random = create_trainer(built, TimeShares()), np.random.default_rng(0)
    for number in range(12):
        steps = int(random.integers(1, 20))
        seen, action = random.standard_normal((steps + 1, 2)).astype(np.float32), random.integers(0, 50, (steps, 1)).astype(np.int32)
        built[REPLAY].add(Episode(number, seen, action, random.random(steps).astype(np.float32), bool(number % 2)))
        trainer.tick()
    assert trainer.updates > 5 and isfinite(trainer.take_metrics()["learner.loss"])
    restored = components(seed=1)
    restored.load(*built.state())
    trainer, other = create_trainer(built, TimeShares()), create_trainer(restored, TimeShares())
    for one in (trainer, other):
        one.tick()
    assert trainer.take_metrics() == other.take_metrics()
    assert all(np.array_equal(tensor, restored[LEARNER].state_dict()[name]) for name, tensor in built[LEARNER].state_dict().items())
