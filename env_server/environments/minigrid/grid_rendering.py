"""Pictures of grids in which several agents are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any, cast

import numpy as np
from minigrid.core.constants import COLORS, TILE_PIXELS
from minigrid.core.grid import Grid
from minigrid.minigrid_env import MiniGridEnv
from minigrid.utils import rendering
from numpy.typing import NDArray

from env_server.environments.minigrid.grid_bodies import SharedGridBodies

_FINER = 3
"""pixels are computed from so many times so many, as MiniGrid's"""
_HUES: tuple[Any, ...] = tuple(COLORS[name] for name in ("red", "green", "blue", "purple", "yellow", "grey"))


@cache
def _shape(direction: int) -> NDArray[np.float64]:
    """`[32, 32, 1]`: how much of each pixel MiniGrid's triangle covers, looking right, down, left or up."""
    side = TILE_PIXELS * _FINER
    picture = np.zeros((side, side, 3), np.uint8)
    drawing = cast(Any, rendering)  # without types
    triangle = drawing.point_in_triangle((0.12, 0.19), (0.87, 0.50), (0.12, 0.81))
    drawing.fill_coords(picture, drawing.rotate_fn(triangle, cx=0.5, cy=0.5, theta=0.5 * math.pi * direction), (255, 255, 255))
    covered: NDArray[np.float64] = drawing.downsample(picture, _FINER)[..., :1] / 255.0
    return covered


def draw(environment: MiniGridEnv, crowd: SharedGridBodies, numbers: Sequence[int], highlight: bool) -> NDArray[np.uint8]:
    """`[32 H, 32 W, 3]`: MiniGrid's own picture with all agents; the body of agent `numbers[m]` has the colour of that number, that of
    agent 0 is red, as in MiniGrid. `highlight`: what any of them sees is lighter."""
    frames, drawing = [], cast(Any, rendering)
    for body in crowd.bodies if highlight else crowd.bodies[:1]:
        crowd.put(body)
        frames.append(environment.get_frame(highlight=highlight))
    picture: NDArray[np.uint8] = np.max(frames, axis=0)
    for number, body in zip(numbers, crowd.bodies, strict=True):
        x, y = body.cell
        tile = Grid.render_tile(environment.grid.get(x, y), None, False, TILE_PIXELS)
        covered = _shape(body.direction)
        tile = (tile * (1 - covered) + np.array(_HUES[number % len(_HUES)]) * covered).round().astype(np.uint8)
        if highlight:
            drawing.highlight_img(tile)
        picture[y * TILE_PIXELS : (y + 1) * TILE_PIXELS, x * TILE_PIXELS : (x + 1) * TILE_PIXELS] = tile
    return picture
