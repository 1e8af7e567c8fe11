"""Components of observations that are hidden, in environments of Gymnasium and PettingZoo."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from mpe2 import simple_spread_v3

from env_server.adapters.observed_components import observed_components
from env_server.environments.registry import problems
from env_server.settings import EnvironmentSettings

NAME = "env_server.adapters.observed_components:observed_components"


def test_gymnasium() -> None:
    whole, part = gymnasium.make("CartPole-v1"), observed_components(gymnasium.make("CartPole-v1"), [2, 0])
    assert part.observation_space.shape == (2,) and (part.observation_space.high == whole.observation_space.high[[2, 0]]).all()  # type: ignore[attr-defined]
    (seen, _), (shown, _) = whole.reset(seed=3), part.reset(seed=3)
    for _ in range(5):
        assert np.array_equal(shown, seen[[2, 0]]) and part.observation_space.contains(shown)
        (seen, reward, *_), (shown, same, *_) = whole.step(1), part.step(1)
        assert reward == same


def test_pettingzoo() -> None:
    whole = simple_spread_v3.parallel_env(N=2, max_cycles=5)
    part = observed_components(simple_spread_v3.parallel_env(N=2, max_cycles=5), range(2, 8))
    (seen, _), (shown, _) = whole.reset(seed=3), part.reset(seed=3)
    while part.agents:
        for agent in part.agents:
            assert np.array_equal(shown[agent], seen[agent][2:8]) and part.observation_space(agent).contains(shown[agent])
        actions = dict.fromkeys(whole.agents, 1)
        seen, *_ = whole.step(actions)
        shown, *_ = part.step(actions)


@pytest.mark.parametrize(
    ("name", "components", "text"),
    [
        ("CartPole-v1", [], "must name at least one component, and each once"),
        ("CartPole-v1", [1, 1], "must name at least one component, and each once"),
        ("CartPole-v1", [0, 4], "are not all between 0 and 3"),
        ("CartPole-v1", [-1], "are not all between 0 and 3"),
        ("FrozenLake-v1", [0], "components are those of a vector, and observations are Discrete"),
    ],
)
def test_components_that_are_not_there(name: str, components: list[int], text: str) -> None:
    wrapper: dict[str, Any] = {"of": NAME, "arguments": {"components": components}}
    (found,) = problems(EnvironmentSettings.model_validate({"id": f"gymnasium:{name}", "wrappers": [wrapper]}), ["agent-0"])
    assert found.path == ("environment", "wrappers", 0) and text in found.message
