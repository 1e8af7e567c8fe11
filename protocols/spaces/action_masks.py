"""Action masks: which choices of discrete factors are legal.

Of factors with n_1, ..., n_A choices a mask has n_1 + ... + n_A components, factor after factor: above 0.5 where the choice is legal.
A factor without any legal choice counts as one in which all are: no action can be chosen otherwise, and none matters then. (PettingZoo's
convention is a mask of zeros for agents whose turn it is not.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Bits = NDArray[np.bool_]
LEGAL = 0.5
"""components of a mask above it are legal choices"""


def legal_choices(mask: NDArray[Any], factors: Sequence[int]) -> list[Bits]:
    """From `mask[n, sum(factors)]` for each factor whether its choices are legal, `[n, n_f]` with at least one True in every row."""
    parts = np.split(np.asarray(mask) > LEGAL, np.cumsum(factors)[:-1], axis=1)
    return [part | ~part.any(axis=1, keepdims=True) for part in parts]


def are_legal(action: NDArray[Any], mask: NDArray[Any], factors: Sequence[int]) -> Bits:
    """Whether each row of `action[n, A]` consists of legal choices, `[n]`."""
    rows = np.arange(len(action))
    taken = [legal[rows, action[:, factor]] for factor, legal in enumerate(legal_choices(mask, factors))]
    found: Bits = np.all(np.stack(taken), axis=0)
    return found


def draw_legal(mask: NDArray[Any], factors: Sequence[int], random: np.random.Generator) -> NDArray[np.int32]:
    """Actions `[n, A]`, uniform among the legal ones of each row of `mask[n, sum(factors)]`."""
    drawn = []
    for legal in legal_choices(mask, factors):
        place = (random.random(len(legal)) * legal.sum(axis=1)).astype(np.int64)
        drawn.append((legal.cumsum(axis=1) > place[:, None]).argmax(axis=1))
    return np.stack(drawn, axis=1).astype(np.int32)
