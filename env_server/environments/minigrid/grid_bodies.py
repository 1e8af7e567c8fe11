"""Several agents in one MiniGrid environment, which was made for one.

The environment has one position, one direction and one carried object. Each agent's are put into it when it is its turn, so that
all rules of a level apply to every agent, and are read back afterwards.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from minigrid.core.actions import Actions
from minigrid.core.grid import Grid
from minigrid.core.world_object import WorldObj
from minigrid.minigrid_env import MiniGridEnv

from env_server.environments.environment_factory import problem
from protocols.spaces.grid_space import AHEAD

Cell = tuple[int, int]
_TOUCHING = frozenset(int(action) for action in (Actions.forward, Actions.pickup, Actions.drop, Actions.toggle))
"""actions that do something to the cell ahead"""


@dataclass
class GridBody:
    """What the environment would know of its agent, if this were its only one."""

    cell: Cell
    direction: int
    carried: WorldObj | None = None
    remembered: list[WorldObj | None] = field(default_factory=list)
    """what it had carried, as stored in each part of a BabyAI mission"""

    @property
    def ahead(self) -> Cell:
        """The cell that it looks at."""
        dx, dy = AHEAD[self.direction]
        return self.cell[0] + dx, self.cell[1] + dy


@dataclass(frozen=True)
class TurnResult:
    """What a tick came to. `earned`: by each body."""

    earned: list[float]
    terminated: bool
    truncated: bool


class SharedGridBodies:
    """Bodies in one environment, in the order in which they have entered it."""

    def __init__(self, environment: MiniGridEnv) -> None:
        self.bodies: list[GridBody] = []
        self._environment: Any = environment
        self._missions: list[Any] = []
        self._others: frozenset[Cell] = frozenset()
        self._place: Callable[..., tuple[int, int]] = environment.place_obj
        vars(environment)["place_obj"] = self._place_beside

    def enter(self, count: int, random: np.random.Generator) -> None:
        """After the environment's reset: its agent, and `count - 1` others on the free cells nearest to it, who look in directions that are
        drawn. `EnvironmentProblem` where they have none."""
        environment = self._environment
        self._missions = _missions(environment)
        first, *others = nearest_cells(environment.grid, _cell(environment.agent_pos), count)
        remembered = [part.preCarrying for part in self._missions]
        self.bodies = [GridBody(first, int(environment.agent_dir), environment.carrying, list(remembered))]
        self.bodies += [GridBody(cell, int(random.integers(len(AHEAD))), None, list(remembered)) for cell in others]

    def leave(self) -> None:
        """Before the environment's reset: remove all bodies from the grid."""
        self.bodies, self._others = [], frozenset()

    def take_turns(self, actions: Sequence[int], order: Sequence[int]) -> TurnResult:
        """One step: the bodies act one after the other, in this order. Who has another body right ahead can't go there, nor take, drop or
        open anything there. After an agent has ended the episode, the others do not act."""
        environment = self._environment
        earned, terminated, truncated, steps = [0.0] * len(self.bodies), False, False, environment.step_count
        for who in order:
            body = self.bodies[who]
            others = frozenset(other.cell for other in self.bodies if other is not body)
            if actions[who] in _TOUCHING and body.ahead in others:
                continue
            self.put(body)
            self._others = others
            environment.step_count = steps
            _, reward, terminated, cut, _ = environment.step(actions[who])
            earned[who], truncated = float(reward), truncated or cut
            self._take(body)
            if terminated:
                break
        self._others = frozenset()
        environment.step_count = steps + 1
        return TurnResult(earned, bool(terminated), truncated or environment.step_count >= environment.max_steps)

    def put(self, body: GridBody) -> None:
        """Make this body the environment's own agent."""
        environment = self._environment
        environment.agent_pos, environment.agent_dir, environment.carrying = body.cell, body.direction, body.carried
        for part, carried in zip(self._missions, body.remembered, strict=True):
            part.preCarrying = carried

    def _take(self, body: GridBody) -> None:
        environment = self._environment
        body.cell, body.direction, body.carried = _cell(environment.agent_pos), int(environment.agent_dir), environment.carrying
        body.remembered = [part.preCarrying for part in self._missions]

    def _place_beside(
        self,
        obj: WorldObj | None,
        top: Any = None,
        size: Any = None,
        reject_fn: Callable[[MiniGridEnv, Cell], bool] | None = None,
        max_tries: float = math.inf,
    ) -> tuple[int, int]:
        """`MiniGridEnv.place_obj`, for levels in which things move: not onto those whose turn it is not."""
        if not self._others:
            return self._place(obj, top, size, reject_fn, max_tries)

        def rejected(environment: MiniGridEnv, place: Cell) -> bool:
            return _cell(place) in self._others or (reject_fn is not None and reject_fn(environment, place))

        return self._place(obj, top, size, rejected, max_tries)


def _cell(place: Any) -> Cell:
    """Of a tuple or array."""
    x, y = place
    return int(x), int(y)


def _missions(environment: MiniGridEnv) -> list[Any]:
    """Parts of a BabyAI mission that store what their agent carried before its last action."""
    waiting, found = [getattr(environment, "instrs", None)], []
    while waiting:
        part = waiting.pop()
        if part is None:
            continue
        if hasattr(part, "preCarrying"):
            found.append(part)
        waiting += [getattr(part, "instr_a", None), getattr(part, "instr_b", None)]
    return found


def nearest_cells(grid: Grid, start: Cell, count: int) -> list[Cell]:
    """`count` empty cells: `start`, and those nearest to it that are reached without opening anything, nor ending an
    episode. Breadth first, neighbours in the order right, down, left, up. `EnvironmentProblem` where there are fewer."""
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
        raise problem(
            f"{count} agents are to begin beside one another, but from the first one's cell only {len(found)} free cells can be reached "
            "(itself among them) without opening a door: have fewer agents, or choose a level with larger rooms",
            "agents",
            "count",
        )
    return found[:count]


def _passable(thing: WorldObj | None) -> bool:
    """Nothing, floor, an open door, or what can be taken out of the way: an agent that enters a goal or lava ends the episode."""
    return thing is None or thing.type == "floor" or (thing.type == "door" and thing.can_overlap()) or thing.can_pickup()
