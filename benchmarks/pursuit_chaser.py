"""A scripted policy of `pettingzoo.sisl:pursuit_v5`, which records data for offline learning.

    orchestrate dataset make offline/spread agents.count=8 'environment={id: "pettingzoo.sisl:pursuit_v5", options: {max_cycles: 200}}' \
        -o data/pursuit8 -n 20 --mix random:1/2,chaser=./benchmarks/pursuit_chaser.py:chase:1/2
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

SIDE, EVADERS = 7, 2
"""cells of a side of what is observed, and the channel of evaders"""
LEFT, RIGHT, UP, DOWN, STAY = 0, 1, 2, 3, 4


def chase(agent: str, observation: NDArray[Any], random: np.random.Generator) -> NDArray[np.int64]:
    """Actions `[K]` from observations `[K, 147]`, counts by row y, column x and channel: to the nearest evader in sight along the longer
    of both distances, stay beside it, and a random action without any in sight."""
    seen = observation.reshape(len(observation), SIDE, SIDE, 3)[..., EVADERS] > 0
    y, x = np.indices((SIDE, SIDE)) - SIDE // 2
    steps = np.where(seen, np.abs(x) + np.abs(y), SIDE**2).reshape(len(seen), -1)
    nearest = steps.argmin(axis=1)
    across, along = x.ravel()[nearest], y.ravel()[nearest]
    sideways = np.where(across > 0, RIGHT, LEFT)
    upright = np.where(along > 0, UP, DOWN)
    action = np.where(np.abs(across) >= np.abs(along), sideways, upright)
    action = np.where(steps.min(axis=1) <= 1, STAY, action)
    drawn: NDArray[np.int64] = np.where(seen.any(axis=(1, 2)), action, random.integers(0, 5, len(seen)))
    return drawn
