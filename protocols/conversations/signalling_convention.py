"""Agreement of the signalling conventions of agents, from a few integers of each: its leading and reading choices.

From its table P `[|G|, |M|]` of goals and messages an agent that chooses greedily leads goal g with argmax_m P[g, m] and reads message m as
argmax_g P[g, m]. Where no cell of the row or column is above zero there is no convention yet: -1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.float64]
Choices = NDArray[np.int32]

UNKNOWN = -1


def leading_choices(table: Table) -> Choices:
    """The message of every goal, `[|G|]`."""
    return np.where(table.max(axis=1) > 0, table.argmax(axis=1), UNKNOWN).astype(np.int32)


def reading_choices(table: Table) -> Choices:
    """The goal of every message, `[|M|]`."""
    return leading_choices(table.T)


def accuracy(leading: NDArray[Any], reading: NDArray[Any]) -> float:
    """1/|G| #{g : reading[leading[g]] = g}: share of the goals that a leader with these choices conveys to a follower with those. A goal
    without message, and a message without goal, convey nothing. `IndexError` for a message that the follower does not know."""
    said = leading != UNKNOWN
    return float((said & (reading[np.where(said, leading, 0)] == np.arange(len(leading)))).mean())
