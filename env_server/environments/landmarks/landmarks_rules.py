"""When an agent's part of an episode ends and what it pays; the rule of reward itself is `protocols.spaces.feature_sets`'s."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from protocols.spaces.feature_sets import FeatureSets

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class StepOutcome:
    """Result of one step for every copy and body, `[K, M]` each."""

    reward: NDArray[np.float32]
    terminated: Mask
    truncated: Mask


@cache
def _others(bodies: int) -> NDArray[np.intp]:
    """`[M, M - 1]`: for each body the numbers of the others."""
    return np.array([[j for j in range(bodies) if j != i] for i in range(bodies)], np.intp).reshape(bodies, bodies - 1)


def step_outcome(
    space: FeatureSets, touched: NDArray[np.uint8], goals: NDArray[np.int64], active: Mask, steps: NDArray[np.int64], horizon: int
) -> StepOutcome:
    """What a step came to: an active body whose goal is reached is paid and done; one still active at the horizon is cut off.

    `touched[K, M, L]`, `goals[K, M]`, `active[K, M]`, `steps[K]`. Bodies that are done stay in the room and count for the others.
    """
    reached = np.zeros(active.shape, bool)
    # Where nothing is touched nothing is reached: the rule is asked only about the other copies.
    rows = np.flatnonzero(touched.any(axis=(1, 2)))
    if len(rows):
        here = touched[rows]
        every_goal = space.achieved(here, here[:, _others(touched.shape[1])])
        reached[rows] = np.take_along_axis(every_goal, goals[rows, :, None], axis=-1)[..., 0]
    terminated = active & reached
    truncated = active & ~reached & (steps >= horizon)[:, None]
    reward = np.where(terminated, space.rewards[goals], np.float32(0.0)).astype(np.float32)
    return StepOutcome(reward, terminated, truncated)
