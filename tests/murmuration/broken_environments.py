"""Environments that break one rule each, by their import path."""

from __future__ import annotations

import os
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv


class Corridor(ParallelEnv):
    """Two agents walk for ten steps; every subclass breaks one rule."""

    metadata = {"name": "corridor_v0"}

    def __init__(self, length: int = 10) -> None:
        self.possible_agents = ["left", "right"]
        self.length = length
        self.choices = {agent: spaces.Discrete(2) for agent in self.possible_agents}

    def observation_space(self, agent: str) -> Any:
        return spaces.Box(-1.0, 1.0, (2,), np.float32)

    def action_space(self, agent: str) -> Any:
        return self.choices[agent]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self.agents, self.steps = list(self.possible_agents), 0
        return {agent: self.seen() for agent in self.agents}, {agent: {} for agent in self.agents}

    def seen(self) -> Any:
        return np.full(2, self.steps / self.length, np.float32)

    def reward(self) -> Any:
        return 0.5

    def step(self, actions: dict[str, Any]) -> Any:
        self.steps += 1
        agents, over = list(actions), self.steps >= self.length
        self.agents = [] if over else agents
        values = (self.seen(), self.reward(), False, over, {})
        return tuple(dict.fromkeys(agents, value) for value in values)


class FourValues(Corridor):
    def step(self, actions: dict[str, Any]) -> Any:
        return super().step(actions)[:4]


class NoSeed(Corridor):
    def reset(self) -> Any:  # type: ignore[override]
        return super().reset()


class Outside(Corridor):
    """No rule is broken, but its observations leave their space."""

    def seen(self) -> Any:
        return 5 * super().seen()


class OtherShape(Corridor):
    def seen(self) -> Any:
        return np.zeros(3 if self.steps else 2, np.float32)


class NotANumber(Corridor):
    def reward(self) -> Any:
        return float("nan") if self.steps == 4 else 0.0


class Infinite(Corridor):
    def seen(self) -> Any:
        return np.full(2, np.inf if self.steps == 3 else 0.0, np.float32)


class Unseeded(Corridor):
    def seen(self) -> Any:
        return np.random.default_rng().random(2, np.float32)


class Missing(Corridor):
    def step(self, actions: dict[str, Any]) -> Any:
        observations, rewards, *rest = super().step(actions)
        return observations, {"left": rewards["left"]}, *rest


class Raises(Corridor):
    def step(self, actions: dict[str, Any]) -> Any:
        raise AttributeError("there is no wall")


class Ends(Corridor):
    def step(self, actions: dict[str, Any]) -> Any:
        os._exit(9)


class Raising(Corridor):
    """Its constructor fails."""

    def __init__(self) -> None:
        raise RuntimeError("no display")


class Old(gymnasium.Env[Any, Any]):
    """The four values of the old Gym."""

    observation_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> Any:
        return np.zeros(1, np.float32), 0.0, False, {}
