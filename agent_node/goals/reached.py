"""When a goal that is a cell of a grid has been reached."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from agent_node.contracts import Array
from protocols.grids import AGENT, CHANNELS

Reached = Callable[[Array, Array, NDArray[np.int64]], NDArray[np.bool_]]
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


RULES: dict[str, Reached] = {"changed": changed, "position": occupied}
"""by the names of the settings"""
