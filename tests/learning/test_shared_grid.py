"""Agents in one grid, each with teacher and curiosity of its own, with everything in this process."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from agent_node.session.acting import Actor
from agent_node.session.agent_components import AgentComponents
from agent_node.session.training import Trainer, create_trainer
from agent_node.settings.agent import AgentSettings
from agent_node.settings.exchange import ExchangeSettings
from env_server.environments.environment_contracts import VectorEnvironment
from env_server.environments.minigrid.grid_copies import VectorMiniGrid
from env_server.environments.minigrid.multiplayer_grid import SharedMiniGrid
from env_server.environments.minigrid.settings import MiniGridOptions
from protocols.runtime.telemetry import TimeShares

COPIES = 8
GIVEN: dict[str, Any] = {
    "learner": {"kind": "impala", "steps": 10, "rollouts": 8, "hidden": [16]},
    "teacher": {"kind": "amigo", "batch_size": 8},
    "curiosity": {"kind": "bebold"},
    "goals": None,
    "shaping": {},
}


def live(environment: VectorEnvironment, ticks: int, **changes: Any) -> dict[str, tuple[AgentComponents, Trainer, float]]:
    """Agents that play and learn for some ticks: parts, trainer, and the sum of all that was earned in whole episodes, by their names."""
    settings = AgentSettings.model_validate(GIVEN | changes)
    agents = {}
    for agent in environment.agents:
        components = AgentComponents(settings, ExchangeSettings(), environment.layout(agent), COPIES, agent, 0)
        agents[agent] = (components, Actor(components), create_trainer(components, TimeShares()))
    outcome, applied = environment.reset(0), dict.fromkeys(environment.agents, np.zeros((COPIES, 1), np.int32))
    earned = dict.fromkeys(environment.agents, 0.0)
    for tick in range(ticks):
        for agent, (_, actor, trainer) in agents.items():
            own = outcome.agents[agent]
            seen = {"observation": own.observation, "reward": own.reward, "flags": own.flags, "episode": outcome.episode}
            seen["applied"] = applied[agent]
            applied[agent], episodes = actor.observe(seen, tick > 0)
            earned[agent] += sum(episode.total_reward for episode in episodes)
            trainer.tick()
        outcome = environment.step(applied)
    return {agent: (components, trainer, earned[agent]) for agent, (components, _, trainer) in agents.items()}


@pytest.mark.parametrize("view", ["full", "both"])
def test_one_agent_learns_to_the_bit_what_it_learns_in_copies_of_its_own(view: Any) -> None:
    name, names = "MiniGrid-DoorKey-5x5-v0", ("agent-0",)
    alone = live(VectorMiniGrid(name, MiniGridOptions(view=view), names, COPIES, 1), 80)["agent-0"][0]
    shared = live(SharedMiniGrid(name, MiniGridOptions(view=view, players="all"), names, COPIES, 1), 80)["agent-0"][0]
    mine, theirs = alone.state()[0], shared.state()[0]
    different = {key for key in mine if mine[key].shape != theirs[key].shape or not torch.equal(mine[key], theirs[key])}
    assert mine.keys() == theirs.keys() and len(mine) > 10
    assert not different


@pytest.mark.parametrize("view", ["full", "both", "partial"])
@pytest.mark.parametrize("reward", ["team", "own"])
def test_several_agents_play_and_learn_together(view: Any, reward: Any) -> None:
    names = ("agent-0", "agent-1", "agent-2")
    options = MiniGridOptions(view=view, players="all", reward=reward)
    changes = {"teacher": None} if view == "partial" else {}
    found = live(SharedMiniGrid("MiniGrid-Empty-5x5-v0", options, names, COPIES, 1), 120, **changes)
    earned = [total for _, _, total in found.values()]
    assert max(earned) > 0 and (len({round(total, 4) for total in earned}) == 1) == (reward == "team")
    figures = [trainer.take_metrics() | components.metrics() for components, trainer, _ in found.values()]
    for values in figures:
        assert values["learner.entropy"] > 0 and values["curiosity.novelty"] > 0
        assert view == "partial" or 0 <= values["teacher.reached"] < 1
    assert view == "partial" or max(values["teacher.reached"] for values in figures) > 0
    assert len({values["curiosity.loss"] for values in figures}) == 3, "each has parts of its own"
