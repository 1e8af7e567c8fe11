"""Goals in force in K copies: since when, in which grid they were set, when their cells are reached, what becomes of them tick by tick, and
which are exchanged with neighbours.

The teacher learns from a goal that it gave away with the grid for which the goal was proposed, and its probability. The agent that pursues
it counts the steps from the exchange on, and compares with the grid of that moment.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from agent_node.contracts import Array, GoalOutcome
from protocols.conversations.stepping.stepping_messages import Flag
from protocols.spaces.grid_space import AGENT, AHEAD, CHANNELS

# Plain integers: an operation of the enumeration takes longer than one on all copies' flags.
_MEMBER, _FIRST, _PARKED = int(Flag.MEMBER), int(Flag.FIRST), int(Flag.PARKED)
_ENDED = int(Flag.TERMINATED | Flag.TRUNCATED | Flag.OVER)

Goals = NDArray[np.void]
"""n goals with the fields of `goal_record`"""
ReachedRule = Callable[[Array, Array, NDArray[np.int64]], NDArray[np.bool_]]
"""from cells now and when the goal was set, both `[n, 3 W H]` indexed [x][y][channel], and goals `[n]`, cell g = x H + y"""


def _codes(cells: Array, goals: NDArray[np.int64]) -> Array:
    """`[n, 3]`: object, colour and state of each row's goal cell."""
    codes: Array = cells.reshape(len(cells), cells.shape[1] // CHANNELS, CHANNELS)[np.arange(len(goals)), goals]
    return codes


def changed(cells: Array, snapshot: Array, goals: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether any of the three codes of the goal's cell is not what it was. So entering, leaving or turning there count, a door that opens,
    a thing that is taken or put down; a wall is never reached."""
    differs: NDArray[np.bool_] = (_codes(cells, goals) != _codes(snapshot, goals)).any(axis=1)
    return differs


def occupied(cells: Array, snapshot: Array, goals: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether the agent stands on the goal's cell."""
    there: NDArray[np.bool_] = _codes(cells, goals)[:, 0] == AGENT
    return there


class OwnCellChanges:
    """Whether the agent may have changed its goal's cell by its last step: the step has changed the cell, and it is where the agent is,
    where it was before, or what it had ahead then. Changes that others make elsewhere, or made earlier, are not counted."""

    def __init__(self, width: int, height: int) -> None:
        x, y = np.meshgrid(np.arange(width), np.arange(height), indexing="ij")
        inside = [(x + dx).clip(0, width - 1) * height + (y + dy).clip(0, height - 1) for dx, dy in AHEAD]
        self._ahead = np.stack([cells.reshape(-1) for cells in inside], axis=1)
        """`[W H, 4]`: the cell ahead of each, in each direction"""

    def __call__(self, cells: Array, before: Array, goals: NDArray[np.int64]) -> NDArray[np.bool_]:
        """`[n]`, from cells now and before the last step, both `[n, 3 W H]`, and goals `[n]`."""
        here, there = self._agent(cells), self._agent(before)
        direction = _codes(before, there)[:, 2] % len(AHEAD)
        own: NDArray[np.bool_] = (goals == here) | (goals == there) | (goals == self._ahead[there, direction])
        return own & changed(cells, before, goals)

    @staticmethod
    def _agent(cells: Array) -> NDArray[np.int64]:
        """`[n]`: the number of the agent's cell; 0 without an agent."""
        places: NDArray[np.int64] = (cells[:, ::CHANNELS] == AGENT).argmax(axis=1)
        return places


RULES: dict[str, ReachedRule] = {"changed": changed, "position": occupied}
"""by the names of the settings"""


def goal_record(size: int) -> np.dtype[np.void]:
    """A goal in a grid of `size` = 3 W H codes: row, the grid `snapshot` in which it was set, cell, ln pi of the cell, steps since then,
    whether it was reached, the environment's reward in the newest step, whether it belongs to an evaluation, and its number: goals that
    were `set` are counted from 0, and those that another agent's teacher proposed have -1."""
    fields = [
        ("row", np.int64),
        ("snapshot", np.uint8, (size,)),
        ("goal", np.int64),
        ("log_probability", np.float32),
        ("duration", np.int64),
        ("reached", np.bool_),
        ("reward", np.float32),
        ("evaluation", np.bool_),
        ("number", np.int64),
    ]
    return np.dtype(fields, align=True)


@dataclass
class GoalTick:
    """Changes of a tick."""

    reached: NDArray[np.bool_]
    """`[K]` rows whose goal was reached by the step that led here"""
    late: NDArray[np.bool_]
    """`[K]` rows whose last goal, of the episode before, turns out to have been reached"""
    wanting: NDArray[np.int64]
    """rows that need a new goal now"""
    going_on: NDArray[np.bool_]
    """`[K]` rows whose episode neither began nor ended with this tick"""
    ended: Goals
    """goals that are over, reached or not"""


class ActiveGoals:
    """Goals of K copies of a grid of `size` = 3 W H codes.

    A goal is in force until it is reached or its episode ends. `boundary`: what an episode's last step is judged by: the grid in which it
    ended (`terminal_grid`), the first one of the next episode, one tick later (`reset_grid`), or it can't reach a goal (`ignored`). With
    `own` only the agent's own changes reach goals, except in the next episode's first grid, which no agent has changed. `most`: own goals
    that neighbours may pursue at once; the oldest are given up first.
    """

    def __init__(
        self,
        copies: int,
        size: int,
        reached: ReachedRule,
        boundary: Literal["terminal_grid", "reset_grid", "ignored"],
        own: OwnCellChanges | None = None,
        most: int = 0,
    ) -> None:
        self._goals: Goals = np.zeros(copies, goal_record(size))
        """`[K]`; that of an episode that has ended stays until the next begins"""
        self._goals["row"] = np.arange(copies)
        self._goals["goal"] = self._goals["number"] = -1
        self._reached = reached
        self._boundary = boundary
        self._own = own
        self._most = most
        self._before = np.zeros((copies, size), np.uint8)
        """the grid of the last tick"""
        self._numbers = 0
        self._live = np.zeros(copies, bool)
        self._waits = np.zeros(copies, bool)
        """ended episodes whose goal is judged by the first grid of the next one"""
        self._pending: dict[int, tuple[int, int]] = {}
        self._swapped_out: dict[int, Goals] = {}
        self._finished_swaps: list[tuple[int, GoalOutcome]] = []

    @property
    def goal(self) -> NDArray[np.int64]:
        """`[K]` cells; -1 before the first."""
        cells: NDArray[np.int64] = self._goals["goal"]
        return cells

    @property
    def duration(self) -> NDArray[np.int64]:
        """`[K]` steps since the goals were set."""
        steps: NDArray[np.int64] = self._goals["duration"]
        return steps

    def tick(self, cells: Array, reward: NDArray[np.float32], flags: NDArray[np.uint16], continuous: bool) -> GoalTick:
        """Take `cells[K, 3 W H]`, `reward[K]` and `flags[K]`. Without `continuous` ticks were missed, and the outcome of goals is
        unknown."""
        goals, member, first = self._goals, (flags & _MEMBER) != 0, (flags & _FIRST) != 0
        ending = (flags & _ENDED) != 0
        if not continuous:
            self._live[:] = self._waits[:] = False
        late = np.zeros(len(flags), bool)
        waited, self._waits = self._waits, np.zeros_like(self._waits)
        rows = np.flatnonzero(waited & member & first)
        late[rows] = self._reached(cells[rows], goals["snapshot"][rows], goals["goal"][rows])

        steps = self._live & member & ~first & ((flags & _PARKED) == 0)
        goals["duration"][steps] += 1
        goals["reward"][steps] = reward[steps]
        reached = np.zeros(len(flags), bool)
        rows = np.flatnonzero(steps if self._boundary == "terminal_grid" else steps & ~ending)
        reached[rows] = self._reached(cells[rows], goals["snapshot"][rows], goals["goal"][rows])
        if self._own is not None:
            reached[rows] &= self._own(cells[rows], self._before[rows], goals["goal"][rows])
            self._before = cells.copy()
        if self._boundary == "reset_grid":
            self._waits = steps & ending
        goals["reached"] = reached | late
        ended = goals[(steps & (reached | ending) & ~self._waits) | waited]
        for goal in ended[ended["number"] < 0]:
            outcome = GoalOutcome(int(goal["duration"]), bool(goal["reached"]), float(goal["reward"]))
            self._finished_swaps.append((int(goal["row"]), outcome))
        self._live &= steps & ~reached & ~ending
        wanting = member & ~ending & ((flags & _PARKED) == 0) & ~self._live
        going_on = member & ~first & ~ending & ((flags & _PARKED) == 0)
        return GoalTick(reached, late, np.flatnonzero(wanting), going_on, ended)

    def set(
        self,
        rows: NDArray[np.int64],
        cells: Array,
        goals: NDArray[np.int64],
        log_probability: NDArray[np.float32],
        evaluation: NDArray[np.bool_],
    ) -> None:
        """New goals for n rows, seen in `cells[n, 3 W H]`, chosen with `log_probability[n]`."""
        self._begin(rows, cells, goals, np.arange(self._numbers, self._numbers + len(rows)), evaluation)
        self._goals["log_probability"][rows] = log_probability
        self._numbers += len(rows)

    def _begin(
        self, rows: NDArray[np.int64], cells: Array, goals: NDArray[np.int64], numbers: NDArray[np.int64] | int, evaluation: Array | bool
    ) -> None:
        values = {"snapshot": cells, "goal": goals, "duration": 0, "number": numbers, "evaluation": evaluation}
        for name, value in values.items():
            self._goals[name][rows] = value
        self._live[rows] = True

    # --- exchanged goals --------------------------------------------------------------------------------------------------------------

    def swappable(self) -> NDArray[np.int64]:
        """`[K]` numbers of own goals in force that may be given away; -1 for none, and in evaluations."""
        numbers: NDArray[np.int64] = np.where(self._live & ~self._goals["evaluation"], self._goals["number"], -1)
        numbers[list(self._pending)] = -1
        return numbers

    def swap_in(self, row: int, goal: int, given: int) -> None:
        """After the next tick `goal` takes the place of the own goal `given`, unless the episode is over by then."""
        self._pending[row] = goal, given

    def apply_swaps(self, cells: Array, going_on: NDArray[np.bool_]) -> NDArray[np.int64]:
        """After a tick: rows in which a neighbour's goal is in force from now on, seen in `cells[K, 3 W H]`. `going_on[K]`: rows whose
        episode neither began nor ended with this tick."""
        if not self._pending:
            return np.zeros(0, np.int64)
        pending, self._pending = self._pending, {}
        numbers, taken = self.swappable(), []
        for row, (goal, given) in pending.items():
            if not going_on[row]:
                self._finished_swaps.append((row, GoalOutcome(0, False, 0.0)))
                continue
            if numbers[row] == given:
                self._swapped_out[given] = self._goals[row : row + 1].copy()
            taken.append((row, goal))
        while len(self._swapped_out) > self._most:
            del self._swapped_out[next(iter(self._swapped_out))]
        rows, goals = np.array(taken, np.int64).reshape(-1, 2).T
        self._begin(rows, cells[rows], goals, -1, False)
        return rows

    def finished_swaps(self) -> list[tuple[int, GoalOutcome]]:
        """Goals of neighbours that are over since the last call, by row; of a duration of 0 where the episode was over first."""
        finished_swaps, self._finished_swaps = self._finished_swaps, []
        return finished_swaps

    def pop_swapped_out(self, number: int) -> Goals | None:
        """The own goal of that number as it was set, `[1]`, which is over; None where no neighbour pursued it."""
        return self._swapped_out.pop(number, None)
