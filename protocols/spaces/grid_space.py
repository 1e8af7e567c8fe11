"""Grids of cells in observation vectors: where they lie and what their numbers mean. Index tables are those of MiniGrid.

A cell is three bytes: (object, colour, state). A grid is indexed [x][y][channel], x to the right and y down; behind its cells follow object
and colour of what the agent carries. In the whole grid the agent's cell is (10, 0, direction), regardless of other objects there; in the
egocentric one (the agent at the middle of its lowest row, looking up) it is what the agent carries, and cells that are not visible are (0,
0, 0).

Where several agents walk about in one grid, the first of an observation's grids shows the others: (10, c, direction), c = 1 for the first
of them, in the order of the agents in the run, then 2 and so on (after 5 comes 1); in the egocentric grid their directions are as the agent
sees them. The last one, if it is the whole grid, shows the agent alone: what others do with things is seen there, but not where they are.
"""

from __future__ import annotations

from dataclasses import dataclass

from protocols.spaces.layout import GridInfo

CHANNELS = 3
OBJECTS, COLOURS, STATES = 11, 6, 4
"""values of each channel: unseen, empty, wall, floor, door, key, ball, box, goal, lava, agent; red, green, blue, purple, yellow, grey; door
open, closed, locked (or the agent looks right, down, left, up)"""
EMPTY, WALL, DOOR, AGENT = 1, 2, 4, 10
AHEAD = ((1, 0), (0, 1), (-1, 0), (0, -1))
"""one cell ahead (x, y) of who looks right, down, left, up"""
NOTHING = (EMPTY, 5)
"""(object, colour) of what is carried where nothing is"""
CARRIED = len(NOTHING)


@dataclass(frozen=True)
class GridPart:
    """One grid in an observation vector `[D]`, with what is carried: components `start` to `stop`."""

    start: int
    width: int
    height: int

    @property
    def cells(self) -> slice:
        """Components of the cells; they are to be reshaped to `[width, height, 3]`."""
        return slice(self.start, self.start + self.width * self.height * CHANNELS)

    @property
    def carried(self) -> slice:
        """Components that describe the carried thing by (object, colour)."""
        return slice(self.cells.stop, self.cells.stop + CARRIED)

    @property
    def stop(self) -> int:
        """The component after the last one, so that `vector[..., start:stop]` is this part."""
        return self.start + self.width * self.height * CHANNELS + CARRIED


@dataclass(frozen=True)
class Grids:
    """The grids that an agent sees: the egocentric one, the whole one, or the whole one behind the egocentric one, or behind the same whole
    one with all agents in it."""

    partial: GridPart | None
    full: GridPart | None
    """with the agent's own body, and no other"""
    longest: int
    """steps after which an episode is cut off"""
    crowd: GridPart | None = None
    """the whole grid with the bodies of all agents"""

    @classmethod
    def from_info(cls, info: GridInfo) -> Grids:
        """From its wire form; `ValueError` without a grid, or with only one side of it."""
        if bool(info.width) != bool(info.height):
            raise ValueError(f"a grid of {info.width} times {info.height} cells has no cells")
        if info.crowd and (info.partial or not info.width):
            raise ValueError("a whole grid with all agents in it stands before the whole grid, and never beside an egocentric one")
        partial = GridPart(0, info.partial, info.partial) if info.partial else None
        crowd = GridPart(0, info.width, info.height) if info.crowd else None
        before = partial or crowd
        full = GridPart(before.stop if before else 0, info.width, info.height) if info.width else None
        if partial is None and full is None:
            raise ValueError("a layout of grids without any grid")
        return cls(partial, full, info.longest, crowd)

    @property
    def seen(self) -> GridPart:
        """The first grid: what a policy goes by; others are seen in it."""
        part = self.crowd or self.partial or self.full
        if part is None:
            raise ValueError("a layout of grids without any grid")
        return part

    @property
    def whole(self) -> GridPart:
        """The last grid: what goals are set in and states are counted by; the egocentric one only where there is no other."""
        return self.full or self.seen

    @property
    def size(self) -> int:
        """D, components of the vector."""
        return self.whole.stop
