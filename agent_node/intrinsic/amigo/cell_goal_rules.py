"""When a goal that is a cell of a grid has been reached."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from agent_node.contracts import Array
from protocols.spaces.grid_space import AGENT, AHEAD, CHANNELS

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
