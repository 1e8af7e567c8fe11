"""Where several agents begin in a layout that was made for one."""

from __future__ import annotations

from collections import deque

from minigrid.core.grid import Grid
from minigrid.core.world_object import WorldObj

from protocols.runtime.errors import ConfigurationError
from protocols.spaces.grid_space import AHEAD

Cell = tuple[int, int]


class NoRoom(ConfigurationError):
    """A layout has too few cells for all agents."""


def nearest_cells(grid: Grid, start: Cell, count: int) -> list[Cell]:
    """`count` empty cells: `start`, and those nearest to it that are reached without opening anything, nor ending an
    episode. Breadth first, neighbours in the order right, down, left, up. `NoRoom` where there are fewer."""
    found, seen, rim = [start], {start}, deque([start])
    while rim and len(found) < count:
        x, y = rim.popleft()
        for dx, dy in AHEAD:
            cell = x + dx, y + dy
            if cell in seen or not (0 <= cell[0] < grid.width and 0 <= cell[1] < grid.height):
                continue
            seen.add(cell)
            thing = grid.get(*cell)
            if _passable(thing):
                rim.append(cell)
                if thing is None or thing.type == "floor":
                    found.append(cell)
    if len(found) < count:
        raise NoRoom(
            f"{count} agents are to begin beside one another, but from the first one's cell only {len(found)} free cells can be reached "
            "(itself among them) without opening a door: have fewer agents, or choose a level with larger rooms"
        )
    return found[:count]


def _passable(thing: WorldObj | None) -> bool:
    """Nothing, floor, an open door, or what can be taken out of the way: an agent that enters a goal or lava ends the episode."""
    return thing is None or thing.type == "floor" or (thing.type == "door" and thing.can_overlap()) or thing.can_pickup()
