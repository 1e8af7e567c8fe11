"""Standard environments with several numbers of agents: 200 random steps, the shapes of spaces, and equal seeds give equal results."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from env_server.environments.registry import create
from env_server.settings import EnvironmentSettings
from murmuration.testing.environment_check import random_action

CASES: list[tuple[str, dict[str, Any], int, list[int], list[int], int]] = [
    *[("pettingzoo.butterfly:pistonball_v6", {"n_pistons": n, "continuous": False}, n, [457, 120, 3], [3], 0) for n in (5, 8, 20)],
    *[
        ("pettingzoo.butterfly:knights_archers_zombies_v11", {"num_archers": n, "num_knights": n}, 2 * n, [5 * (21 + 3 * n)], [6], 0)
        for n in (1, 2, 4)
    ],
    ("pettingzoo.butterfly:cooperative_pong_v6", {}, 2, [280, 480, 3], [3], 0),
    *[("pettingzoo.sisl:multiwalker_v9", {"n_walkers": n}, n, [31], [], 4) for n in (2, 3, 6)],
    *[("pettingzoo.sisl:pursuit_v5", {"n_pursuers": n, "n_evaders": 4 * n}, n, [147], [5], 0) for n in (2, 8, 16)],
    *[
        ("pettingzoo.atari:space_invaders_v2", {"obs_type": kind}, 2, shape, [6], 0)
        for kind, shape in (("rgb_image", [210, 160, 3]), ("grayscale_image", [210, 160, 1]), ("ram", [128]))
    ],
    *[("mpe2:simple_spread_v3", {"N": n, "continuous_actions": True}, n, [6 * n], [], 5) for n in (3, 5, 10)],
    *[("mpe2:simple_spread_v3", {"N": n, "num_agent_neighbors": 2, "num_landmark_neighbors": 3}, n, [18], [5], 0) for n in (3, 5, 10)],
    *[("mpe2:simple_tag_v3", {"num_adversaries": n}, n + 1, [10 + 2 * n], [5], 0) for n in (3, 6, 12)],
    *[("particles:simple_spread", {}, n, [6 * n], [5], 0) for n in (3, 5, 10)],
    *[("particles:simple_tag", {}, n + 1, [10 + 2 * n], [5], 0) for n in (3, 6, 12)],
    *[("prison", {}, n, [32], [3], 0) for n in (3, 8, 20)],
]


def played(identifier: str, options: dict[str, Any], agents: int, steps: int) -> tuple[Any, list[Any]]:
    """The environment's layout of its first agent, and what agents saw and earned in random steps."""
    whole = {} if identifier.startswith(("particles", "prison")) else {"images": {"size": None}}
    settings = EnvironmentSettings.model_validate({"id": identifier, "options": options, "copies": 1, **whole})
    names = [f"agent-{i}" for i in range(agents)]
    environment, random, found = create(settings, names, seed=3), np.random.default_rng(0), []
    try:
        tick = environment.reset(3)
        for _ in range(steps):
            seen = tick.agents
            tick = environment.step({name: random_action(environment.layout(name), seen[name].observation, random) for name in names})
            assert all(np.isfinite(batch.reward).all() for batch in tick.agents.values())
            found.append([(batch.observation, batch.reward, batch.flags) for batch in tick.agents.values()])
        return environment.layout(names[0]), found
    finally:
        environment.close()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("identifier", "options", "agents", "observation", "choices", "axes"), CASES, ids=[f"{case[0]}-{case[2]}" for case in CASES]
)
def test_spaces_and_seeds(
    identifier: str, options: dict[str, Any], agents: int, observation: list[int], choices: list[int], axes: int
) -> None:
    layout, first = played(identifier, options, agents, 200)
    assert layout.shape == observation and layout.actions == choices and len(layout.low) == axes
    _, again = played(identifier, options, agents, 30)
    for one, other in zip(first, again, strict=False):
        assert all(np.array_equal(value, same) for row, twin in zip(one, other, strict=True) for value, same in zip(row, twin, strict=True))
