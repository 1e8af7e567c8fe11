"""All additive statistics of an agent's world model, as one vector."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from agent_node.contracts import AdditiveStatistics

Vector = NDArray[np.float64]


class CombinedStatistics:
    """The statistics of `parts` one behind the other; `AdditiveStatistics` as each of them. `ValueError` for no parts."""

    def __init__(self, parts: Sequence[AdditiveStatistics]) -> None:
        if not parts:
            raise ValueError("no additive statistics")
        self._parts = tuple(parts)
        self._ends = np.cumsum([part.statistics().size for part in parts])[:-1]

    @property
    def basis_id(self) -> str:
        """The part's own, or a hash of all."""
        ids = [part.basis_id for part in self._parts]
        return ids[0] if len(ids) == 1 else blake2b("\0".join(ids).encode(), digest_size=32).hexdigest()

    @property
    def transitions(self) -> int:
        """Own ones absorbed so far."""
        return max(part.transitions for part in self._parts)

    def statistics(self) -> Vector:
        """All sums over the own transitions, `[P]`."""
        return np.concatenate([part.statistics() for part in self._parts])

    def check(self, vector: Vector) -> None:
        """`ValueError` with the reason why this can't be one agent's sums."""
        for part, numbers in zip(self._parts, self._cut(vector), strict=True):
            part.check(numbers)

    def published(self) -> None:
        """The own sums as they are now were sent (`AdditiveStatistics.published`)."""
        for part in self._parts:
            part.published()

    def use(self, total: Vector, complete: bool) -> None:
        """Rest on the sum over all agents (`AdditiveStatistics.use`)."""
        for part, numbers in zip(self._parts, self._cut(total), strict=True):
            part.use(numbers, complete)

    def _cut(self, vector: Vector) -> list[Vector]:
        return np.split(vector, self._ends)
