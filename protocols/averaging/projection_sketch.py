"""Estimate of the distance between models from a few numbers of each.

A sketch is the image R x of a vector under a random matrix R in {-1, +1}^(s x d) / sqrt(s), the same for all agents. It is linear and
keeps squared lengths in the mean, E |R x|^2 = |x|^2 with Var |R x|^2 = (2 / s)(|x|^4 - sum_k x_k^4) (Achlioptas 2003), so that
s numbers of each agent suffice to estimate their disagreement without the models.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Sketch = NDArray[np.float64]

ROWS = 32
"""s: numbers in a sketch; the estimate of one squared length has the relative standard deviation sqrt(2 / s), 25 %"""
_BLOCK = 8192
_SIGNS = 2.0 * np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1) - 1.0


class Projection:
    """R for a seed and any dimension d. Columns come in blocks of 8192 from a counter-based generator (Philox, keyed by the seed,
    its counter the block's number), so that none but the present block need be in memory; the first `cache` bytes of sign bits are kept.
    """

    def __init__(self, seed: int, rows: int = ROWS, cache: int = 4 * 2**20) -> None:
        if rows % 8 or rows <= 0:
            raise ValueError(f"{rows} rows are not a positive multiple of 8")
        self.rows = rows
        self._seed = seed
        self._cache = cache
        self._kept: dict[int, NDArray[np.uint8]] = {}

    def sketch(self, vector: Array) -> Sketch:
        """R x for a vector `[d]`, `[s]` float64."""
        total = np.zeros(self.rows)
        for block, start in enumerate(range(0, len(vector), _BLOCK)):
            part = np.asarray(vector[start : start + _BLOCK], np.float64)
            total += part @ self._signs(block, len(part))
        sketch: Sketch = total / np.sqrt(self.rows)
        return sketch

    def _signs(self, block: int, columns: int) -> Array:
        """Transposed columns of sqrt(s) R, `[columns, s]`."""
        bits = self._kept.get(block)
        if bits is None:
            generator = np.random.Generator(np.random.Philox(key=self._seed, counter=[0, 0, 0, block]))
            bits = generator.integers(0, 256, (_BLOCK, self.rows // 8), np.uint8)
            if (len(self._kept) + 1) * bits.nbytes <= self._cache:
                self._kept[block] = bits
        return _SIGNS[bits[:columns]].reshape(columns, self.rows)


def disagreement(vectors: Array) -> float:
    """Root mean square distance to the mean, sqrt(1/n sum_i |x_i - mean|^2), of the rows of `[n, d]`.

    Given sketches `[n, s]` it estimates that of the vectors they were made of.
    """
    rows = np.asarray(vectors, np.float64)
    return float(np.sqrt(np.square(rows - rows.mean(axis=0)).sum(axis=1).mean()))
