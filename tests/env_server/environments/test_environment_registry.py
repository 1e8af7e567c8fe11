"""Environments by id, and the messages for those that cannot be played."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from pettingzoo.test import parallel_api_test
from ruamel.yaml import YAML

from env_server.adapters.parallel_adapter import ParallelCopies
from env_server.environments.environment_factory import EnvironmentProblem
from env_server.environments.landmarks.landmarks_environment import VectorLandmarks
from env_server.environments.registry import create, describe, problems
from env_server.environments.reward_collection.collection_environment import VectorRewardCollection
from env_server.settings import EnvironmentSettings
from orchestrator.config.configuration import Configuration
from protocols.topology import build

EXAMPLES = sorted((Path(__file__).parents[3] / "configs" / "environments").glob("*.yaml"))


def settings(identifier: str, **options: Any) -> EnvironmentSettings:
    return EnvironmentSettings(id=identifier, options=options, copies=2)


def names(count: int) -> list[str]:
    return [f"agent-{i}" for i in range(count)]


@pytest.mark.parametrize(
    ("identifier", "options", "count", "path", "texts"),
    [
        ("landmark", {}, 2, "environment.id", ['did you mean "landmarks"?']),
        ("simple_spread_v3", {}, 2, "environment.id", ["package:module"]),
        ("landmarks", {"rom": 200}, 2, "environment.options.rom", ['did you mean "room"?']),
        ("landmarks", {"landmarks": 1}, 2, "environment.options.landmarks", ["greater than or equal to 2"]),
        ("reward_colection", {}, 2, "environment.id", ['did you mean "reward_collection"?']),
        ("reward_collection", {"exclusiv": True}, 2, "environment.options.exclusiv", ['did you mean "exclusive"?']),
        ("reward_collection", {"variant": "far", "sites": 4}, 2, "environment.options", ["leave sites out"]),
        ("landmarks", {"members": 3}, 2, "environment.options.members", ["3 agents", "agents.count is 2"]),
        ("landmarks", {"room": 100}, 2, "environment.options", ["enlarge room"]),
        ("mpe2:simple_spread_v2", {}, 3, "environment.id", ['did you mean "simple_spread_v3"']),
        ("mpe:simple_spread_v3", {}, 3, "environment.id", ["no package mpe here", "mpe2"]),
        ("mpe2:simple_spread_v3", {}, 4, "agents.count", ["has 3 agents", "agents.count is 4", "environment.options"]),
        ("mpe2:simple_spread_v3", {"max_cycle": 5}, 3, "environment.options.max_cycle", ['did you mean "max_cycles"?']),
        ("pettingzoo.butterfly:knights_v10", {}, 4, "environment.id", ["has no environment knights_v10"]),
        ("pettingzoo.atari:space_invaders_v2", {}, 3, "agents.count", ["has 2 agents", "agents.count is 3"]),
        ("pettingzoo.atari:space_invaders_v2", {"frameskip": 4}, 2, "environment.options.frameskip", ["has no such option"]),
        ("protocols.runtime:seeds", {}, 2, "environment.id", ["no PettingZoo environment"]),
        ("mpe2:../x", {}, 2, "environment.id", ["package:module"]),
        ("gymnasium:CartPol-v1", {}, 1, "environment.id", ['did you mean "CartPole-v1"']),
        ("CartPole-v1", {}, 1, "environment.id", ['did you mean "gymnasium:CartPole-v1"?']),
        ("Taxi-v2", {}, 1, "environment.id", ['did you mean "gymnasium:Taxi-v']),
        ("gymnasium:CartPole-v1", {}, 2, "agents.count", ["has 1 agents", "set agents.count to 1"]),
        ("gymnasium:CartPole-v1", {"lenght": 1}, 1, "environment.options", ["lenght"]),
    ],
)
def test_what_cannot_be_played_names_place_rule_and_cure(
    identifier: str, options: dict[str, Any], count: int, path: str, texts: list[str]
) -> None:
    found = problems(settings(identifier, **options), names(count))
    assert [".".join(problem.path) for problem in found] == [path]
    assert all(text in found[0].message for text in texts), found[0].message
    with pytest.raises(EnvironmentProblem, match=r"environment|agents"):
        create(settings(identifier, **options), names(count))


@pytest.mark.parametrize(
    ("package", "text"),
    [
        ("ale_py", "the ROM files of the games are those of the package ale-py"),
        ("multi_agent_ale_py", "it needs the package multi_agent_ale_py"),
    ],
)
def test_games_without_their_packages_name_the_extra(package: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.startswith("pettingzoo.atari")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    (found,) = problems(settings("pettingzoo.atari:pong_v3"), names(2))
    assert text in found.message and "pip install 'murmuration-rl[atari]'" in found.message and found.missing


def test_the_games_of_atari_are_played_from_the_files_of_a_package() -> None:
    environment = create(settings("pettingzoo.atari:space_invaders_v2", obs_type="grayscale_image"), names(2))
    try:
        assert environment.layout("agent-0").shape == [84, 84, 1]
        first = environment.reset(0).agents["agent-1"].observation
        for _ in range(8):
            last = environment.step({})
        assert (last.agents["agent-1"].observation != first).any()
    finally:
        environment.close()


ROOM = """
import numpy as np
from gymnasium import Env, spaces


