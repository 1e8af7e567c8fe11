"""Goals in force in K copies: since when, in which grid they were set, and what becomes of them tick by tick."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from agent_node.contracts import Array
from agent_node.intrinsic.amigo.cell_goal_rules import OwnCellChanges, ReachedRule
from protocols.conversations.stepping.stepping_messages import Flag

# Plain integers: an operation of the enumeration takes longer than one on all copies' flags.
_MEMBER, _FIRST, _PARKED = int(Flag.MEMBER), int(Flag.FIRST), int(Flag.PARKED)
_ENDED = int(Flag.TERMINATED | Flag.TRUNCATED | Flag.OVER)


@dataclass(frozen=True)
class ProposedGoal:
    """A goal as its teacher proposed it: cell, the grid `[3 W H]` for which it was proposed, and ln pi of it."""

    goal: int
    snapshot: Array
    log_probability: float


@dataclass
class EndedGoals:
    """Goals of n rows that are over, reached or not."""

    rows: NDArray[np.int64]
    snapshot: Array
    """`[n, 3 W H]`: the grid in which each was set"""
    goal: NDArray[np.int64]
    log_probability: NDArray[np.float32]
    """of the goal, as it was set"""
    duration: NDArray[np.int64]
    """k: steps from the goal's setting to its end"""
    reached: NDArray[np.bool_]
    reward: NDArray[np.float32]
    """the environment's, of the step that ended it"""
    evaluation: NDArray[np.bool_]
    swapped_in: NDArray[np.bool_]
    """goals that another agent's teacher proposed"""


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
    ended: EndedGoals


class ActiveGoals:
    """Goals of K copies of a grid of `size` = 3 W H codes.

    A goal is in force until it is reached or its episode ends. `boundary`: what an episode's last step is judged by: the grid in which it
    ended (`terminal_grid`), the first one of the next episode, one tick later (`reset_grid`), or it can't reach a goal (`ignored`). With
    `own` only the agent's own changes reach goals, except in the next episode's first grid, which no agent has changed.
    """

    def __init__(
        self,
        copies: int,
        size: int,
        reached: ReachedRule,
        boundary: Literal["terminal_grid", "reset_grid", "ignored"],
        own: OwnCellChanges | None = None,
    ) -> None:
        self.goal = np.full(copies, -1, np.int64)
        """`[K]`; that of an episode that has ended stays until the next begins"""
        self.duration = np.zeros(copies, np.int64)
        self._reached = reached
        self._boundary = boundary
        self._own = own
        self._before = np.zeros((copies, size), np.uint8)
        """the grid of the last tick"""
        self._snapshot = np.zeros((copies, size), np.uint8)
        self._log_probability = np.zeros(copies, np.float32)
        self._reward = np.zeros(copies, np.float32)
        self._evaluation = np.zeros(copies, bool)
        self._number = np.full(copies, -1, np.int64)
        self._numbers = 0
        self._swapped_in = np.zeros(copies, bool)
        self._live = np.zeros(copies, bool)
        self._waits = np.zeros(copies, bool)
        """ended episodes whose goal is judged by the first grid of the next one"""

    def tick(self, cells: Array, reward: NDArray[np.float32], flags: NDArray[np.uint16], continuous: bool) -> GoalTick:
        """Take `cells[K, 3 W H]`, `reward[K]` and `flags[K]`. Without `continuous` ticks were missed, and the outcome of goals is
        unknown."""
        member, first = (flags & _MEMBER) != 0, (flags & _FIRST) != 0
        ending = (flags & _ENDED) != 0
        if not continuous:
            self._live[:] = self._waits[:] = False
        late = np.zeros(len(flags), bool)
        waited, self._waits = self._waits, np.zeros_like(self._waits)
        rows = np.flatnonzero(waited & member & first)
        late[rows] = self._reached(cells[rows], self._snapshot[rows], self.goal[rows])

        steps = self._live & member & ~first & ((flags & _PARKED) == 0)
        self.duration[steps] += 1
        self._reward[steps] = reward[steps]
        reached = np.zeros(len(flags), bool)
        rows = np.flatnonzero(steps if self._boundary == "terminal_grid" else steps & ~ending)
        reached[rows] = self._reached(cells[rows], self._snapshot[rows], self.goal[rows])
        if self._own is not None:
            reached[rows] &= self._own(cells[rows], self._before[rows], self.goal[rows])
            self._before = cells.copy()
        if self._boundary == "reset_grid":
            self._waits = steps & ending
        over = (steps & (reached | ending) & ~self._waits) | waited
        ended = self._ended(np.flatnonzero(over), reached | late)
        self._live &= steps & ~reached & ~ending
        wanting = member & ~ending & ((flags & _PARKED) == 0) & ~self._live
        going_on = member & ~first & ~ending & ((flags & _PARKED) == 0)
        return GoalTick(reached, late, np.flatnonzero(wanting), going_on, ended)

    def _ended(self, rows: NDArray[np.int64], reached: NDArray[np.bool_]) -> EndedGoals:
        return EndedGoals(
            rows=rows,
            snapshot=self._snapshot[rows],
            goal=self.goal[rows],
            log_probability=self._log_probability[rows],
            duration=self.duration[rows],
            reached=reached[rows],
            reward=self._reward[rows],
            evaluation=self._evaluation[rows],
            swapped_in=self._swapped_in[rows],
        )

    def set(
        self,
        rows: NDArray[np.int64],
        cells: Array,
        goals: NDArray[np.int64],
        log_probability: NDArray[np.float32],
        evaluation: NDArray[np.bool_],
    ) -> None:
        """New goals for n rows, seen in `cells[n, 3 W H]`, chosen with `log_probability[n]`."""
        self._begin(rows, cells, goals)
        self._log_probability[rows] = log_probability
        self._evaluation[rows] = evaluation
        self._number[rows] = np.arange(self._numbers, self._numbers + len(rows))
        self._numbers += len(rows)
        self._swapped_in[rows] = False

    def _begin(self, rows: NDArray[np.int64], cells: Array, goals: NDArray[np.int64]) -> None:
        self.goal[rows] = goals
        self.duration[rows] = 0
        self._snapshot[rows] = cells
        self._live[rows] = True

    # --- exchanged goals --------------------------------------------------------------------------------------------------------------

    def own(self) -> NDArray[np.int64]:
        """`[K]` numbers of the goals in force that were `set`, counted from 0; -1 for none, and in evaluations."""
        return np.where(self._live & ~self._swapped_in & ~self._evaluation, self._number, -1)

    def proposal(self, row: int) -> ProposedGoal:
        """The goal of a row as it was set."""
        return ProposedGoal(int(self.goal[row]), self._snapshot[row].copy(), float(self._log_probability[row]))

    def swap_in(self, rows: NDArray[np.int64], cells: Array, goals: NDArray[np.int64]) -> None:
        """Goals of another agent for n rows of training, in place of the goals in force."""
        self._begin(rows, cells, goals)
        self._swapped_in[rows] = True
        self._evaluation[rows] = False
