"""Functions for `environment.goals.of` of shipped configurations; templates for functions of one's own."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.spaces.grid_space import AGENT, CHANNELS

OCCUPIED = 0.2
"""distance from a landmark's centre up to which an agent occupies it; agents of MPE have radius 0.15"""


def landmark_occupied(environment: Any, agent: str, observation: NDArray[np.float32]) -> NDArray[np.bool_]:
    """MPE (`mpe2`): for each landmark, whether the agent is closer to its centre than `OCCUPIED`, `[landmarks]`."""
    world = environment.world
    body = next(body for body in world.agents if body.name == agent)
    places = np.array([landmark.state.p_pos for landmark in world.landmarks])
    near: NDArray[np.bool_] = np.linalg.norm(places - body.state.p_pos, axis=1) < OCCUPIED
    return near


def quadrant(environment: Any, agent: str, observation: NDArray[np.uint8]) -> NDArray[np.int64]:
    """MiniGrid with `view: full`: the number of the quarter of the grid in which the agent is, `[K]`: 0 and 1 left and right above, 2 and 3
    below; -1 on the lines in the middle of a grid with an odd number of cells."""
    grid = environment.layout(agent).grid
    start = observation.shape[1] - (grid.width * grid.height * CHANNELS + 2)
    cells = observation[:, start : start + grid.width * grid.height * CHANNELS].reshape(-1, grid.width, grid.height, CHANNELS)
    own = cells[..., 0] == AGENT
    x, y = own.any(axis=2).argmax(axis=1), own.any(axis=1).argmax(axis=1)
    column, row = 2 * x - (grid.width - 1), 2 * y - (grid.height - 1)
    return np.where((column == 0) | (row == 0) | ~own.any(axis=(1, 2)), -1, (column > 0) + 2 * (row > 0)).astype(np.int64)
