"""Averaging rule `median_step`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from swarm_extras.components import MedianStepSettings


def median_step(own: NDArray[Any], neighbours: NDArray[Any], weights: NDArray[Any], settings: MedianStepSettings) -> NDArray[Any]:
    """x_i += step_size * median over j, in each coordinate, of (x_j - x_i).

    own: [d]; neighbours: [n, d]; weights: [n], W_ij of each neighbour. Returns the update of x_i, float64 [d].
    """
    update: NDArray[Any] = settings.step_size * np.median(neighbours - own, axis=0)
    return update
