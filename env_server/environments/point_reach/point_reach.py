"""Points with velocity in the square [-1, 1]^2, one for each agent, with a goal each; PettingZoo's Parallel API.

Observations are dictionaries as in Gymnasium-Robotics: `observation` (position, velocity), `achieved_goal` (position), `desired_goal`.
Points do not influence one another.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from gymnasium.spaces import Box, Dict
from numpy.typing import NDArray

from env_server.environments.native_parallel import Infos, NativeParallel

Floats = NDArray[np.float32]
Observation = dict[str, Floats]
DISTANCE = 0.1
"""within which the goal counts as reached"""
ACCELERATION, FRICTION = 0.1, 0.8
"""v' = FRICTION v + ACCELERATION a, x' = x + v', for actions a in [-1, 1]^2"""
PIXELS = 200


class PointReach(NativeParallel[Observation, Floats]):
    """`agents` points, episodes of `max_steps` steps. Actions are accelerations along x and y; an agent's reward is 1 in every step that
    ends within `DISTANCE` of its goal, else 0."""

    metadata: ClassVar[dict[str, Any]] = {"name": "point_reach_v0", "render_modes": ["rgb_array"], "is_parallelizable": True}

    def __init__(self, agents: int = 2, max_steps: int = 40, render_mode: str | None = None) -> None:
        if agents < 1 or max_steps < 1:
            raise ValueError(f"agents ({agents}) and max_steps ({max_steps}) must be positive")
        plane, state = Box(-1.0, 1.0, (2,), np.float32), Box(-1.0, 1.0, (4,), np.float32)
        observed = Dict({"observation": state, "achieved_goal": plane, "desired_goal": plane})
        super().__init__(agents, render_mode, observed, Box(-1.0, 1.0, (2,), np.float32))
        self._max_steps = max_steps
        self._position = self._velocity = self._goal = np.zeros((agents, 2))

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict[str, Observation], Infos]:
        """Positions and goals are uniform, velocities are 0."""
        self._start(seed)
        count = len(self.possible_agents)
        self._position, self._goal = self._random.uniform(-1, 1, (2, count, 2))
        self._velocity = np.zeros((count, 2))
        return self._observations(), {agent: {} for agent in self.agents}

    def step(self, actions: dict[str, Floats]) -> tuple[dict[str, Observation], dict[str, float], dict[str, bool], dict[str, bool], Infos]:
        """Agents without an action do not accelerate."""
        given = np.zeros_like(self._velocity)
        for i, agent in enumerate(self.possible_agents):
            if agent in actions:
                given[i] = np.clip(actions[agent], -1, 1)
        self._velocity = FRICTION * self._velocity + ACCELERATION * given
        moved = self._position + self._velocity
        self._position = np.clip(moved, -1, 1)
        self._velocity = np.where(moved == self._position, self._velocity, 0)
        self._steps += 1
        acted, over = self.agents, self._steps >= self._max_steps
        reward = compute_reward(self._position, self._goal)
        observations = self._observations()
        if over:
            self.agents = []
        return (
            observations,
            {agent: float(reward[i]) for i, agent in enumerate(acted)},
            dict.fromkeys(acted, False),
            dict.fromkeys(acted, over),
            {agent: {} for agent in acted},
        )

    def _observations(self) -> dict[str, Observation]:
        state = np.concatenate([self._position, np.clip(self._velocity, -1, 1)], axis=1).astype(np.float32)
        return {
            agent: {
                "observation": state[i],
                "achieved_goal": self._position[i].astype(np.float32),
                "desired_goal": self._goal[i].astype(np.float32),
            }
            for i, agent in enumerate(self.possible_agents)
        }

    def _picture(self) -> NDArray[np.uint8]:
        """`[200, 200, 3]`: goals are grey squares, points are dark."""
        picture = np.full((PIXELS, PIXELS, 3), 255, np.uint8)
        for places, colour, half in ((self._goal, (170, 170, 170), 6), (self._position, (40, 60, 120), 4)):
            for x, y in (np.array([1, -1]) * places + 1) / 2 * (PIXELS - 1):
                row, column = int(y), int(x)
                picture[max(0, row - half) : row + half + 1, max(0, column - half) : column + half + 1] = colour
        return picture


def compute_reward(achieved: NDArray[Any], desired: NDArray[Any]) -> NDArray[np.float32]:
    """1 where `achieved[n, 2]` is within `DISTANCE` of `desired[n, 2]`, else 0, `[n]`."""
    reward: NDArray[np.float32] = (np.linalg.norm(achieved - desired, axis=-1) <= DISTANCE).astype(np.float32)
    return reward
