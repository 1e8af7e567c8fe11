"""Predator-prey: predators are rewarded while they touch the prey; obstacles are in the way."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from env_server.environments.particles.particle_physics import Floats, ParticlePhysics
from env_server.environments.particles.particle_world import Disc, MotionWorld, motion_layout, others, team
from env_server.environments.particles.scripted_prey import ScriptedPrey
from env_server.environments.particles.settings import TagOptions

PREDATOR_RADIUS, PREY_RADIUS, OBSTACLE_RADIUS = 0.075, 0.05, 0.2
_PREDATOR_FORCE, _PREY_FORCE, _PREDATOR_SPEED, _PREY_SPEED = 3.0, 4.0, 1.0, 1.3
_CATCH = 10.0


def leaving_cost(position: Floats) -> Floats:
    """Cost `[K]` of a prey at `position[2, K]`: over both axes, of x = |coordinate|, 0 below 0.9, 10 (x - 0.9) below 1, then
    min(exp(2 x - 2), 10)."""
    x = np.abs(position)
    far = np.minimum(np.exp(np.minimum(2 * x - 2, 3.0)), 10.0)
    cost = np.where(x < 0.9, 0.0, np.where(x < 1.0, (x - 0.9) * 10, far))
    total: Floats = cost[0] + cost[1]
    return total


class TagWorld(MotionWorld):
    """Bodies are k predators, the prey, obstacles. Moving bodies start uniformly in [-1, 1]^2, obstacles in [-0.9, 0.9]^2.

    An agent sees its velocity, its position, the obstacles, the other moving bodies, and a predator the velocity of the prey. With `sight`,
    what is farther away is observed as 0. Each predator is given 10 for every contact of a predator with the prey; a prey that learns is
    charged 10 for each, and `leaving_cost`. In an episode of fewer agents (`team_sizes`) predators are absent, never the prey.

    A scripted prey is pushed by the vector of `ScriptedPrey`, of length 1 at most, so that it comes to a speed of 0.4. Sources: mpe2 1.1
    `simple_tag_v3`; PMIC (arXiv 2203.08553).
    """

    def __init__(self, options: TagOptions, agents: int, copies: int) -> None:
        self.options = options
        scripted = options.prey == "scripted"
        self._predators = predators = agents if scripted else agents - 1
        movers, obstacles = predators + 1, options.obstacles
        sizes = [PREDATOR_RADIUS] * predators + [PREY_RADIUS] + [OBSTACLE_RADIUS] * obstacles
        radii = [size * options.radius_scale for size in sizes]
        speeds = [_PREDATOR_SPEED] * predators + [_PREY_SPEED]
        physics = ParticlePhysics(radii, [True] * len(radii), speeds, copies, options.integration == "semi_implicit")
        obstacle = np.tile(np.arange(movers, movers + obstacles, dtype=np.intp)[:, None], agents)
        super().__init__(physics, np.concatenate([obstacle, others(movers, movers)[:, :agents]]), agents)
        parts = [("velocity", 2), ("position", 2), ("obstacles", 2 * obstacles), ("bodies", 2 * movers - 2)]
        self._size = sum(size for _, size in parts)
        predator, prey = motion_layout(options, [*parts, ("prey_velocity", 2)]), motion_layout(options, parts)
        self.layouts = [predator] * predators + [prey] * (agents - predators)
        sensitivity = [_PREDATOR_FORCE] * predators + [_PREY_FORCE] * (agents - predators)
        self._sensitivity = np.array(sensitivity)[:, None, None]
        self._reach = physics.radii[np.arange(len(radii)) != predators] + physics.radii[predators]
        self._prey = ScriptedPrey(copies) if scripted else None

    def begin(self, copy: int, generator: np.random.Generator) -> None:
        """Moving bodies, then obstacles, are drawn as in mpe2."""
        sizes = self.options.team_sizes
        taking = None if sizes is None else team(generator, sizes, self._agents, last=self._prey is None)
        movers = generator.uniform(-1, 1, (self._predators + 1, 2))
        position = np.concatenate([movers, generator.uniform(-0.9, 0.9, (self.options.obstacles, 2))])
        if taking is None:
            self.physics.place(copy, position)
        else:
            self._place(copy, position, np.concatenate([taking, np.ones(len(position) - len(taking), bool)]))
        if self._prey is not None:
            self._prey.begin(copy, generator)

    def step(self, action: Floats) -> Floats:
        """Rewards `[N, K]` after a step by forces of 3 `action[N, 2, K]` on predators, 4 on a prey that learns."""
        physics, k = self.physics, self._predators
        force = np.empty_like(physics.velocity)
        force[: self._agents] = action * self._sensitivity
        if self._partial:
            force[: self._agents] *= self.present[: self._agents, None]
        if self._prey is not None:
            bodies = np.delete(physics.position, k, axis=0)
            force[k] = self._prey.force(physics.position[k], bodies, self._reach, self.present[:k])
        physics.step(force)
        caught = (physics.distance(np.arange(k), np.full(k, k)) < self._reach[:k, None]).sum(axis=0)
        reward = np.empty((self._agents, self._copies))
        reward[:k] = _CATCH * caught
        if self._prey is None:
            reward[k] = -_CATCH * caught - leaving_cost(physics.position[k])
        return reward

    def observe(self) -> Sequence[NDArray[np.float32]]:
        """Arrays `[K, F]`, F = 4 + 2 obstacles + 2 k, and 2 more for predators."""
        k, size = self._predators, self._size
        observed, near = self._observations(size + 2, self.options.sight)
        velocity = self.physics.velocity[k].T
        # The prey is the last of the moving bodies, hence the last one that a predator sees.
        observed[:k, :, size:] = velocity if near is None else velocity * near[-1, :k, :, None]
        return [observed[i] if i < k else np.ascontiguousarray(observed[i, :, :size]) for i in range(self._agents)]

    def scene(self, copy: int) -> list[Disc]:
        """Obstacles below predators below the prey."""
        k, radii = self._predators, self.physics.radii.tolist()
        discs = [(x, y, radii[body]) for body, (x, y) in enumerate(self.physics.position[:, :, copy].tolist())]
        fixed = [Disc(*disc, "obstacle") for disc in discs[k + 1 :]]
        predators = [Disc(*disc, "agent") for disc, there in zip(discs, self.present[:k, copy], strict=False) if there]
        return [*fixed, *predators, Disc(*discs[k], "prey")]
