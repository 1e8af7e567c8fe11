"""Two agents and three sites: a stand-in for the task "Wildlife Rescue" of PMIC (arXiv 2203.08553), whose rules are not published."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from env_server.environments.particles.particle_physics import Floats, ParticlePhysics, length
from env_server.environments.particles.particle_world import SENSITIVITY, Disc, MotionWorld, motion_layout
from env_server.environments.particles.settings import RescueOptions

AGENTS = 2
SITES = np.array([(0.0, 0.8), (-0.7, -0.4), (0.7, -0.4)])
"""A, B, C"""
VALUES = np.array([1.0, 0.3, 0.3])
"""of a step with both agents at the site"""
NEAR, ALONE, RADIUS = 0.15, -0.5, 0.05


class RescueWorld(MotionWorld):
    """Agents start uniformly in [-1, 1]^2; sites are fixed. An agent sees its velocity, its position, the sites A, B, C, and the other
    agent. It is at a site within 0.15 of its centre. Both are given

        1 while both are at A,   0.3 while both are at B, or both at C,   -0.5 while exactly one is at A.
    """

    def __init__(self, options: RescueOptions, agents: int, copies: int) -> None:
        sites = len(SITES)
        radii, solid = [RADIUS] * AGENTS + [NEAR] * sites, [True] * AGENTS + [False] * sites
        physics = ParticlePhysics(radii, solid, [None] * AGENTS, copies, options.integration == "semi_implicit")
        seen = np.concatenate([np.tile(np.arange(AGENTS, AGENTS + sites)[:, None], AGENTS), [[1, 0]]])
        super().__init__(physics, seen, AGENTS)
        self.layouts = [motion_layout(options, [("velocity", 2), ("position", 2), ("sites", 2 * sites), ("other", 2)])] * AGENTS

    def begin(self, copy: int, generator: np.random.Generator) -> None:
        """Only the agents are drawn."""
        self.physics.place(copy, np.concatenate([generator.uniform(-1, 1, (AGENTS, 2)), SITES]))

    def step(self, action: Floats) -> Floats:
        """Rewards `[2, K]` after a step by the forces 5 `action[2, 2, K]`."""
        physics = self.physics
        physics.step(action * SENSITIVITY)
        there = length(physics.position[:AGENTS, None] - physics.position[None, AGENTS:]) <= NEAR
        both, one = there.all(axis=0), there[0] ^ there[1]
        return np.broadcast_to(VALUES @ both + ALONE * one[0], (AGENTS, self._copies))

    def observe(self) -> Sequence[NDArray[np.float32]]:
        """Two arrays `[K, 12]`."""
        return list(self._observations(6 + 2 * len(SITES))[0])

    def scene(self, copy: int) -> list[Disc]:
        """Sites below agents."""
        place = self.physics.position[:, :, copy].tolist()
        return [Disc(x, y, NEAR, "landmark") for x, y in place[AGENTS:]] + [Disc(x, y, RADIUS, "agent") for x, y in place[:AGENTS]]
