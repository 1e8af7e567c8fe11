"""Marks on pictures of grids: the cells that agents are after."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
HUES: Sequence[tuple[int, int, int]] = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (112, 39, 195), (255, 255, 0), (100, 100, 100))
"""of agent 0, 1, ...: as MiniGrid's agents and ours are drawn"""


def outlined(picture: Picture, cells: Sequence[tuple[int, int] | None], width: int, height: int) -> Picture:
    """The picture of a grid of `width` times `height` cells with a frame in each of `cells` (x, y), in the colour of the agent with that
    number; of frames in one cell the later ones are inside the others."""
    marked = picture.copy()
    tall, wide = picture.shape[0] // height, picture.shape[1] // width
    line = max(1, min(tall, wide) // 16)
    drawn: dict[tuple[int, int], int] = {}
    for number, cell in enumerate(cells):
        if cell is None:
            continue
        inset = drawn.get(cell, 0)
        drawn[cell] = inset + line
        x, y = cell
        left, right = x * wide + inset, (x + 1) * wide - inset
        top, bottom = y * tall + inset, (y + 1) * tall - inset
        if right - left <= 2 * line or bottom - top <= 2 * line:
            continue
        frame = np.zeros((bottom - top, right - left), bool)
        frame[:line], frame[-line:], frame[:, :line], frame[:, -line:] = True, True, True, True
        marked[top:bottom, left:right][frame] = HUES[number % len(HUES)]
    return marked
