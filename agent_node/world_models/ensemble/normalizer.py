"""Running mean and standard deviation of what a network takes and gives."""

from __future__ import annotations

import torch

from agent_node.learners.library.devices import CPU

RATE = 1e-3
SMALLEST_DEVIATION = 1e-4


class Normalizer:
    """First two moments of each component, as running sums in one vector `[1 + 2 * size]`: a weight a, then sums s and q.

    Each batch adds r (1, its mean, its mean square), r = 0.001, and from a = 1 on the older ones fade by 1 - r at the same time:

        mean = s / a,   deviation = sqrt(q / a - (s / a)^2),

    the plain moments of the first thousand batches, and running ones later.

    Sums are what neighbours may average: any sum of theirs with weights that are not negative has the moments of the data so weighted,
    whenever each agent began to learn, and also where rows were added while a round was open, whose change is added to the newest sums.
    Moments themselves must not be averaged: two changes that each reach the moments of the data overshoot them when they are added, and a
    mean square below the square of the mean belongs to no data.
    """

    def __init__(self, size: int, device: torch.device = CPU) -> None:
        self.vector = torch.zeros(1 + 2 * size, device=device)
        self._weight, self._sum, self._squares = self.vector[:1], self.vector[1 : 1 + size], self.vector[1 + size :]

    def update(self, rows: torch.Tensor) -> None:
        """Update the running mean and variance by the rows of a batch `[n, size]`."""
        batch = torch.cat([torch.ones_like(self._weight), rows.mean(dim=0), rows.square().mean(dim=0)])
        self.vector.mul_(torch.where(self._weight < 1, 1.0, 1.0 - RATE)).add_(batch, alpha=RATE)

    @property
    def mean(self) -> torch.Tensor:
        """`[size]`; zero before the first batch."""
        return torch.where(self._weight > 0, self._sum / self._weight, 0.0)

    @property
    def deviation(self) -> torch.Tensor:
        """`[size]` standard deviation, at least 0.0001; one before the first batch."""
        variance = torch.where(self._weight > 0, self._squares / self._weight - self.mean.square(), 1.0)
        return variance.clamp_(min=SMALLEST_DEVIATION**2).sqrt_()

    def apply(self, rows: torch.Tensor) -> torch.Tensor:
        """Rows in units of the deviation, around the mean; outliers are cut at 8."""
        return ((rows - self.mean) / self.deviation).clamp_(-8, 8)
