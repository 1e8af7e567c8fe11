"""Running mean and standard deviation of what a network takes and gives."""

from __future__ import annotations

import torch

from agent_node.devices import CPU

SLOWEST_RATE = 1e-3
SMALLEST_DEVIATION = 1e-4


class Normalizer:
    """First two moments of each component, kept in one vector `[2 * size]` (means, then mean squares).

    Update k moves the moments by the share max(1 / k, 0.001) toward those of the batch: the plain mean at first, later a slow running one.
    Moments, not deviations, are what neighbours may average: the average of moments is that of the joined data.
    """

    def __init__(self, size: int, device: torch.device = CPU) -> None:
        self.vector = torch.cat([torch.zeros(size, device=device), torch.ones(size, device=device)])
        self._mean, self._square = self.vector[:size], self.vector[size:]
        self.updates = 0

    def update(self, rows: torch.Tensor) -> None:
        """Take in a batch `[n, size]`."""
        self.updates += 1
        rate = max(1 / self.updates, SLOWEST_RATE)
        self._mean.lerp_(rows.mean(dim=0), rate)
        self._square.lerp_(rows.square().mean(dim=0), rate)

    @property
    def mean(self) -> torch.Tensor:
        """`[size]`"""
        return self._mean

    @property
    def deviation(self) -> torch.Tensor:
        """`[size]` standard deviation, at least 0.0001"""
        return (self._square - self._mean.square()).clamp_(min=SMALLEST_DEVIATION**2).sqrt_()

    def apply(self, rows: torch.Tensor) -> torch.Tensor:
        """Rows in units of the deviation, around the mean; outliers are cut at 8."""
        return ((rows - self.mean) / self.deviation).clamp_(-8, 8)
