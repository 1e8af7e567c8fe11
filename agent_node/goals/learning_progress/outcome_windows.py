"""Whether one gets better at something: the newest outcomes of many things, each against those before them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from agent_node.contracts import Array


class OutcomeWindows:
    """Of the outcomes o in {0, 1} of each of `cells` things the newest 2w, w = `window`, and their learning progress

        LP = mean of the newest w - mean of the w before them.

    A cell with n < 2w outcomes is judged by halves of n // 2 (0 while there are fewer than two).
    """

    def __init__(self, cells: int, window: int) -> None:
        self._window = window
        self._kept = 2 * window
        self._outcomes: NDArray[np.uint8] = np.zeros((cells, self._kept), np.uint8)
        """of each cell a ring: outcome n stands in column n modulo 2w"""
        self._counts: NDArray[np.int64] = np.zeros(cells, np.int64)
        self.progress: NDArray[np.float64] = np.zeros(cells)
        """LP of every cell, in [-1, 1]"""

    def add(self, cell: int, success: bool) -> None:
        """One more outcome."""
        self._outcomes[cell, self._counts[cell] % self._kept] = success
        self._counts[cell] += 1
        self.progress[cell] = self._measure(cell)

    def state(self) -> dict[str, Array]:
        """Everything, as arrays."""
        return {"outcomes": self._outcomes.copy(), "counts": self._counts.copy()}

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Restore; `ValueError` when it is of other cells or another window."""
        if state["outcomes"].shape != self._outcomes.shape:
            raise ValueError(f"outcomes has shape {list(state['outcomes'].shape)} in the state and {list(self._outcomes.shape)} here")
        self._outcomes, self._counts = state["outcomes"].astype(np.uint8), state["counts"].astype(np.int64)
        self.progress = np.array([self._measure(cell) for cell in range(len(self._counts))])

    def _measure(self, cell: int) -> float:
        count = int(self._counts[cell])
        half = min(self._window, count // 2)
        if half == 0:
            return 0.0
        newest = self._outcomes[cell, np.arange(count - 2 * half, count) % self._kept]
        return float(newest[half:].mean() - newest[:half].mean())


def proportional(size: NDArray[np.float64], uniform: float) -> NDArray[np.float64]:
    """eps / n + (1 - eps) size / sum of size, eps = `uniform`; 1 / n where all of `size[n]` is 0."""
    total, count = size.sum(), len(size)
    if total == 0:
        return np.full(count, 1 / count)
    mixed: NDArray[np.float64] = uniform / count + (1 - uniform) * size / total
    return mixed
