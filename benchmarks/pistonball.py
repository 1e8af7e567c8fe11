"""What do a random and a scripted policy earn in pistonball? The references for `configs/standard/pistonball.yaml`.

    python benchmarks/pistonball.py configs/standard/pistonball.yaml [--episodes 20] [--seed 0]

The environment is that of the configuration, its options included; episode i begins from seed + i. The scripted policy sees the position of
the ball, which agents have to read from their images: a piston whose middle is right of the ball's goes up, any other goes down, so that
the ball is on a slope to the left. A return is the undiscounted sum of one agent's rewards; all agents have the same rewards.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from env_server.environments.environment_factory import draw_in_memory
from orchestrator.config.loader import load

DOWN, STAY, UP = 0, 1, 2


def scripted(environment: Any, name: str) -> int:
    """Up for pistons right of the ball, down for others."""
    inside = environment.unwrapped
    piston = inside.pistonList[inside.possible_agents.index(name)]
    return UP if piston.position[0] > inside.ball.position[0] else DOWN


def returns(make: Callable[[], Any], policy: Callable[[Any, str], int], episodes: int, seed: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Returns `[episodes]` of one agent."""
    environment, found = make(), []
    for episode in range(episodes):
        environment.reset(seed=seed + episode)
        first, total = environment.agents[0], 0.0
        while environment.agents:
            rewards = environment.step({name: policy(environment, name) for name in environment.agents})[1]
            total += rewards[first]
        found.append(total)
    environment.close()
    return np.array(found)


def main() -> None:
    """Print means and standard errors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configuration", type=Path)
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    settings = load(given.configuration).configuration.environment
    draw_in_memory()
    package, _, name = settings.id.partition(":")
    module = import_module(f"{package}.{name}")
    random = np.random.default_rng(given.seed)
    policies = {"random": lambda *_: int(random.integers(3)), "scripted": scripted, "all stay": lambda *_: STAY}
    print(f"{settings.id} {settings.options}, {given.episodes} episodes each, seeds from {given.seed}")
    for label, policy in policies.items():
        found = returns(lambda: module.parallel_env(**settings.options), policy, given.episodes, given.seed)
        error = found.std(ddof=1) / len(found) ** 0.5
        print(f"{label:9} return {found.mean():7.2f} +- {error:.2f} (standard error), {found.min():.1f} to {found.max():.1f}")


if __name__ == "__main__":
    main()
