"""Cooperative navigation: N agents cover N landmarks without touching each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from env_server.environments.particles.particle_physics import Floats, ParticlePhysics
from env_server.environments.particles.particle_world import SENSITIVITY, Disc, MotionWorld, motion_layout, others, team
from env_server.environments.particles.settings import SpreadOptions

AGENT_RADIUS, LANDMARK_RADIUS, COVERED = 0.15, 0.05, 0.1
COVERED_SHARE = "landmarks.covered"
"""metric: share of the landmarks that an agent covers when an episode ends"""
_LARGEST_REWARD, _CONTACT_COST = 10.0, 5.0


class SpreadWorld(MotionWorld):
    """Agents and landmarks start uniformly in [-1, 1]^2. An agent sees its velocity, its position, the landmarks, the other agents, and two
    zeros for each of these (their messages in mpe2, which are always 0 in this world).

    With d_l the distance from landmark l to the nearest agent and c_i the number of others that agent i touches, rewards of agent i are

        mpe2               -(1 - local_ratio) sum_l d_l - local_ratio c_i
        team               sum over agents of (-sum_l d_l - (c_i + 1) + [all landmarks are covered])
        inverse_distance   sum_l min(1 / d_l, 10) - 5 c_i

    where a landmark is covered when d_l < 0.1. In an episode of n agents (`team_sizes`) there are n landmarks, the first ones, and all
    sums are over those that are present. Sources: mpe2 1.1 `simple_spread_v3`; PMIC (arXiv 2203.08553), whose agents count themselves
    among those they touch; OMAR (arXiv 2111.11188).
    """

    def __init__(self, options: SpreadOptions, agents: int, copies: int) -> None:
        radii = [AGENT_RADIUS] * agents + [LANDMARK_RADIUS] * agents
        solid = [True] * agents + [False] * agents
        physics = ParticlePhysics(radii, solid, [None] * agents, copies, options.integration == "semi_implicit")
        seen = np.concatenate([np.tile(np.arange(agents, 2 * agents)[:, None], agents), others(agents, agents)])
        super().__init__(physics, seen, agents)
        self.options = options
        parts = [("velocity", 2), ("position", 2), ("landmarks", 2 * agents), ("agents", 2 * agents - 2), ("messages", 2 * agents - 2)]
        self.layouts = [motion_layout(options, parts)] * agents
        self._pairs = np.triu_indices(agents, 1)
        grid = np.indices((agents, agents)).reshape(2, -1)
        self._landmark, self._walker = grid[0] + agents, grid[1]

    def begin(self, copy: int, generator: np.random.Generator) -> None:
        """Agents, then landmarks, are drawn as in mpe2."""
        if (sizes := self.options.team_sizes) is None:
            self.physics.place(copy, generator.uniform(-1, 1, (2 * self._agents, 2)))
            return
        taking = team(generator, sizes, self._agents)
        landmarks = np.arange(self._agents) < np.count_nonzero(taking)
        self._place(copy, generator.uniform(-1, 1, (2 * self._agents, 2)), np.concatenate([taking, landmarks]))

    def nearest(self) -> Floats:
        """d `[L, K]`; 0 for absent landmarks."""
        apart = self.physics.distance(self._walker, self._landmark)
        nearest: Floats = apart.reshape(self._agents, self._agents, -1).min(axis=1)
        return nearest * self.present[self._agents :] if self._partial else nearest

    def touching(self) -> Floats:
        """c `[N, K]`."""
        first, second = self._pairs
        touch = self.physics.distance(first, second) < 2 * AGENT_RADIUS
        count = np.zeros((self._agents, self._copies))
        for pair, (i, j) in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
            count[i] += touch[pair]
            count[j] += touch[pair]
        return count

    def step(self, action: Floats) -> Floats:
        """Rewards `[N, K]` after a step by the forces 5 `action[N, 2, K]`."""
        force = action * SENSITIVITY
        if self._partial:
            force *= self.present[: self._agents, None]
        self.physics.step(force)
        nearest, touching = self.nearest(), self.touching()
        if self.options.reward == "inverse_distance":
            near = 1.0 / np.maximum(nearest, 1.0 / _LARGEST_REWARD)
            total: Floats = (near * self.present[self._agents :]).sum(axis=0) - _CONTACT_COST * touching
            return total
        common: Floats = -np.add.reduce(nearest, axis=0)
        if self.options.reward == "team":
            covered = (nearest < COVERED).all(axis=0)
            whole = self.present[: self._agents].sum(axis=0) * (common - 1 + covered) - touching.sum(axis=0)
            return np.broadcast_to(whole, touching.shape)
        ratio = self.options.local_ratio
        return common * (1 - ratio) - touching * ratio

    def observe(self) -> Sequence[NDArray[np.float32]]:
        """N arrays `[K, 6 N]`."""
        return list(self._observations(6 * self._agents)[0])

    def metrics(self, copy: int) -> dict[str, float]:
        """`landmarks.covered`."""
        position = self.physics.position[:, :, copy]
        landmarks = position[self._agents :]
        if self._partial:
            landmarks = landmarks[self.present[self._agents :, copy]]
        apart = np.linalg.norm(landmarks[:, None] - position[: self._agents], axis=2)
        return {COVERED_SHARE: float((apart.min(axis=1) < COVERED).mean())}

    def scene(self, copy: int) -> list[Disc]:
        """Landmarks below agents."""
        there = [(*place, body) for body, place in enumerate(self.physics.position[:, :, copy].tolist()) if self.present[body, copy]]
        landmarks = [Disc(x, y, LANDMARK_RADIUS, "landmark") for x, y, body in there if body >= self._agents]
        return landmarks + [Disc(x, y, AGENT_RADIUS, "agent") for x, y, body in there if body < self._agents]