class Room(Env):
    observation_space = spaces.Box(0, 1, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self, length=3):
        self.length = length

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.steps += 1
        return np.ones(1, np.float32), 1.0, self.steps >= self.length, False, {}


class Rooms:
    pass


class Closed(Room):
    def __init__(self, size):
        super().__init__()
        raise RuntimeError(f"no map of {size}")
"""


def test_an_environment_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "room_in_a_file.py").write_text(ROOM)
    monkeypatch.chdir(tmp_path)
    for identifier in ("./room_in_a_file.py:Room", "room_in_a_file.py:Room", f"{tmp_path}/room_in_a_file.py:Room"):
        assert problems(settings(identifier, length=2), names(1)) == []
    environment = create(settings("./room_in_a_file.py:Room", length=2), names(1))
    environment.reset(0)
    for _ in range(2):
        environment.step({})
    assert [record.lengths for record in environment.finished()] == [(2,), (2,)]
    environment.close()
    for identifier, options, path, text in (
        ("./room_in_a_fle.py:Room", {}, "environment.id", 'did you mean "room_in_a_file.py"'),
        ("./room_in_a_file.py:Rom", {}, "environment.id", 'did you mean "Room"'),
        ("./room_in_a_file.py:Rooms", {}, "environment.id", "makes a Rooms, which is neither a PettingZoo environment"),
        ("./room_in_a_file.py:Room", {"lenght": 2}, "environment.options.lenght", 'did you mean "length"'),
        (
            "./room_in_a_file.py:Closed",
            {"size": 2},
            "environment.options",
            "Closed cannot be made: RuntimeError: no map of 2 (" + str(tmp_path),
        ),
        ("./room_in_a_file.py:Closed", {}, "environment.id", "missing 1 required positional argument: 'size'"),
    ):
        (found,) = problems(settings(identifier, **options), names(1))
        assert ".".join(found.path) == path and text in found.message, found


def test_all_wrong_options_are_named_at_once() -> None:
    found = problems(settings("landmarks", landmarks=1, premium=-1, rom=3), names(2))
    assert {problem.path[-1] for problem in found} == {"landmarks", "premium", "rom"}


def test_agents_that_would_never_play_are_named() -> None:
    edges = [("agent-0", "agent-1")]
    (problem,) = problems(settings("landmarks"), names(3), edges)
    assert problem.path == ("network", "topology") and problem.message.startswith("agent-2 would never play")
    assert problems(settings("landmarks"), names(3), [*edges, ("agent-1", "agent-2")]) == []


def test_create_and_describe_agree() -> None:
    for one, kind, goals in (
        (settings("landmarks"), VectorLandmarks, 6),
        (settings("reward_collection", exclusive=True), VectorRewardCollection, None),
        (settings("mpe2:simple_spread_v3", N=2), ParallelCopies, None),
    ):
        description = describe(one, names(2))
        environment = create(one, names(2))
        assert isinstance(environment, kind) and environment.copies == 2
        assert description.layouts == {agent: environment.layout(agent) for agent in environment.agents}
        assert (description.goal_space.count if description.goal_space else None) == goals
        environment.close()


def test_flattened_observations_are_described() -> None:
    assert describe(settings("gymnasium:Blackjack-v1"), names(1)).flattened == {"agent-0": "Tuple(Discrete(32), Discrete(11), Discrete(2))"}
    assert describe(settings("gymnasium:CartPole-v1"), names(1)).flattened == {}
    assert describe(settings("landmarks"), names(2)).flattened == {}


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 4


@pytest.mark.parametrize("path", EXAMPLES, ids=[path.stem for path in EXAMPLES])
def test_examples_are_valid_and_their_environments_playable(path: Path) -> None:
    configuration = Configuration.model_validate(YAML(typ="safe").load(path.read_text()))
    agents = configuration.agent_names()
    edges = list(build(configuration.network.topology, agents).edges)
    assert problems(configuration.environment, agents, edges) == []
    description = describe(configuration.environment, agents, edges)
    assert (description.goal_space is None) == (configuration.agents.goals is None)
    kind = configuration.agents.learner.kind
    axes = 3 if getattr(configuration.agents.learner, "network", None) == "cnn" else 1
    assert all(len(layout.shape) == axes for layout in description.layouts.values())
    assert kind == "ppo" or all(bool(layout.actions) == (kind == "double_dqn") for layout in description.layouts.values())
    small = configuration.environment.model_copy(update={"copies": 2})
    environment = create(small, agents, edges, configuration.seed)
    environment.reset(configuration.seed)
    environment.step({})
    environment.close()


def test_environments_of_the_examples_pass_pettingzoos_own_test() -> None:
    from mpe2 import simple_spread_v3
    from pettingzoo.butterfly import knights_archers_zombies_v11

    parallel_api_test(simple_spread_v3.parallel_env(), num_cycles=60)
    parallel_api_test(knights_archers_zombies_v11.parallel_env(), num_cycles=60)
