"""Running moments of value targets, by which PPO and IMPALA normalise them."""

from __future__ import annotations

import torch


class TargetMoments:
    """Running first and second moments of value targets: x <- 0.9 x + 0.1 mean of a rollout, divided by the sum of the weights so far.
    The standard deviation is at least min(1, r / p) with r the largest |reward| so far and p the share of rewards that were not 0, and at
    least 1 before the first of these: where rewards are rare the deviation of targets is that of noise, and scaling it up keeps a policy
    from finding them."""

    KEPT = 0.9

    def __init__(self, device: torch.device) -> None:
        self.sums = torch.zeros(3, device=device)
        """weighted sums of targets, of their squares, and of the weights"""
        self.rewards = torch.zeros(3, dtype=torch.float64, device=device)
        """number of rewards so far, of those that were not 0, and the largest absolute value"""

    def update(self, target: torch.Tensor, reward: torch.Tensor) -> None:
        """Take the targets `[n]` of one rollout, and its rewards `[n]`."""
        new = torch.stack([target.mean(), target.square().mean(), torch.ones_like(target[0])])
        self.sums.lerp_(new, 1 - self.KEPT)
        self.rewards[0] += len(reward)
        self.rewards[1] += reward.count_nonzero()
        self.rewards[2].clamp_min_(reward.abs().max().double())

    def center_and_scale(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation; 0 and 1 before the first rollout."""
        if not self.sums[2]:
            return self.sums[0], torch.ones_like(self.sums[0])
        mean, square = self.sums[:2] / self.sums[2]
        number, paid, largest = self.rewards.tolist()
        least = min(1.0, largest * number / paid) if paid else 1.0
        return mean, (square - mean.square()).clamp_min(0.0).sqrt().clamp_min(least)
