"""Wrappers of the configuration around environments of Gymnasium and PettingZoo."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from env_server.environments.registry import create, problems
from env_server.settings import EnvironmentSettings

WRAPPERS = """
import gymnasium
import numpy as np
from pettingzoo.utils import BaseParallelWrapper, BaseWrapper


class Scaled(BaseParallelWrapper):
    def __init__(self, environment, factor=0.5, offset=0.0):
        super().__init__(environment)
        self.factor, self.offset = factor, offset

    def step(self, actions):
        observations, rewards, terminations, truncations, infos = self.env.step(actions)
        rewards = {agent: self.factor * reward + self.offset for agent, reward in rewards.items()}
        return observations, rewards, terminations, truncations, infos


def turns(environment, **arguments):
    return BaseWrapper(environment)


def nothing(environment):
    return None


class Many:
    num_envs = 4

    def __init__(self, environment):
        pass

    def reset(self):
        pass

    def step(self, actions):
        pass


def failing(environment):
    raise RuntimeError("no room left")


class Unbounded(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1, 1, (2,))
    action_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,))

    def reset(self, *, seed=None, options=None):
        return np.zeros(2, np.float32), {}

    def step(self, action):
        return np.zeros(2, np.float32), float(action[0]), True, False, {}
"""
SPREAD = "mpe2:simple_spread_v3"


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wrappers_of_a_test.py").write_text(WRAPPERS)
    monkeypatch.chdir(tmp_path)


def settings(identifier: str, *wrappers: Any) -> EnvironmentSettings:
    return EnvironmentSettings(id=identifier, wrappers=list(wrappers), copies=2)


def names(count: int) -> list[str]:
    return [f"agent-{i}" for i in range(count)]


def rewards(one: EnvironmentSettings, count: int) -> np.ndarray:
    environment = create(one, names(count))
    environment.reset(0)
    found = [environment.step({}).agents["agent-0"].reward for _ in range(3)]
    environment.close()
    return np.array(found, np.float64)


def scaled(**arguments: float) -> dict[str, Any]:
    return {"of": "./wrappers_of_a_test.py:Scaled", "arguments": arguments}


def test_wrappers_are_applied_in_their_order() -> None:
    plain = rewards(settings(SPREAD), 3)
    assert np.allclose(rewards(settings(SPREAD, "./wrappers_of_a_test.py:Scaled"), 3), plain / 2)
    both = rewards(settings(SPREAD, scaled(factor=2.0), scaled(factor=1.0, offset=3.0)), 3)
    assert np.allclose(both, 2 * plain + 3)
    other = rewards(settings(SPREAD, scaled(factor=1.0, offset=3.0), scaled(factor=2.0)), 3)
    assert np.allclose(other, 2 * (plain + 3))


def test_a_gymnasium_environment_is_wrapped_before_its_conversion() -> None:
    one = settings(
        "gymnasium:Pendulum-v1",
        {"of": "gymnasium.wrappers:RescaleAction", "arguments": {"min_action": -1.0, "max_action": 1.0}},
        "gymnasium.wrappers:TimeAwareObservation",
    )
    environment = create(one, names(1))
    layout = environment.layout("agent-0")
    assert (layout.shape, layout.low, layout.high) == ([4], [-1.0], [1.0])
    environment.close()


def test_unbounded_actions_get_bounds_by_a_wrapper() -> None:
    identifier = "./wrappers_of_a_test.py:Unbounded"
    (found,) = problems(settings(identifier), names(1))
    cure = "def bounded(env): return gymnasium.wrappers.TransformAction(env, lambda action: action, gymnasium.spaces.Box(-1, 1, "
    assert "unbounded action space" in found.message and cure in found.message
    Path("bounded_of_a_test.py").write_text(f"import gymnasium\n{found.message[found.message.index('def ') :]}\n")
    environment = create(settings(identifier, "./bounded_of_a_test.py:bounded"), names(1))
    layout = environment.layout("agent-0")
    assert (layout.low, layout.high) == ([-1.0], [1.0])
    environment.reset(0)
    environment.step({"agent-0": np.ones((2, 1), np.float32)})
    environment.close()


def test_entries_that_cannot_be_flattened_are_left_out_by_a_wrapper() -> None:
    identifier = "gymnasium:minigrid:MiniGrid-Empty-5x5-v0"
    (found,) = problems(settings(identifier), names(1))
    assert "the entry mission" in found.message and "gymnasium.wrappers:FilterObservation" in found.message
    kept = {"of": "gymnasium.wrappers:FilterObservation", "arguments": {"filter_keys": ["direction", "image"]}}
    assert problems(settings(identifier, kept), names(1)) == []


@pytest.mark.parametrize(
    ("wrapper", "path", "texts"),
    [
        ("./no_wrappers.py:Scaled", "environment.wrappers.1", ["there is no file"]),
        ("./wrappers_of_a_test.py:Scald", "environment.wrappers.1", ['did you mean "Scaled"']),
        ("no_such_package:Scaled", "environment.wrappers.1", ["no module no_such_package", "install it"]),
        (scaled(facto=1), "environment.wrappers.1.arguments.facto", ["has no such argument", 'did you mean "factor"']),
        ("./wrappers_of_a_test.py:nothing", "environment.wrappers.1", ["nothing returns a NoneType", "return the wrapped environment"]),
        ("./wrappers_of_a_test.py:Many", "environment.wrappers.1", ["vectorised environment, Many", "set environment.copies"]),
        (
            "./wrappers_of_a_test.py:failing",
            "environment.wrappers.1",
            ["failing cannot wrap a PettingZoo environment (Parallel): RuntimeError: no room left", "wrappers_of_a_test.py:"],
        ),
        ("gymnasium.wrappers:FlattenObservation", "environment.wrappers.1", ["wrappers of gymnasium need a Gymnasium environment"]),
    ],
)
def test_errors_name_the_wrapper_and_the_cure(wrapper: Any, path: str, texts: list[str]) -> None:
    (found,) = problems(settings(SPREAD, scaled(), wrapper), names(3))
    assert ".".join(map(str, found.path)) == path
    assert all(text in found.message for text in texts), found.message


def test_environments_of_turns_are_wrapped_before_their_conversion(tmp_path: Path) -> None:
    (tmp_path / "turns_of_a_test.py").write_text("from mpe2.simple_spread_v3 import env\n")
    one = settings("./turns_of_a_test.py:env", "./wrappers_of_a_test.py:turns", scaled())
    (found,) = problems(one, names(3))
    assert found.path == ("environment", "wrappers", 1) and "this one has the AEC API: derive it from" in found.message
    assert problems(settings("./turns_of_a_test.py:env", "./wrappers_of_a_test.py:turns"), names(3)) == []
    converted = settings("./turns_of_a_test.py:env", "pettingzoo.utils.conversions:aec_to_parallel", scaled(factor=0.0, offset=2.0))
    assert (rewards(converted, 3) == 2).all()
    (found,) = problems(settings(SPREAD, "./wrappers_of_a_test.py:turns"), names(3))
    assert "this one has the Parallel API: derive it from pettingzoo.utils.BaseParallelWrapper" in found.message


@pytest.mark.parametrize("identifier", ["landmarks", "reward_collection", "minigrid:MiniGrid-Empty-5x5-v0"])
def test_vectorised_environments_take_none(identifier: str) -> None:
    (found,) = problems(settings(identifier, scaled()), names(2))
    assert found.path == ("environment", "wrappers") and "steps all copies together" in found.message


@pytest.mark.parametrize("wrong", ["Scaled", "a:b:c", "file.py", {"of": "x"}, {"arguments": {}}, 3])
def test_other_entries_are_refused(wrong: Any) -> None:
    with pytest.raises(ValidationError):
        settings(SPREAD, wrong)
