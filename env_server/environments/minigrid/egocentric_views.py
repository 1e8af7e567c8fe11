"""What agents see of the square in front of them, in all copies at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from protocols.spaces.grid_space import AHEAD, CHANNELS, WALL

Bytes = NDArray[np.uint8]
Mask = NDArray[np.bool_]
OUTSIDE = (WALL, 5, 0)
"""a grey wall, as all around the grid"""


class EgocentricViews:
    """The square of `side` cells in front of the agent in each of K grids of `width` times `height` cells.

    `cells[K, W, H, 3]` and `opaque[K, W, H]` lie in arrays with a margin of walls, so that every square is a part of them; who writes into
    them writes the grids.
    """

    def __init__(self, copies: int, width: int, height: int, side: int, through_walls: bool) -> None:
        self._side, self._through_walls = side, through_walls
        self._cells = np.empty((copies, width + 2 * side, height + 2 * side, CHANNELS), np.uint8)
        self._cells[:] = OUTSIDE
        self._opaque = np.ones(self._cells.shape[:3], bool)
        inner = (slice(None), slice(side, side + width), slice(side, side + height))
        self.cells = self._cells[inner]
        self.opaque = self._opaque[inner]
        _, columns, rows, _ = self._cells.shape
        self._first = np.arange(copies) * columns * rows + side * rows + side
        """index of the cell (0, 0) of each copy among the cells of all copies"""
        self._rows = rows
        self._from_agent = np.array([self._offsets(ahead, side, rows) for ahead in np.array(AHEAD)])

    @staticmethod
    def _offsets(ahead: NDArray[np.int64], side: int, rows: int) -> NDArray[np.int64]:
        """`[side, side]`: how far the cells of the square [x][y] lie from the agent's own, among all cells in a row."""
        right = np.array((-ahead[1], ahead[0]))
        x, y = np.meshgrid(np.arange(side) - side // 2, side - 1 - np.arange(side), indexing="ij")
        distance = x[..., None] * right + y[..., None] * ahead
        return np.asarray(distance[..., 0] * rows + distance[..., 1])

    def see(self, x: Sequence[int], y: Sequence[int], direction: Sequence[int], carried: NDArray[np.uint8]) -> Bytes:
        """`[K, side, side, 3]`, indexed [x][y]: the agent at the middle of the lowest row, looking up, its cell what it carries
        (`carried[K, 3]`); hidden cells are zeros."""
        agent = self._first + np.array(x) * self._rows + np.array(y)
        places = agent[:, None, None] + self._from_agent[list(direction)]
        view: Bytes = self._cells.reshape(-1, CHANNELS)[places]
        if not self._through_walls:
            view[~visible(self._opaque.reshape(-1)[places])] = 0
        view[:, self._side // 2, self._side - 1] = carried
        return view


def visible(opaque: Mask) -> Mask:
    """MiniGrid's rule, `[K, side, side]`: from the agent's cell sight spreads row by row away from the agent, within a row first to the
    right and then to the left, from every visible cell that one can see through to its neighbour, to the cell ahead and to the one
    diagonally ahead."""
    _, width, height = opaque.shape
    clear = np.ascontiguousarray(~opaque.transpose(2, 1, 0))
    seen = np.zeros_like(clear)
    seen[height - 1, width // 2] = True
    for row in reversed(range(height)):
        here, see_through = list(seen[row]), list(clear[row])
        ahead = list(seen[row - 1]) if row > 0 else []
        for way, columns in ((1, range(width - 1)), (-1, range(width - 1, 0, -1))):
            for column in columns:
                spreads = here[column] & see_through[column]
                here[column + way] |= spreads
                if ahead:
                    ahead[column + way] |= spreads
                    ahead[column] |= spreads
    return seen.transpose(2, 1, 0)
