"""Action masks in observations and infos, and environments whose agents take turns, behind the vector contract."""

from __future__ import annotations

import numpy as np
import pytest

from env_server.adapters.parallel_adapter import ParallelCopies
from env_server.adapters.parallel_conversions import TurnBasedParallel
from env_server.environments.environment_factory import EnvironmentProblem
from env_server.environments.registry import create
from env_server.settings import EnvironmentSettings
from murmuration.testing import check_environment
from murmuration.testing.environment_trial import try_environment
from protocols.conversations.stepping.stepping_messages import Flag
from protocols.runtime.errors import ConfigurationError
from protocols.spaces.action_masks import draw_legal
from tests.env_server.adapters.turn_environments import CHOICES, Knockout, legal

HERE = "tests.env_server.adapters.turn_environments"
AGENTS = ["agent-0", "agent-1", "agent-2"]


@pytest.mark.parametrize("mask", ["observation", "info"])
def test_the_mask_is_the_end_of_the_observation(mask: str) -> None:
    environment = create(EnvironmentSettings(id=f"{HERE}:Knockout", options={"mask": mask}, copies=2), AGENTS)
    layout = environment.layout("agent-1")
    assert layout.mask and layout.mask_size == CHOICES and layout.shape == [3 + CHOICES]
    assert (layout.fields[-1].name, layout.fields[-1].start, layout.fields[-1].size) == ("action_mask", 3, CHOICES)
    outcome, random = environment.reset(0), np.random.default_rng(0)
    turns = 0
    for _ in range(60):
        actions = {}
        for agent in AGENTS:
            seen = outcome.agents[agent].observation
            for copy in np.flatnonzero((outcome.agents[agent].flags & (Flag.WAITING | Flag.PARKED | Flag.OVER)) == 0):
                if outcome.agents[agent].flags[copy]:
                    turns += 1
                    assert seen[copy, 3:].tolist() == legal(int(seen[copy, 0]), int(seen[copy, 1])).tolist()
            actions[agent] = draw_legal(seen[:, 3:], [CHOICES], random)
        outcome = environment.step(actions)
    assert turns > 60
    environment.close()


def test_without_a_mask_there_is_none() -> None:
    environment = create(EnvironmentSettings(id=f"{HERE}:Knockout", options={"mask": "none"}, copies=1), AGENTS)
    assert not environment.layout("agent-0").mask and environment.layout("agent-0").shape == [3]
    environment.close()


@pytest.mark.parametrize("form", ["tuple", "array"])
def test_masks_of_several_factors_follow_a_picture_in_one_vector(form: str) -> None:
    environment = create(EnvironmentSettings(id=f"{HERE}:TwoDials", options={"form": form}, copies=1), AGENTS[:1])
    layout = environment.layout("agent-0")
    assert layout.dtype == "f4" and layout.shape == [12 + 5] and layout.actions == [3, 2] and layout.mask
    seen = environment.reset(0).agents["agent-0"].observation
    assert seen[0].tolist() == [0.0] * 12 + [0, 1, 1, 0, 1]
    seen = environment.step({"agent-0": np.array([[1, 1]], np.int32)}).agents["agent-0"].observation
    assert seen[0].tolist() == [1.0] * 12 + [1, 0, 1, 1, 0]
    for _ in range(20):
        environment.step({})  # the environment asserts that its actions are legal
    assert len(environment.finished()) == 2
    environment.close()


def test_numbers_of_infos_become_metrics_of_episodes() -> None:
    settings = EnvironmentSettings(id=f"{HERE}:TwoDials", copies=2, info_metrics=["passed", "done", "text", "missing"])
    environment = create(settings, AGENTS[:1])
    environment.reset(0)
    for _ in range(16):
        environment.step({})
    found = [dict(record.metrics) for record in environment.finished()]
    assert found == [{"info.passed": 4.0, "info.done": pytest.approx(1 / 7)}] * 4
    environment.close()
    vectorised = EnvironmentSettings(id="landmarks", copies=2, info_metrics=["passed"])
    with pytest.raises(EnvironmentProblem, match="has no infos, from which these metrics would be read; leave info_metrics out"):
        create(vectorised, AGENTS[:2])


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"action_mask of 4 numbers, and its actions have 5 choices: give one number for each"):
        create(EnvironmentSettings(id=f"{HERE}:TwoDials", options={"form": "short"}, copies=1), AGENTS[:1])


def test_one_agent_moves_at_a_tick_and_the_others_wait() -> None:
    environment = ParallelCopies(lambda: TurnBasedParallel(Knockout("none")), AGENTS, 4)
    outcome, random, ended = environment.reset(0), np.random.default_rng(0), 0
    for _ in range(200):
        flags = np.stack([outcome.agents[agent].flags for agent in AGENTS])
        reward = np.stack([outcome.agents[agent].reward for agent in AGENTS])
        waiting, over = (flags & Flag.WAITING) != 0, (flags & Flag.OVER).any(axis=0)
        gone = (flags & (Flag.PARKED | Flag.TERMINATED | Flag.TRUNCATED)) != 0
        assert ((~waiting & ~gone).sum(axis=0) == np.where(over, 0, 1)).all(), "one is on turn until the game is over"
        assert not (waiting & ((flags & (Flag.FIRST | Flag.OVER)) != 0)).any() and (reward[waiting] == 0).all()
        ended += int(gone[:, ~over].sum())
        outcome = environment.step({agent: random.integers(0, CHOICES, (4, 1)).astype(np.int32) for agent in AGENTS})
    assert ended > 0, "some agent is out of the game before it is over"
    assert len(environment.finished()) > 10
    environment.close()


@pytest.mark.parametrize(("name", "agents", "options"), [
    ("Knockout", 3, {}), ("Knockout", 3, {"mask": "info"}), ("Knockout", 3, {"mask": "none"}), ("TwoDials", 1, {}),
])  # fmt: skip
def test_random_play_respects_masks_and_turns(name: str, agents: int, options: dict[str, str]) -> None:
    check_environment(f"{HERE}:{name}", options, agents)
    trial = try_environment(f"{HERE}:{name}", options)
    assert trial.ok and trial.episodes > 10, trial


def test_turns_have_no_goals() -> None:
    goals = {"of": f"{HERE}:legal", "count": 2}
    with pytest.raises(EnvironmentProblem, match=r"act in turns, and goals are for agents that act simultaneously; write goals: null"):
        create(EnvironmentSettings.model_validate({"id": f"{HERE}:Knockout", "copies": 1, "goals": goals}), AGENTS)
