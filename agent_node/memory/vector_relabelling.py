"""Hindsight for vector goals: steps are relabelled with points that the own body achieved in the same episode.

Strategies (Andrychowicz et al., arXiv 1707.01495): `future` takes a uniform later row of the own part, `final` the last one, `episode` any
row. Those that need the traces of partners offer no vector goals. Where episodes end at their goals, a step that already stands on the
drawn goal keeps its own: its trajectory would have ended there.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from agent_node.contracts import Array
from agent_node.exchange.settings import Strategy
from protocols.spaces.vector_goals import VectorGoals

OWN_TRAJECTORY: tuple[Strategy, ...] = ("future", "final", "episode")
Rows = NDArray[np.int64]


class VectorRelabelling:
    """What the own body achieved at each of `rows` rows of a replay buffer, and the goals that follow from it."""

    def __init__(self, space: VectorGoals, rows: int) -> None:
        self.space = space
        self.achieved = np.zeros((rows, space.achieved_size), np.float32)
        self.end: Rows = np.zeros(rows, np.int64)
        """row behind the episode of each row"""

    def add(self, start: int, end: int, achieved: Array) -> None:
        """An episode fills the rows `start` to `end`."""
        self.achieved[start:end] = achieved[: end - start]
        self.end[start:end] = end

    def draw(
        self, rows: Rows, start: Rows, strategies: Sequence[Strategy], random: np.random.Generator
    ) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        """For steps that begin at `rows[n]` of the episodes that begin at `start[n]`: (which can be relabelled `[n]`, goals `[n, D]`)."""
        usable = [strategy for strategy in OWN_TRAJECTORY if strategy in strategies]
        if not usable:
            return np.zeros(len(rows), bool), np.zeros((len(rows), self.space.achieved_size), np.float32)
        choice, place = random.integers(len(usable), size=len(rows)), random.random(len(rows))
        end = self.end[rows]
        taken = rows.copy()
        for number, strategy in enumerate(usable):
            mine = choice == number
            first = {"future": rows + 1, "final": end - 1, "episode": start}[strategy]
            taken[mine] = (first + place * (end - first)).astype(np.int64)[mine]
        goals = self.achieved[np.minimum(taken, end - 1)]
        possible = np.ones(len(rows), bool)
        if self.space.ends:
            possible = ~self.space.reached(self.achieved[rows], goals)
        return possible, goals

    def outcome(self, rows: Rows, goals: Array) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """(reward `[n]`, goal reached `[n]`) of the steps that begin at `rows[n]`, for `goals[n, D]`; NaN: no goal, no reward."""
        following, known = self.achieved[rows + 1], ~np.isnan(goals).any(axis=-1)
        reward = np.zeros(len(rows), np.float32)
        if known.any():
            reward[known] = self.space.compute_reward(following[known], goals[known])
        return reward, self.space.reached(following, goals)
