"""Random numbers of running episodes, of all copies at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray


class EpisodeDraws:
    """Random numbers of K running episodes, `[K, *shape]` at each step. Each copy uses the generator of its own episode, in blocks:
    `draw(generator, steps)` makes `[steps, *shape]`."""

    def __init__(
        self, copies: int, shape: tuple[int, ...], draw: Callable[[np.random.Generator, int], NDArray[Any]], block: int = 8
    ) -> None:
        self._draw, self._block = draw, block
        self._drawn = np.zeros((copies, block, *shape))
        self._next = np.zeros(copies, np.intp)
        self._rows = np.arange(copies)
        self._generators: list[np.random.Generator | None] = [None] * copies

    def begin(self, copy: int, generator: np.random.Generator) -> None:
        """From now on this copy draws from `generator`."""
        self._generators[copy], self._next[copy] = generator, self._block

    def next(self) -> NDArray[np.float64]:
        """The numbers of the next step of all copies; 0 for a copy that has had no episode yet."""
        for copy in np.flatnonzero(self._next == self._block).tolist():
            if (generator := self._generators[copy]) is not None:
                self._drawn[copy] = self._draw(generator, self._block)
            self._next[copy] = 0
        drawn: NDArray[np.float64] = self._drawn[self._rows, self._next]
        self._next += 1
        return drawn
