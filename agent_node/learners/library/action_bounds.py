"""Bounds of continuous actions: learners compute in [-1, 1]^A."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from agent_node.contracts import PolicySpec
from agent_node.learners.library.devices import CPU
from protocols.runtime.errors import ConfigurationError


class ActionBounds:
    """Maps actions `[n, A]` between [-1, 1] and the environment's bounds: middle + half * a."""

    def __init__(self, policy_spec: PolicySpec, learner: str, device: torch.device = CPU) -> None:
        if not policy_spec.low:
            raise ConfigurationError(f"learner {learner} needs continuous actions, and this environment's are discrete; write discrete_sac")
        bounds = list(zip(policy_spec.low, policy_spec.high, strict=True))
        self.device, self.size = device, len(bounds)
        self.middle = torch.tensor([(low + high) / 2 for low, high in bounds], device=device)
        self.half = torch.tensor([(high - low) / 2 for low, high in bounds], device=device)

    def outward(self, action: torch.Tensor) -> NDArray[np.float32]:
        """From [-1, 1] to the environment's bounds."""
        outward: NDArray[np.float32] = (self.middle + self.half * action).cpu().numpy()
        return outward

    def inward(self, action: torch.Tensor) -> torch.Tensor:
        """From the environment's bounds to [-1, 1]; what is beyond the bounds is clipped."""
        return ((action - self.middle) / self.half).clamp(-1, 1)

    def uniform(self, rows: int, random: np.random.Generator) -> NDArray[np.float32]:
        """`[rows, A]` uniform within the environment's bounds."""
        uniform = torch.from_numpy(random.uniform(-1, 1, (rows, self.size)).astype(np.float32))
        return self.outward(uniform.to(self.device))
