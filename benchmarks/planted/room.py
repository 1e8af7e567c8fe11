"""An environment whose step may stand still."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv

from benchmarks.planted.hangs import plant

_STEPS = 20


class Room(ParallelEnv[str, Any, Any]):
    """Agents without a task: one number is observed, one of two actions is chosen."""

    metadata = {"name": "planted_room_v0"}

    def __init__(self, agents: int = 2) -> None:
        self.possible_agents = [f"walker_{i}" for i in range(agents)]
        self._observation, self._action = spaces.Box(0.0, 1.0, (1,), np.float32), spaces.Discrete(2)

    def observation_space(self, agent: str) -> spaces.Box:
        """One number."""
        return self._observation

    def action_space(self, agent: str) -> spaces.Discrete:
        """One of two."""
        return self._action

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin an episode."""
        self.agents, self.steps = list(self.possible_agents), 0
        return self._observations(), {agent: {} for agent in self.agents}

    def step(self, actions: dict[str, Any]) -> tuple[dict[str, Any], ...]:
        """One step of an episode of 20."""
        plant("step")
        self.steps += 1
        observations, over = self._observations(), self.steps >= _STEPS
        ends, agents = dict.fromkeys(self.agents, over), self.agents
        self.agents = [] if over else agents
        return observations, dict.fromkeys(agents, 0.0), dict.fromkeys(agents, False), ends, {agent: {} for agent in agents}

    def _observations(self) -> dict[str, Any]:
        return {agent: np.zeros(1, np.float32) for agent in self.agents}
