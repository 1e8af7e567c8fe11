"""Goals that change hands: own ones that somebody else pursues, and somebody else's that are pursued here, tick by tick.

A goal that is given away keeps its place in the teacher's lessons: the grid for which it was proposed, and with what probability. Whoever
pursues it counts its steps from when it took it over, against the grid as it was then.
"""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

from agent_node.contracts import Array, Outcome
from agent_node.goals.clocks import Ended, GoalClocks, Proposal


class Lending:
    """Exchanges of goals between the clocks of one agent and other agents. `most`: own goals that may be away at once; the oldest are
    given up first."""

    def __init__(self, clocks: GoalClocks, most: int) -> None:
        self._clocks = clocks
        self._most = most
        self._pending: dict[int, tuple[int, int]] = {}
        self._away: OrderedDict[int, Proposal] = OrderedDict()
        self._returned: list[tuple[int, Outcome]] = []

    def lendable(self) -> NDArray[np.int64]:
        """`[K]` numbers of own goals that may be given away; -1 where there is none."""
        numbers = self._clocks.own()
        numbers[list(self._pending)] = -1
        return numbers

    def borrow(self, row: int, goal: int, given: int) -> None:
        """At the next tick `goal` takes the place of the own goal `given`, unless the episode is over by then."""
        self._pending[row] = goal, given

    def apply(self, cells: Array, going_on: NDArray[np.bool_]) -> NDArray[np.int64]:
        """A tick, after the clocks': rows in which a borrowed goal is in force from now on, seen in `cells[K, 3 W H]`. `going_on[K]`: rows
        whose episode neither began nor ended with this tick."""
        pending, self._pending = self._pending, {}
        taken = []
        for row, (goal, given) in pending.items():
            if not going_on[row]:
                self._returned.append((row, Outcome(0, False, 0.0)))
                continue
            if self._clocks.own()[row] == given:
                self._away[given] = self._clocks.proposal(row)
            taken.append((row, goal))
        while len(self._away) > self._most:
            self._away.popitem(last=False)
        rows = np.array([row for row, _ in taken], np.int64)
        self._clocks.borrow(rows, cells[rows], np.array([goal for _, goal in taken], np.int64))
        return rows

    def ended(self, ended: Ended) -> None:
        """Goals that are over: the borrowed ones are to be told of."""
        for i in np.flatnonzero(ended.borrowed).tolist():
            outcome = Outcome(int(ended.duration[i]), bool(ended.reached[i]), float(ended.reward[i]))
            self._returned.append((int(ended.rows[i]), outcome))

    def returned(self) -> list[tuple[int, Outcome]]:
        """Borrowed goals that are over since the last call, by row; of a duration of 0 where the episode was over first."""
        returned, self._returned = self._returned, []
        return returned

    def take_back(self, number: int) -> Proposal | None:
        """The own goal of that number, which is over; None where it was not away."""
        return self._away.pop(number, None)
