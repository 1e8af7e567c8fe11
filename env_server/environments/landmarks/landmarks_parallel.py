"""One arena of cooperative landmarks with PettingZoo's Parallel API."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.spaces import Box, MultiDiscrete
from numpy.typing import NDArray

from env_server.environments.landmarks.body_physics import FACTORS, NULL, Bodies, observation_layout
from env_server.environments.landmarks.landmarks_environment import step_outcome
from env_server.environments.landmarks.settings import LandmarksOptions
from env_server.environments.native_parallel import Infos, NativeParallel


class LandmarksParallel(NativeParallel[NDArray[np.float32], NDArray[np.int64]]):
    """Agents `agent_0`, ... (`members` of them), each with a goal of its own, drawn uniformly at reset unless
    `reset(options={"goals": {agent: number}})` gives one.

    Observation: as in `observation_layout`, then the agent's own goal, multi-hot over landmarks. Action: indices of thrust and turn (0
    nothing, 1 forward or left, 2 backward or right). An agent whose goal is reached leaves `agents`; its body stays and counts.
    `infos[agent]` holds its goal and, as `touched`, the landmarks its own body touches.
    """

    metadata = {"name": "landmarks_v0", "render_modes": ["rgb_array"], "render_fps": 20, "is_parallelizable": True}

    def __init__(self, options: LandmarksOptions | None = None, render_mode: str | None = None) -> None:
        self.options = options or LandmarksOptions()
        fields = observation_layout(self.options).fields
        high = [np.pi if field.unit == "radian" else 2.0 if field.name.startswith("velocity") else 1.0 for field in fields]
        low = [0.0 if field.name.endswith("distance") else -most for field, most in zip(fields, high, strict=True)]
        bits = self.options.landmarks
        least, bound = np.array(low + [0.0] * bits, np.float32), np.array(high + [1.0] * bits, np.float32)
        super().__init__(self.options.members, render_mode, Box(least, bound, dtype=np.float32), MultiDiscrete(np.array(FACTORS)))
        self.goal_space = self.options.goal_space
        self._bodies = Bodies(self.options, 1)
        self._active = np.zeros((1, self.options.members), bool)
        self._goals = np.zeros((1, self.options.members), np.int64)

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict[str, NDArray[np.float32]], Infos]:
        """Start an episode; `options["goals"]` may give goals by number to some agents."""
        self._start(seed)
        self._bodies.place(0, self._random)
        self._goals[0] = self._random.integers(self.goal_space.count, size=self.options.members)
        for agent, goal in (options or {}).get("goals", {}).items():
            if agent not in self.possible_agents or not 0 <= goal < self.goal_space.count:
                raise ValueError(f"goal {goal} of {agent}: agents are {self.possible_agents}, goals 0 to {self.goal_space.count - 1}")
            self._goals[0, self.possible_agents.index(agent)] = goal
        self._active[:] = True
        observations, touched = self._look()
        return observations, self._infos(touched, self.agents)

    def step(
        self, actions: dict[str, NDArray[np.int64]]
    ) -> tuple[dict[str, NDArray[np.float32]], dict[str, float], dict[str, bool], dict[str, bool], Infos]:
        """Apply `actions[agent][2]`; agents without one do nothing. `ValueError` for an index other than 0, 1, 2."""
        chosen = np.full((1, self.options.members, len(FACTORS)), NULL, np.int64)
        for slot, agent in enumerate(self.possible_agents):
            if agent in actions and self._active[0, slot]:
                chosen[0, slot] = actions[agent]
        if chosen.min() < 0 or chosen.max() >= FACTORS[0]:
            raise ValueError(f"actions {actions}: each factor must be 0, 1 or 2")
        self._bodies.step(chosen)
        self._steps += 1
        observations, touched = self._look()
        verdict = step_outcome(self.goal_space, touched, self._goals, self._active, np.array([self._steps]), self.options.time_limit)
        self._active &= ~(verdict.terminated | verdict.truncated)
        acted, self.agents = self.agents, [agent for slot, agent in enumerate(self.possible_agents) if self._active[0, slot]]
        slots = {agent: self.possible_agents.index(agent) for agent in acted}
        return (
            {agent: observations[agent] for agent in acted},
            {agent: float(verdict.reward[0, slot]) for agent, slot in slots.items()},
            {agent: bool(verdict.terminated[0, slot]) for agent, slot in slots.items()},
            {agent: bool(verdict.truncated[0, slot]) for agent, slot in slots.items()},
            self._infos(touched, acted),
        )

    def _look(self) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.uint8]]:
        seen, touched = self._bodies.look()
        goals = self.goal_space.encodings[self._goals[0]].astype(np.float32)
        both = np.concatenate([seen[0], goals], axis=-1)
        return {agent: both[slot] for slot, agent in enumerate(self.possible_agents)}, touched

    def _infos(self, touched: NDArray[np.uint8], agents: list[str]) -> Infos:
        slots = {agent: self.possible_agents.index(agent) for agent in agents}
        return {agent: {"goal": int(self._goals[0, slot]), "touched": touched[0, slot].copy()} for agent, slot in slots.items()}

    def _picture(self) -> NDArray[np.uint8]:
        from env_server.environments.landmarks.landmarks_rendering import draw

        return draw(self._bodies, 0, [self.goal_space.sets[goal] for goal in self._goals[0].tolist()], self._active[0])
