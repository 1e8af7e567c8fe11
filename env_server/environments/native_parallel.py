"""What our environments with PettingZoo's Parallel API have in common."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Generic, TypeVar

import numpy as np
from gymnasium.spaces import Space
from gymnasium.utils import seeding
from numpy.typing import NDArray
from pettingzoo import ParallelEnv

Infos = dict[str, dict[str, Any]]
Observation = TypeVar("Observation")
Action = TypeVar("Action")


class NativeParallel(ParallelEnv[str, Observation, Action], Generic[Observation, Action]):  # type: ignore[misc]
    """Agents `agent_0`, ... with equal spaces; pictures with `render_mode="rgb_array"`."""

    def __init__(self, agents: int, render_mode: str | None, observation: Space[Any], action: Space[Any]) -> None:
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode {render_mode!r} is unknown: use 'rgb_array'")
        if agents < 1:
            raise ValueError(f"there must be at least one agent, not {agents}")
        self.render_mode = render_mode
        self.possible_agents = [f"agent_{i}" for i in range(agents)]
        self.agents: list[str] = []
        self.observation_spaces = dict.fromkeys(self.possible_agents, observation)
        self.action_spaces = dict.fromkeys(self.possible_agents, action)
        self._steps = 0
        self._random, _ = seeding.np_random()

    def observation_space(self, agent: str) -> Space[Any]:
        """The same object at every call."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> Space[Any]:
        """The same object at every call."""
        return self.action_spaces[agent]

    def _start(self, seed: int | None) -> None:
        """An episode begins; `seed` is that of `reset`."""
        if seed is not None:
            self._random, _ = seeding.np_random(seed)
        self._steps, self.agents = 0, list(self.possible_agents)

    def render(self) -> NDArray[np.uint8] | None:
        """`[height, width, 3]` with `render_mode="rgb_array"`, else None."""
        return None if self.render_mode is None else self._picture()

    @abstractmethod
    def _picture(self) -> NDArray[np.uint8]:
        """The picture of now."""

    def close(self) -> None:
        """Nothing is held."""
