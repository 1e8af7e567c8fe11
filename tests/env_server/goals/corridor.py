"""Environments of a user for tests: cells in a row, named in configurations by the import path of this module."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete

from env_server.environments.environment_contracts import AgentBatch, TickResult
from env_server.environments.environment_factory import EnvironmentContext
from protocols.conversations.stepping.stepping_messages import Flag
from protocols.spaces.layout import Layout

CELLS = 4


class Corridor:
    """Parallel API: each agent steps left (1) or right (2), or stays (0); infos hold the cell as `achieved_goal`."""

    def __init__(self, agents: int = 2, steps: int = 8, render_mode: str | None = None) -> None:
        self.possible_agents = [f"walker_{i}" for i in range(agents)]
        self.agents: list[str] = []
        self.metadata = {"name": "corridor"}
        self.steps = steps
        self.cells = dict.fromkeys(self.possible_agents, 0)

    def observation_space(self, agent: str) -> Box:
        return Box(0, CELLS - 1, (1,), np.float32)

    def action_space(self, agent: str) -> Discrete:
        return Discrete(3)

    def reset(self, seed: int | None = None, options: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        self.agents, self.time = list(self.possible_agents), 0
        self.cells = dict.fromkeys(self.possible_agents, 0)
        return self._seen(), self._infos()

    def step(self, actions: dict[str, int]) -> tuple[dict[str, Any], ...]:
        acted = self.agents
        for agent in acted:
            self.cells[agent] = int(np.clip(self.cells[agent] + (0, -1, 1)[int(actions[agent])], 0, CELLS - 1))
        self.time += 1
        over = self.time >= self.steps
        result = self._seen(), dict.fromkeys(acted, 0.25), dict.fromkeys(acted, False), dict.fromkeys(acted, over), self._infos()
        self.agents = [] if over else acted
        return result

    def _seen(self) -> dict[str, Any]:
        return {agent: np.array([cell], np.float32) for agent, cell in self.cells.items()}

    def _infos(self) -> dict[str, Any]:
        return {agent: {"achieved_goal": cell} for agent, cell in self.cells.items()}

    def close(self) -> None:
        """Nothing is held."""


class Reach(gymnasium.Env[Any, Any]):
    """A dictionary observation and `compute_reward`, as in Gymnasium-Robotics."""

    metadata = {"render_modes": ["rgb_array"]}

    def __init__(self, bound: float = 1.0, render_mode: str | None = None) -> None:
        plane = Box(-bound, bound, (2,), np.float32)
        self.observation_space = Dict({"observation": plane, "achieved_goal": plane, "desired_goal": plane})
        self.action_space = Box(-0.1, 0.1, (2,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.place, self.goal, self.time = np.zeros(2, np.float32), self.np_random.uniform(-1, 1, 2).astype(np.float32), 0
        return self._seen(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.place, self.time = self.place + np.asarray(action, np.float32), self.time + 1
        return self._seen(), float(self.compute_reward(self.place, self.goal, {})), False, self.time >= 5, {}

    def _seen(self) -> Any:
        return {"observation": self.place, "achieved_goal": self.place, "desired_goal": self.goal}

    def compute_reward(self, achieved: Any, desired: Any, info: Any) -> Any:
        return -np.linalg.norm(np.asarray(achieved) - desired, axis=-1)


def cell_of(environment: Corridor, agent: str, observation: Any) -> np.ndarray:
    """Bits of the cell: `environment.goals.of`."""
    return np.arange(CELLS) == environment.cells[agent]


def too_few(environment: Any, agent: str, observation: Any) -> np.ndarray:
    """Not as many bits as there are goals."""
    return np.zeros(2)


def broken(environment: Any, agent: str, observation: Any) -> np.ndarray:
    """An error of the user."""
    raise KeyError("no such door")


def observed_cell(environment: Any, agent: str, observation: np.ndarray) -> np.ndarray:
    """For all copies of a vectorised environment: the numbers of their cells."""
    return observation[:, 0].astype(int)


class Counting:
    """A vectorised environment without `hold`: every copy counts the steps of its episode, of which there are `steps`."""

    def __init__(self, context: EnvironmentContext) -> None:
        self.agents, self.copies, self.steps = context.agents, context.copies, context.options.steps

    def layout(self, agent: str) -> Layout:
        return Layout(shape=[1], actions=[2])

    def reset(self, seed: int | None = None, first_episode: int = 0) -> TickResult:
        self.episode, self.time = first_episode, 0
        return self._tick(Flag.MEMBER | Flag.FIRST)

    def step(self, actions: Any) -> TickResult:
        if self.time == self.steps:
            self.episode, self.time = self.episode + self.copies, 0
            return self._tick(Flag.MEMBER | Flag.FIRST)
        self.time += 1
        return self._tick(Flag.MEMBER | (Flag.OVER | Flag.TRUNCATED if self.time == self.steps else Flag(0)))

    def _tick(self, flag: Flag) -> TickResult:
        seen, flags = np.full((self.copies, 1), self.time, np.float32), np.full(self.copies, flag, np.uint16)
        batches = {agent: AgentBatch(seen.copy(), np.zeros(self.copies, np.float32), flags.copy()) for agent in self.agents}
        return TickResult(batches, np.arange(self.episode, self.episode + self.copies))

    def set_present(self, agents: Any) -> None: ...

    def finished(self) -> list[Any]:
        return []

    def evaluate(self, episodes: int, aligned: bool) -> None: ...

    def render(self, copy: int) -> np.ndarray:
        return np.zeros((1, 1, 3), np.uint8)

    def close(self) -> None: ...
