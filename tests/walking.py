"""How a body of the landmarks arena is steered straight to a landmark, for scripted policies."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from env_server.environments.landmarks.body_physics import DAMPING, TOP_SPEED
from env_server.environments.landmarks.room_geometry import RADIUS


def steer(distance: NDArray[np.floating], bearing: NDArray[np.floating], speed: NDArray[np.floating]) -> NDArray[np.int32]:
    """Actions `[n, 2]` for bodies so far from their landmarks, which they see at this bearing in radians, and so fast ahead (1: top speed):
    turn to it, drive, and brake so as to stop there."""
    gap = distance - RADIUS
    coasting = speed * TOP_SPEED * DAMPING / (1 - DAMPING)
    thrust = np.where(np.abs(bearing) > 0.5, 0, np.where(coasting < gap, 1, np.where(coasting > gap + 8, 2, 0)))
    turn = np.where(bearing > 0.15, 1, np.where(bearing < -0.15, 2, 0))
    return np.stack([thrust, turn], axis=-1).astype(np.int32)
