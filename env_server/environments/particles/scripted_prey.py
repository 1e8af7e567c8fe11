"""The rule by which a prey moves that no agent plays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from env_server.environments.episode_draws import EpisodeDraws
from env_server.environments.particles.particle_physics import Floats

CANDIDATES, WAY_POINTS = 100, 5
_WAY = np.arange(1, WAY_POINTS + 1) / WAY_POINTS


def _unit_disc(generator: np.random.Generator, steps: int) -> NDArray[Any]:
    """`[steps, 2, CANDIDATES]`, uniform in the unit disc."""
    squared_radius, turn = generator.random((2, steps, CANDIDATES))
    radius, angle = np.sqrt(squared_radius), 2 * np.pi * turn
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


class ScriptedPrey:
    """The prey of PMIC's predator-prey (a rule from COMIX, arXiv 2003.06709). At each step it draws 100 points uniformly in the unit disc
    around itself. A point is refused if one of 5 evenly spaced way points to it, itself the last, is within the sum of the radii of the
    prey and another body. The force is the offset of the point with the largest sum of distances to all predators, or 0 if none is left."""

    def __init__(self, copies: int) -> None:
        self._draws = EpisodeDraws(copies, (2, CANDIDATES), _unit_disc)

    def begin(self, copy: int, generator: np.random.Generator) -> None:
        """An episode begins in that copy; the points of the prey come from a stream of their own, the next child of `generator`."""
        self._draws.begin(copy, generator.spawn(1)[0])

    def force(self, prey: Floats, bodies: Floats, reach: Floats, predators: NDArray[np.bool_]) -> Floats:
        """`[2, K]` for a prey at `prey[2, K]` between `bodies[B, 2, K]`, of which the first P are predators, with `predators[P, K]` those
        that are present; `reach[B]` are the sums of radii."""
        return self.best(self._draws.next(), prey, bodies, reach, predators)

    @staticmethod
    def best(offsets: Floats, prey: Floats, bodies: Floats, reach: Floats, predators: NDArray[np.bool_]) -> Floats:
        """The rule, for the candidates `offsets[K, 2, C]`."""
        x, y = offsets[:, 0] + prey[0][:, None], offsets[:, 1] + prey[1][:, None]
        score = np.zeros_like(x)
        for body, present in zip(bodies, predators, strict=False):
            dx, dy = x - body[0][:, None], y - body[1][:, None]
            dx *= dx
            dy *= dy
            dx += dy
            np.sqrt(dx, out=dx)
            dx *= present[:, None]
            score += dx
        force = np.zeros_like(prey)
        # The best candidate is rarely refused: ways are examined from the best score on, for the copies that still have none.
        left = np.arange(len(score))
        for _ in range(score.shape[1]):
            chosen = score[left].argmax(axis=1)
            offset = offsets[left, :, chosen].T
            way = prey[:, left] + _WAY[:, None, None] * offset
            apart = way[:, None] - bodies[None, :, :, left]
            refused = (np.square(apart).sum(axis=2) < np.square(reach)[:, None]).any(axis=(0, 1))
            force[:, left[~refused]] = offset[:, ~refused]
            left, chosen = left[refused], chosen[refused]
            if not len(left):
                break
            score[left, chosen] = -np.inf
        return force
