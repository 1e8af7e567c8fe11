"""Discs in a plane, as in mpe2: forces, contacts, damping, top speeds. All copies move together, in float64.

Arrays have the copy as their last axis, `[..., K]`: one operation of numpy then runs over all copies in memory order.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
DT, DAMPING = 0.1, 0.25
CONTACT_FORCE, CONTACT_MARGIN = 1e2, 1e-3
_NO_CONTACT = 746.0
"""softplus(-x) is exactly 0 in float64 from here on"""


def length(vector: Floats) -> Floats:
    """Euclidean length over the second-to-last axis: `[..., 2, K]` -> `[..., K]`."""
    squared: Floats = np.square(vector[..., 0, :])
    squared += np.square(vector[..., 1, :])
    return np.sqrt(squared, out=squared)


class ParticlePhysics:
    """M bodies in K copies: `position[M, 2, K]`. The first A of them move, with `velocity[A, 2, K]` and mass 1.

    `radii[M]`; bodies that are not `solid[M]` touch nothing; `top_speed[A]`, None where there is no limit.

    A step with forces f `[A, 2, K]`, where F is f plus the contact forces of all other solid bodies:

        contact of i with j:  100 (p_i - p_j) / d  k softplus(-(d - r_i - r_j) / k),   d = |p_i - p_j|,  k = 1e-3
        v <- 0.75 v + 0.1 F;   v <- v min(1, top_speed / |v|);   p <- p + 0.1 v

    where the last line uses the velocity from before the step (explicit Euler, as mpe2 1.1), or with `semi_implicit` the new one (the
    package of 2017). Operations and their order are those of mpe2, so that positions and velocities equal its float64 arrays bit for bit.
    """

    def __init__(
        self,
        radii: Sequence[float],
        solid: Sequence[bool],
        top_speed: Sequence[float | None],
        copies: int,
        semi_implicit: bool = False,
    ) -> None:
        bodies, movers = len(radii), len(top_speed)
        self.radii = np.array(radii, np.float64)
        self.position: Floats = np.zeros((bodies, 2, copies))
        self.velocity: Floats = np.zeros((movers, 2, copies))
        self._semi_implicit = semi_implicit
        self._limits = [(i, speed) for i, speed in enumerate(top_speed) if speed is not None]
        pairs = [(i, j) for i in range(movers) for j in range(i + 1, bodies) if solid[i] and solid[j]]
        self._first, self._second = np.array(pairs, np.intp).reshape(-1, 2).T
        self._reach = (self.radii[self._first] + self.radii[self._second])[:, None]
        number = {pair: n for n, pair in enumerate(pairs)}
        self._turns = self._contact_order(number, movers, bodies)

    @staticmethod
    def _contact_order(number: dict[tuple[int, int], int], movers: int, bodies: int) -> list[tuple[NDArray[np.intp], ...]]:
        """(bodies, pairs) of which the forces are added and (bodies, pairs) of which they are subtracted, in turns: every body gets its
        contacts in the order of the other bodies, as in mpe2."""
        turns = []
        for other in range(bodies):
            plus = [(i, number[i, other]) for i in range(min(other, movers)) if (i, other) in number]
            minus = [(i, number[other, i]) for i in range(other + 1, movers) if (other, i) in number]
            columns = [np.array(list(rows), np.intp).reshape(-1, 2).T for rows in (plus, minus)]
            turns.append((*columns[0], *columns[1]))
        return turns

    def place(self, copy: int, position: Floats) -> None:
        """All bodies of one copy go to `position[M, 2]` and stand still."""
        self.position[:, :, copy] = position
        self.velocity[:, :, copy] = 0.0

    def distance(self, first: NDArray[np.intp], second: NDArray[np.intp]) -> Floats:
        """`[P, K]` between the bodies `first[P]` and `second[P]`."""
        return length(self.position[first] - self.position[second])

    def step(self, force: Floats) -> None:
        """Move all copies by the forces `[A, 2, K]`, which are changed."""
        self._add_contacts(force)
        movers = len(self.velocity)
        if not self._semi_implicit:
            self.position[:movers] += self.velocity * DT
        self.velocity *= 1 - DAMPING
        force *= DT
        self.velocity += force
        for body, limit in self._limits:
            velocity = self.velocity[body]
            speed = length(velocity)
            fast = speed > limit
            if fast.any():
                velocity[:, fast] = velocity[:, fast] / speed[fast] * limit
        if self._semi_implicit:
            self.position[:movers] += self.velocity * DT

    def _add_contacts(self, force: Floats) -> None:
        if not len(self._first):
            return
        apart = self.position[self._first] - self.position[self._second]
        distance = length(apart)
        depth = (distance - self._reach) / CONTACT_MARGIN
        near = depth < _NO_CONTACT
        push = np.zeros_like(depth)
        np.logaddexp(0.0, -depth, out=push, where=near)
        push *= CONTACT_MARGIN
        apart *= CONTACT_FORCE
        apart /= np.maximum(distance, np.finfo(np.float64).tiny)[:, None]
        apart *= push[:, None]
        for added, of_added, subtracted, of_subtracted in self._turns:
            if len(added):
                force[added] += apart[of_added]
            if len(subtracted):
                force[subtracted] -= apart[of_subtracted]
