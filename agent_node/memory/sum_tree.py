"""Numbers that rows are drawn in proportion to, with updates and draws in O(log rows)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class SumTree:
    """A binary tree whose leaves are the weights of `rows` rows, and whose inner nodes are the sums of their two children."""

    def __init__(self, rows: int) -> None:
        self._leaves = 1 << max(0, rows - 1).bit_length()
        self._sums = np.zeros(2 * self._leaves, np.float64)

    @property
    def total(self) -> float:
        """Sum of all weights."""
        return float(self._sums[1])

    def weights(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Weights of these rows."""
        values: NDArray[np.float64] = self._sums[self._leaves + rows]
        return values

    def update(self, rows: NDArray[np.int64], weights: NDArray[np.float64] | float) -> None:
        """Give `rows[n]` these weights, >= 0."""
        nodes = self._leaves + rows
        self._sums[nodes] = weights
        while len(nodes) and nodes[0] > 1:
            nodes = np.unique(nodes >> 1)
            self._sums[nodes] = self._sums[2 * nodes] + self._sums[2 * nodes + 1]

    def draw(self, n: int, random: np.random.Generator) -> NDArray[np.int64]:
        """n rows with replacement, each with probability weight / total; one from each of n equal parts of the total. `ValueError` where
        all weights are 0."""
        if self.total <= 0:
            raise ValueError("all rows have weight 0; give some a weight before drawing")
        wanted = (np.arange(n) + random.random(n)) * (self.total / n)
        nodes = np.ones(n, np.int64)
        while nodes[0] < self._leaves:
            left = self._sums[2 * nodes]
            # Rounding can leave a little more than what a subtree holds; one without any weight is never entered.
            right = (wanted >= left) & (self._sums[2 * nodes + 1] > 0)
            wanted -= np.where(right, left, 0.0)
            nodes = 2 * nodes + right
        return nodes - self._leaves
