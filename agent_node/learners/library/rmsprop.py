"""RMSProp on one parameter vector, as actor-critics of the IMPALA family use it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import torch

from agent_node.learners.library.flat_networks import restore
from agent_node.learners.library.settings import RMSPropSettings


class RMSProp:
    """m <- decay m + (1 - decay) g^2,  vector -= rate * g / (sqrt(m) + epsilon), g the gradient, scaled down to `norm` where it is longer.
    With `momentum` mu: b <- mu b + g / (sqrt(m) + epsilon), vector -= rate * b."""

    def __init__(
        self,
        vector: torch.Tensor,
        gradient: torch.Tensor,
        rate: float,
        norm: float,
        decay: float = 0.99,
        epsilon: float = 0.01,
        momentum: float = 0.0,
    ) -> None:
        self.vector, self.gradient, self.rate, self.norm = vector, gradient, rate, norm
        self.decay, self.epsilon, self.momentum = decay, epsilon, momentum
        self.mean_square = torch.zeros_like(vector)
        self.velocity = torch.zeros_like(vector if momentum else vector[:0])

    @classmethod
    def of(cls, settings: RMSPropSettings, vector: torch.Tensor, gradient: torch.Tensor) -> Self:
        """As `settings` have it; `decay_steps` is left to who calls `step`, by its `share`."""
        return cls(vector, gradient, settings.learning_rate, settings.max_grad_norm, settings.decay, settings.epsilon, settings.momentum)

    @torch.no_grad()
    def step(self, share: float = 1.0) -> float:
        """Move the parameters by the gradient at `share` of the rate, and clear it; the gradient's length before it was scaled."""
        length = torch.linalg.vector_norm(self.gradient)
        self.gradient.mul_((self.norm / (length + 1e-8)).clamp_(max=1.0))
        self.mean_square.mul_(self.decay).addcmul_(self.gradient, self.gradient, value=1 - self.decay)
        denominator = self.mean_square.sqrt().add_(self.epsilon)
        if self.momentum:
            self.velocity.mul_(self.momentum).addcdiv_(self.gradient, denominator)
            self.vector.add_(self.velocity, alpha=-self.rate * share)
        else:
            self.vector.addcdiv_(self.gradient, denominator, value=-self.rate * share)
        self.gradient.zero_()
        return float(length)

    def state(self, name: str) -> dict[str, torch.Tensor]:
        """Its tensors, under names that begin with `name`."""
        return {f"{name}.mean_square": self.mean_square, f"{name}.velocity": self.velocity}

    def load(self, name: str, state: Mapping[str, torch.Tensor]) -> None:
        """Restore the tensors that `state(name)` returned, in place. `ValueError` names what is missing or has another shape."""
        restore({f"{name}.mean_square": self.mean_square, f"{name}.velocity": self.velocity}, state)


def remaining(done: int, total: int | None) -> float:
    """1 - min(done, total) / total: the share that a quantity which falls linearly to 0 still has; 1 without a total."""
    return 1.0 if total is None else 1 - min(done, total) / total
