"""Students in grids learn: an easy one in seconds, with everything in this process; the key corridor in minutes of real processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent_node.session.acting import Actor
from agent_node.session.agent_components import AgentComponents
from agent_node.session.training import create_trainer
from agent_node.settings.agent import AgentSettings
from agent_node.settings.exchange import ExchangeSettings
from env_server.environments.minigrid.grid_copies import VectorMiniGrid
from env_server.environments.minigrid.settings import MiniGridOptions
from protocols.runtime.telemetry import TimeShares
from tests.runs.system import REPOSITORY, metrics, orchestrate

COPIES = 16
STUDENT = {"kind": "impala", "steps": 20, "rollouts": 16, "epsilon": 1e-4, "entropy_coef": 0.005}
TEACHER = {"kind": "amigo", "batch_size": 32}
CURIOSITY = {"kind": "bebold", "coefficient": 0.01, "previous": 0.5, "optimiser": "adam"}


def played(name: str, view: Any, settings: dict[str, Any], frames: int) -> Iterator[tuple[float, dict[str, float]]]:
    """An agent alone in copies of an environment: after every 2,000 frames the mean return of the last 50 episodes, and its metrics."""
    environment = VectorMiniGrid(name, MiniGridOptions(view=view), ["agent-0"], COPIES, 0)
    outcome = environment.reset(0)
    given = AgentSettings.model_validate({"learner": STUDENT, "goals": None, "shaping": {}, **settings})
    components = AgentComponents(given, ExchangeSettings(), environment.layout("agent-0"), COPIES, "agent-0", 0)
    actor, trainer = Actor(components), create_trainer(components, TimeShares())
    returns: list[float] = []
    applied = np.zeros((COPIES, 1), np.int32)
    for tick in range(frames // COPIES):
        own = outcome.agents["agent-0"]
        seen = {"observation": own.observation, "reward": own.reward, "flags": own.flags, "episode": outcome.episode, "applied": applied}
        applied, episodes = actor.observe(seen, tick > 0)
        returns += [episode.total_reward for episode in episodes]
        trainer.tick()
        outcome = environment.step({"agent-0": applied})
        if tick % (2000 // COPIES) == 2000 // COPIES - 1:
            yield float(np.mean(returns[-50:])) if returns else 0.0, trainer.take_metrics() | components.metrics()


@pytest.mark.parametrize("view", ["full", "both"])
def test_a_teacher_s_goals_are_reached_where_a_policy_wanders(view: str) -> None:
    """Also by one that sees only a part of the grid in which they are."""
    (*_, (_, figures)) = played("MiniGrid-Empty-5x5-v0", view, {"teacher": TEACHER}, 6000)
    assert 0.02 < figures["teacher.reached"] < 0.98 and 1 <= figures["teacher.duration.reached"] < 100
    assert 0 < figures["intrinsic"] < 0.2 and figures["teacher.entropy"] <= np.log(25)


@pytest.mark.slow
@pytest.mark.parametrize("more", [{"teacher": TEACHER}, {"curiosity": CURIOSITY}, {"teacher": TEACHER, "curiosity": CURIOSITY}, {}])
def test_an_empty_room_is_crossed(more: dict[str, Any]) -> None:
    found = [score for score, _ in played("MiniGrid-Empty-5x5-v0", "full", more, 80_000)]
    assert found[0] < 0.6 and max(found) > 0.85


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_curiosity_solves_the_key_corridor(tmp_path: Path) -> None:
    """0.9 by 125,000 frames with each of three seeds (docs/results/amigo.md)."""
    config = REPOSITORY / "configs" / "amigo" / "bebold.yaml"
    done = orchestrate(tmp_path / "runs", "up", str(config), "until.steps=160000", "--name", "smoke", timeout=1400)
    assert done.returncode == 0, done.stdout + done.stderr
    directory = tmp_path / "runs" / "smoke"
    assert metrics(directory, "env-0", "eval.own.return")[-1] > 0.8
    assert metrics(directory, "env-0", "eval.own.return")[0] < 0.2
    assert metrics(directory, "agent-0", "curiosity.novelty")[-1] < metrics(directory, "agent-0", "curiosity.novelty")[0]
