"""Exchanged goals, tick by tick: own goals that a neighbour pursues, and goals of neighbours that the own policy pursues.

The teacher learns from a goal that it gave away with the grid for which the goal was proposed, and its probability. The agent that pursues
it counts the steps from the exchange on, and compares with the grid of that moment.
"""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

from agent_node.contracts import Array, GoalOutcome
from agent_node.intrinsic.amigo.active_goals import ActiveGoals, EndedGoals, ProposedGoal


class SwappedGoals:
    """Exchanges of goals between the clocks of one agent and other agents. `most`: own goals that may be away at once; the oldest are
    given up first."""

    def __init__(self, active_goals: ActiveGoals, most: int) -> None:
        self._active_goals = active_goals
        self._most = most
        self._pending: dict[int, tuple[int, int]] = {}
        self._swapped_out: OrderedDict[int, ProposedGoal] = OrderedDict()
        self._finished_swaps: list[tuple[int, GoalOutcome]] = []

    def swappable(self) -> NDArray[np.int64]:
        """`[K]` numbers of own goals that may be given away; -1 for none."""
        numbers = self._active_goals.own()
        numbers[list(self._pending)] = -1
        return numbers

    def swap_in(self, row: int, goal: int, given: int) -> None:
        """At the next tick `goal` takes the place of the own goal `given`, unless the episode is over by then."""
        self._pending[row] = goal, given

    def apply(self, cells: Array, going_on: NDArray[np.bool_]) -> NDArray[np.int64]:
        """A tick, after the clocks': rows in which a borrowed goal is in force from now on, seen in `cells[K, 3 W H]`. `going_on[K]`: rows
        whose episode neither began nor ended with this tick."""
        pending, self._pending = self._pending, {}
        taken = []
        for row, (goal, given) in pending.items():
            if not going_on[row]:
                self._finished_swaps.append((row, GoalOutcome(0, False, 0.0)))
                continue
            if self._active_goals.own()[row] == given:
                self._swapped_out[given] = self._active_goals.proposal(row)
            taken.append((row, goal))
        while len(self._swapped_out) > self._most:
            self._swapped_out.popitem(last=False)
        rows = np.array([row for row, _ in taken], np.int64)
        self._active_goals.swap_in(rows, cells[rows], np.array([goal for _, goal in taken], np.int64))
        return rows

    def ended(self, ended: EndedGoals) -> None:
        """Goals that are over: record the outcomes of the neighbours' goals."""
        for i in np.flatnonzero(ended.swapped_in).tolist():
            outcome = GoalOutcome(int(ended.duration[i]), bool(ended.reached[i]), float(ended.reward[i]))
            self._finished_swaps.append((int(ended.rows[i]), outcome))

    def finished_swaps(self) -> list[tuple[int, GoalOutcome]]:
        """Borrowed goals that are over since the last call, by row; of a duration of 0 where the episode was over first."""
        finished_swaps, self._finished_swaps = self._finished_swaps, []
        return finished_swaps

    def pop_swapped_out(self, number: int) -> ProposedGoal | None:
        """The own goal of that number, which is over; None where it was not away."""
        return self._swapped_out.pop(number, None)
