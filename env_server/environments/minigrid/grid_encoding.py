"""The encoded grid of each copy, kept up to date by what has changed, and what agents see of the square in front of them.

Encoding a grid anew calls a method of every cell: 0.1 ms for 7 x 3 cells, more than a step itself. But few cells ever change.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from minigrid.core.grid import Grid
from minigrid.core.world_object import Floor, Goal, Lava, Wall
from numpy.typing import NDArray

from protocols.spaces.grid_space import AHEAD, CHANNELS, EMPTY, WALL

Bytes = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Ints = NDArray[np.int64]
OUTSIDE = (WALL, 5, 0)
"""a grey wall, as all around the grid"""

_FIXED = frozenset({type(None), Wall, Floor, Goal, Lava})
"""objects that only change by being replaced; a subclass of them may do otherwise"""
_NOTHING_THERE = (EMPTY, 0, 0)


class EncodedGrid:
    """Cells of a `minigrid` grid without its agent: `cells[W, H, 3]` as `Grid.encode()` has them, and `opaque[W, H]`: no agent
    sees through these cells. Both are written in place."""

    def __init__(self, cells: Bytes, opaque: Mask) -> None:
        self._cells = cells
        self._opaque = opaque
        self._width = cells.shape[0]
        self._known: list[Any] = []
        self._changing: list[list[Any]] = []
        """[index, object, its code] of all that may change and stay"""

    def reset(self, grid: Grid) -> None:
        """Encode all cells of a new grid."""
        self._known = list(grid.grid)
        codes = [_NOTHING_THERE if thing is None else thing.encode() for thing in self._known]
        shape = self._cells.shape[1], self._cells.shape[0]
        self._cells[:] = np.array(codes, np.uint8).reshape(*shape, 3).transpose(1, 0, 2)
        opaque = [thing is not None and not thing.see_behind() for thing in self._known]
        self._opaque[:] = np.array(opaque).reshape(shape).T
        self._list()

    def update(self, grid: Grid) -> None:
        """Encode the cells again that have changed since the last call."""
        things = grid.grid
        if things != self._known:
            for index, (thing, old) in enumerate(zip(things, self._known, strict=True)):
                if thing is not old:
                    self._put(index, thing, _NOTHING_THERE if thing is None else thing.encode())
            self._known = list(things)
            self._list()
        for entry in self._changing:
            index, thing, code = entry
            now = thing.encode()
            if now != code:
                entry[2] = now
                self._put(index, thing, now)

    def _put(self, index: int, thing: Any, code: tuple[int, int, int]) -> None:
        y, x = divmod(index, self._width)
        self._cells[x, y] = code
        self._opaque[x, y] = thing is not None and not thing.see_behind()

    def _list(self) -> None:
        self._changing = [[index, thing, thing.encode()] for index, thing in enumerate(self._known) if type(thing) not in _FIXED]


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

    def see(self, x: Ints, y: Ints, direction: Ints, carried: NDArray[np.uint8]) -> Bytes:
        """`[K, side, side, 3]`, indexed [x][y]: the agent at the middle of the lowest row, looking up, its cell what it carries
        (`carried[K, 3]`); hidden cells are zeros."""
        agent = self._first + x * self._rows + y
        places = agent[:, None, None] + self._from_agent[direction]
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
