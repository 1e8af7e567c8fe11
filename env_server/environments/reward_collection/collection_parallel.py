"""One world of reward collection with PettingZoo's Parallel API."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from env_server.environments.native_parallel import Infos, NativeParallel
from env_server.environments.reward_collection.collection_physics import WORLD, CollectionPhysics
from env_server.environments.reward_collection.settings import RewardCollectionOptions

Vector = NDArray[np.float32]


class RewardCollectionParallel(NativeParallel[Vector, Vector]):
    """Agents `agent_0`, ... Observation: the own position. Action: a displacement in [-1, 1]^2. All parts end together, by truncation.

    The gains belong to the environment and last as long as it does; the seed of `reset` is that of the process noise. `infos[agent]` holds
    `own_reward` and `team_reward` of the step, `visited` (sites that an agent visited in this episode) of `sites`, and `step`.
    """

    metadata = {"name": "reward_collection_v0", "render_modes": ["rgb_array"], "render_fps": 20, "is_parallelizable": True}

    def __init__(
        self, options: RewardCollectionOptions | None = None, agents: int = 5, gain_seed: int = 0, render_mode: str | None = None
    ) -> None:
        super().__init__(agents, render_mode, Box(-WORLD, WORLD, (2,), np.float32), Box(-1.0, 1.0, (2,), np.float32))
        self.options = options or RewardCollectionOptions()
        self._worlds = CollectionPhysics(self.options, agents, 1, gain_seed)
        self._trail: list[NDArray[np.float64]] = []

    @property
    def gains(self) -> NDArray[np.float64]:
        """What each agent's actuators make of its action, `[N, 2]`."""
        return self._worlds.gains

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict[str, Vector], Infos]:
        """Start an episode; there are no `options`."""
        self._start(seed)
        self._worlds.begin([self._random])
        self._trail = [self._worlds.position[0]]
        return self._seen(), self._infos(np.zeros(len(self.agents)))

    def step(self, actions: dict[str, Vector]) -> tuple[dict[str, Vector], dict[str, float], dict[str, bool], dict[str, bool], Infos]:
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

    def _infos(self, own: NDArray[np.float64]) -> Infos:
        visited = self._worlds.visited[0]
        of_all = {"team_reward": float(own.sum()), "visited": int(visited.sum()), "sites": len(visited), "step": self._steps}
        return {agent: {"own_reward": float(reward), **of_all} for agent, reward in zip(self.possible_agents, own, strict=True)}

    def _picture(self) -> NDArray[np.uint8]:
        from env_server.environments.reward_collection.collection_rendering import draw

        return draw(self._worlds.map, self._worlds.position[0], self._worlds.active, self._trail)
