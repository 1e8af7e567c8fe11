"""When have all agents come to the same vector? Not when one's own stands still: on slow graphs that is long before they agree.

Every agent compares r = 8 random +-1 projections of its vector, the same at all agents. They have agreed when max - min <= tolerance
(1 + |max|) over all agents holds for each of the projections.

In a conversation without rounds an agent publishes these projections as a report when its estimate hardly changes any more and differs from
the last report. Reports are sent in a ledger of their own, 64 bytes for each agent: loss, delay or order of arrival can only delay them,
and estimates that agree with a delayed report are equal.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

import numpy as np
from numpy.typing import NDArray

from protocols.averaging.projection_sketch import Projection
from protocols.statistics.ledger import Ledger

ROWS = 8
"""r"""
SEED = 20250711
"""of the projections, the same for all agents"""
FAR = 1e150
"""what a lower and an upper limit are that nothing can agree with"""

Projected = NDArray[np.float64]


class ConvergenceTest:
    """Projections, and the rule."""

    def __init__(self, tolerance: float) -> None:
        self.tolerance = tolerance
        self._projection = Projection(SEED, ROWS)

    def project(self, vector: NDArray[np.float64]) -> Projected:
        """Projections `[r]` of a vector `[d]` on fixed random directions, which are the same at all agents."""
        return self._projection.sketch(vector)

    def agree(self, low: Projected, high: Projected) -> bool:
        """Whether limits of the projections, `[r]` each, are close enough."""
        return bool(np.all(high - low <= self.tolerance * (1.0 + np.abs(high))))


class AgreementDetector:
    """One agent's side: its own report and those received, in the ledger `words` of payloads `[r]`."""

    def __init__(self, words: Ledger, yardstick: ConvergenceTest) -> None:
        self.words = words
        self._convergence_test = yardstick
        self._said: Projected | None = None
        self._before = np.full(ROWS, inf)
        """projections of the estimate at the last call of `report`"""

    def report(self, projected: Projected, now: float) -> None:
        """The estimate has changed: publish its projections if it hardly changes, and differs from the last report."""
        still = self._convergence_test.agree(np.minimum(projected, self._before), np.maximum(projected, self._before))
        self._before = projected
        quarter = 0.25 * self._convergence_test.tolerance * (1.0 + np.abs(projected))
        if still and (self._said is None or bool(np.any(np.abs(projected - self._said) > quarter))):
            self._said = projected
            self.words.publish(projected, 0, now)

    def began(self) -> bool:
        """Whether there was an estimate."""
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
