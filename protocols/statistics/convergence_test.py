"""When have all agents come to the same vector? Not when one's own stands still: on slow graphs that is long before they agree.

Every agent compares r = 8 random +-1 projections of its vector, the same at all agents. They have agreed when max - min <= tolerance
(1 + |max|) over all agents holds for each of the projections.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from protocols.averaging.projection_sketch import Projection

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
