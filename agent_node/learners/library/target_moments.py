"""Running moments of value targets, by which PPO and IMPALA normalise them."""

from __future__ import annotations

import torch


class TargetMoments:
    """Running first and second moments of value targets: x <- 0.9 x + 0.1 mean of a rollout, divided by the sum of the weights so far.
    Where rewards are rare and small their deviation is that of noise, and scaling it up keeps a policy from finding them."""

    KEPT, LEAST_VARIANCE = 0.9, 1.0

    def __init__(self, device: torch.device) -> None:
        self.sums = torch.zeros(3, device=device)
        """weighted sums of targets, of their squares, and of the weights"""

    def update(self, target: torch.Tensor) -> None:
        """Take the targets `[n]` of one rollout."""
        new = torch.stack([target.mean(), target.square().mean(), torch.ones_like(target[0])])
        self.sums.lerp_(new, 1 - self.KEPT)

    def center_and_scale(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation; 0 and 1 before the first rollout."""
        if not self.sums[2]:
            return self.sums[0], torch.ones_like(self.sums[0])
        mean, square = self.sums[:2] / self.sums[2]
        return mean, (square - mean.square()).clamp_min(self.LEAST_VARIANCE).sqrt()
