"""Whether all agents have come to the same vector, in a conversation without rounds: words that everybody hears of everybody.

A word is what `protocols.statistics.convergence_test` compares: the projections of an agent's estimate. It is told when the estimate
hardly moves
any more and is not what was told last. Words travel in a ledger of their own, 64 bytes for each agent: no loss, delay or order of arrival
makes them wrong, only late, and estimates that agree with a word that is late are equal all the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

import numpy as np

from protocols.statistics.convergence_test import ROWS, ConvergenceTest, Projected
from protocols.statistics.ledger import Ledger


class AgreementDetector:
    """One agent's side of it: its own word, and those that it has heard, in the ledger `words` of payloads `[r]`."""

    def __init__(self, words: Ledger, yardstick: ConvergenceTest) -> None:
        self.words = words
        self._convergence_test = yardstick
        self._said: Projected | None = None
        self._before = np.full(ROWS, inf)
        """projections of the estimate when `say` was called last"""

    def say(self, projected: Projected, now: float) -> None:
        """The estimate is another one: tell its projections if it stands still, and is not what was told last."""
        still = self._convergence_test.agree(np.minimum(projected, self._before), np.maximum(projected, self._before))
        self._before = projected
        quarter = 0.25 * self._convergence_test.tolerance * (1.0 + np.abs(projected))
        if still and (self._said is None or bool(np.any(np.abs(projected - self._said) > quarter))):
            self._said = projected
            self.words.publish(projected, 0, now)

    def began(self) -> bool:
        """Whether there has been an estimate to speak of."""
        return bool(np.isfinite(self._before).all())

    def reached(self, projected: Projected, members: Iterable[str]) -> bool:
        """Whether the own estimate, of these projections, agrees with the newest word of every member."""
        low = high = projected
        for member in members:
            word = self.words.entry(member)
            if word is None:
                return False
            if word.payload.size:  # else it has left
                low, high = np.minimum(low, word.payload), np.maximum(high, word.payload)
        return self._convergence_test.agree(low, high)
