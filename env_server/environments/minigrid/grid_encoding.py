"""The encoded grid of one copy, kept up to date by what has changed.

Encoding a grid anew calls a method of every cell: 0.1 ms for 7 x 3 cells, more than a step itself. But few cells ever change.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from minigrid.core.grid import Grid
from minigrid.core.world_object import Floor, Goal, Lava, Wall
from numpy.typing import NDArray

from protocols.spaces.grid_space import EMPTY

_FIXED = frozenset({type(None), Wall, Floor, Goal, Lava})
"""objects that only change by being replaced; a subclass of them may do otherwise"""
_NOTHING_THERE = (EMPTY, 0, 0)


class EncodedGrid:
    """Cells of a `minigrid` grid without its agent: `cells[W, H, 3]` as `Grid.encode()` has them, and `opaque[W, H]`: no agent
    sees through these cells. Both are written in place."""

    def __init__(self, cells: NDArray[np.uint8], opaque: NDArray[np.bool_]) -> None:
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
