"""One world of reward collection with PettingZoo's Parallel API."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.spaces import Box
from gymnasium.utils import seeding
from numpy.typing import NDArray
from pettingzoo import ParallelEnv

from env_server.environments.reward_collection.collection_physics import CollectionPhysics
from env_server.environments.reward_collection.reward_sites import WORLD
from env_server.environments.reward_collection.settings import RewardCollectionOptions

Vector = NDArray[np.float32]


class RewardCollectionParallel(ParallelEnv[str, Vector, Vector]):  # type: ignore[misc]
    """Agents `agent_0`, ... Observation: the own position. Action: a displacement in [-1, 1]^2. All parts end together, by truncation.

    The gains belong to the environment and last as long as it does; the seed of `reset` is that of the process noise. `infos[agent]` holds
    `own_reward` and `team_reward` of the step, `visited` (sites that an agent visited in this episode) of `sites`, and `step`.
    """

    metadata = {"name": "reward_collection_v0", "render_modes": ["rgb_array"], "render_fps": 20, "is_parallelizable": True}

    def __init__(
        self, options: RewardCollectionOptions | None = None, agents: int = 5, gain_seed: int = 0, render_mode: str | None = None
    ) -> None:
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode {render_mode!r} is unknown: use 'rgb_array'")
        if agents < 1:
            raise ValueError(f"there must be at least one agent, not {agents}")
        self.options = options or RewardCollectionOptions()
        self.render_mode = render_mode
        self.possible_agents = [f"agent_{i}" for i in range(agents)]
        self.agents: list[str] = []
        self._worlds = CollectionPhysics(self.options, agents, 1, gain_seed)
        self._generator, _ = seeding.np_random()
        self._steps = 0
        self._trail: list[NDArray[np.float64]] = []
        self.observation_spaces = {agent: Box(-WORLD, WORLD, (2,), np.float32) for agent in self.possible_agents}
        self.action_spaces = {agent: Box(-1.0, 1.0, (2,), np.float32) for agent in self.possible_agents}

    @property
    def gains(self) -> NDArray[np.float64]:
        """What each agent's actuators make of its action, `[N, 2]`."""
        return self._worlds.gains

    def observation_space(self, agent: str) -> Box:
        """The same object at every call."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> Box:
        """The same object at every call."""
        return self.action_spaces[agent]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict[str, Vector], dict[str, dict[str, Any]]]:
        """Start an episode; there are no `options`."""
        if seed is not None:
            self._generator, _ = seeding.np_random(seed)
        self._worlds.begin([self._generator])
        self._steps = 0
        self._trail = [self._worlds.position[0]]
        self.agents = list(self.possible_agents)
        return self._seen(), self._infos(np.zeros(len(self.agents)))

    def step(
        self, actions: dict[str, Vector]
    ) -> tuple[dict[str, Vector], dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]]:
        """Apply `actions[agent][2]`, displacements beyond [-1, 1] moved to the nearest bound; agents without one stay."""
        if not self.agents:
            return {}, {}, {}, {}, {}
        action = np.zeros((1, len(self.possible_agents), 2), np.float32)
        for i, agent in enumerate(self.possible_agents):
            if agent in actions:
                action[0, i] = actions[agent]
        own = self._worlds.step(action)[0]
        self._steps += 1
        self._trail.append(self._worlds.position[0])
        over = self._steps >= self.options.horizon
        given = own if self.options.reward == "own" else np.full_like(own, own.sum())
        self.agents = [] if over else self.agents
        names = self.possible_agents
        return (
            self._seen(),
            {agent: float(reward) for agent, reward in zip(names, given, strict=True)},
            dict.fromkeys(names, False),
            dict.fromkeys(names, over),
            self._infos(own),
        )

    def _seen(self) -> dict[str, Vector]:
        return {agent: there.astype(np.float32) for agent, there in zip(self.possible_agents, self._worlds.position[0], strict=True)}

    def _infos(self, own: NDArray[np.float64]) -> dict[str, dict[str, Any]]:
        visited = self._worlds.visited[0]
        of_all = {"team_reward": float(own.sum()), "visited": int(visited.sum()), "sites": len(visited), "step": self._steps}
        return {agent: {"own_reward": float(reward), **of_all} for agent, reward in zip(self.possible_agents, own, strict=True)}

    def render(self) -> NDArray[np.uint8] | None:
        """`[480, 480, 3]` with `render_mode="rgb_array"`, else None."""
        if self.render_mode is None:
            return None
        from env_server.environments.reward_collection.collection_rendering import draw

        return draw(self._worlds.map, self._worlds.position[0], self._worlds.active, self._trail)

    def close(self) -> None:
        """Nothing is held."""
