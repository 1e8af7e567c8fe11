"""What a particle world is: its rules, without episodes and flags. Here is also what the worlds have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from env_server.environments.particles.particle_physics import Floats, ParticlePhysics, length
from env_server.environments.particles.settings import MotionOptions
from env_server.environments.world_copies import World
from protocols.spaces.layout import Layout, ObservationField

UNIT_FORCES = np.array([(0, 0), (-1, 0), (1, 0), (0, -1), (0, 1)], np.float64)
"""of the discrete actions none, left, right, down, up"""
_FAR = 1000.0
SENSITIVITY = 5.0
"""force of a full action, where a body has none of its own"""


@dataclass(frozen=True)
class Disc:
    """Something that a picture shows."""

    x: float
    y: float
    radius: float
    role: Literal["agent", "prey", "landmark", "obstacle"]


class ParticleWorld(World):
    """A world with a picture; `step` takes `action[N, A, K]`, in [-1, 1]."""

    @abstractmethod
    def scene(self, copy: int) -> Sequence[Disc]:
        """The things in one copy, those behind first."""


def team(generator: np.random.Generator, sizes: Sequence[int], agents: int, last: bool = False) -> NDArray[np.bool_]:
    """`[agents]`: which agents take part in an episode: uniformly one of `sizes`, and so many uniform agents, with `last` always the last
    one."""
    taking = np.ones(agents, bool)
    absent = agents - sizes[int(generator.integers(len(sizes)))]
    taking[generator.permutation(agents - last)[:absent]] = False
    return taking


def others(agents: int, bodies: int) -> NDArray[np.intp]:
    """`[bodies - 1, agents]`: for each of the first bodies all the others, in their order."""
    return np.array([[j for j in range(bodies) if j != i] for i in range(agents)], np.intp).reshape(agents, bodies - 1).T


def motion_layout(options: MotionOptions, parts: Sequence[tuple[str, int]]) -> Layout:
    """Observations of `parts`, (name, size), and the action that `options.actions` names."""
    fields, start = [], 0
    for name, size in parts:
        if size:
            fields.append(ObservationField(name, start, size))
        start += size
    if options.actions == "discrete":
        return Layout(shape=[start], fields=fields, actions=[len(UNIT_FORCES)])
    return Layout(shape=[start], fields=fields, low=[-1.0, -1.0], high=[1.0, 1.0])


class MotionWorld(ParticleWorld):
    """A world of moving bodies. The first N of `physics` are the agents; every agent sees its velocity, its position, and then, relative to
    itself, the bodies `seen[E, N]`."""

    def __init__(self, physics: ParticlePhysics, seen: NDArray[np.intp], agents: int) -> None:
        self.physics = physics
        self._seen = seen
        self._agents = agents
        self._copies = physics.position.shape[2]
        self.present = np.ones((len(physics.position), self._copies), bool)
        """`[M, K]`: bodies that are in the world; the others are far away from everything, and from each other"""
        self._partial = False
        """whether some body was ever absent: where none is, steps do without the masks"""
        self._far = np.zeros((len(physics.position), 2))
        self._far[:, 0] = _FAR * np.arange(1, len(physics.position) + 1)

    def _place(self, copy: int, position: Floats, present: NDArray[np.bool_]) -> None:
        """The bodies `present[M]` of one copy go to `position[M, 2]`, and the others away."""
        self.present[:, copy] = present
        self._partial |= not present.all()
        self.physics.place(copy, np.where(present[:, None], position, self._far))

    def members(self, copy: int) -> NDArray[np.bool_] | bool:
        """Agents whose bodies are present."""
        return self.present[: self._agents, copy] if self._partial else True

    def _observations(self, size: int, sight: float | None = None) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
        """`[N, K, size]`, of which the first 4 + 2 E numbers are written and the others are 0. Bodies that are absent, or with `sight`
        farther away, are at 0, and the second result `[E, N, K]` states which are not, None: all are seen. An absent agent sees zeros."""
        position, velocity = self.physics.position, self.physics.velocity
        observed = np.zeros((self._agents, self._copies, size), np.float32)
        observed[:, :, 0:2] = velocity[: self._agents].transpose(0, 2, 1)
        observed[:, :, 2:4] = position[: self._agents].transpose(0, 2, 1)
        offset = position[self._seen] - position[: self._agents]
        near = None if sight is None else length(offset) <= sight
        if self._partial:
            own = self.present[: self._agents]
            observed *= own[:, :, None]
            among = self.present[self._seen] & own
            near = among if near is None else near & among
        if near is not None:
            offset *= near[:, :, None]
        entities = len(self._seen)
        observed[:, :, 4 : 4 + 2 * entities].reshape(self._agents, self._copies, entities, 2)[:] = offset.transpose(1, 3, 0, 2)
        return observed, near
