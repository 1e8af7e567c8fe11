"""Optimisers on one parameter vector, and the state of components that learn by them.

They are used instead of `torch.optim` because updates of small networks are faster with them. `python benchmarks/optimisers.py` (two cores
of an AMD EPYC under load, torch 2.13, one thread, CPU time, ratios within a turn, median of 9 turns with least and greatest): with
`torch.optim.Adam(fused=True)` on the same flat vector an update of double DQN takes 1.19 (1.05 to 1.22) times as long, and one of PPO 1.25
(1.00 to 1.29) times; with `foreach=True` 1.37 (1.27 to 1.51) and 1.38 (1.15 to 1.66) times. The step alone takes 1.7 to 3.4 times as long.
`tests/agent_node/learners/test_q_learners.py` compares their results with those of `torch.optim`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Self

import torch

from agent_node.contracts import Component, State
from agent_node.learners.settings import RMSPropSettings


@torch.no_grad()
def restore(live: Mapping[str, torch.Tensor], state: Mapping[str, torch.Tensor]) -> None:
    """Copy `state` into the live tensors of the same names; `ValueError` names what is missing or has another shape."""
    for name, tensor in live.items():
        if name not in state:
            raise ValueError(f"{name} is missing in the state")
        if state[name].shape != tensor.shape:
            raise ValueError(f"{name} has shape {list(state[name].shape)} in the state and {list(tensor.shape)} here")
        tensor.copy_(state[name])


class FlatOptimiser:
    """What changes `vector` by `gradient`, at `rate`. Gradients longer than `norm` are scaled down to it."""

    def __init__(self, vector: torch.Tensor, gradient: torch.Tensor, rate: float, norm: float) -> None:
        self.vector, self.gradient, self.rate, self.norm = vector, gradient, rate, norm
        self.moments: dict[str, torch.Tensor] = {}
        """running moments of the gradient, by their names in a checkpoint"""

    def _clip(self) -> torch.Tensor:
        """Scale the gradient; its length before."""
        length: torch.Tensor = torch.linalg.vector_norm(self.gradient)
        self.gradient.mul_((self.norm / (length + 1e-8)).clamp_(max=1.0))
        return length

    def state(self, name: str) -> State:
        """Its tensors, under names that begin with `name`."""
        return {f"{name}.{moment}": tensor for moment, tensor in self.moments.items()}

    def load(self, name: str, state: Mapping[str, torch.Tensor]) -> None:
        """Restore the tensors that `state(name)` returned, in place. `ValueError` names a moment that is missing or has another shape."""
        restore(self.state(name), state)


class Adam(FlatOptimiser):
    """Adam (Kingma & Ba, arXiv 1412.6980): m, v the running first and second moments of the gradient g, vector -= rate * m' / (sqrt(v')
    + 1e-8) with m' = m / (1 - 0.9^t), v' = v / (1 - 0.999^t)."""

    def __init__(self, vector: torch.Tensor, gradient: torch.Tensor, rate: float, norm: float) -> None:
        super().__init__(vector, gradient, rate, norm)
        self.first, self.second = torch.zeros_like(vector), torch.zeros_like(vector)
        self.moments = {"first": self.first, "second": self.second}
        self.steps = 0

    @torch.no_grad()
    def step(self, share: float = 1.0) -> None:
        """One step at `share` of the learning rate. The gradient is zero afterwards."""
        self.steps += 1
        self._clip()
        self.first.lerp_(self.gradient, 0.1)
        self.second.mul_(0.999).addcmul_(self.gradient, self.gradient, value=0.001)
        correction = (1 - 0.999**self.steps) ** 0.5
        denominator = self.second.sqrt().add_(1e-8 * correction)
        self.vector.addcdiv_(self.first, denominator, value=-share * self.rate * correction / (1 - 0.9**self.steps))
        self.gradient.zero_()

    def state(self, name: str) -> State:
        """Moments and number of steps, under names that begin with `name`."""
        return super().state(name) | {f"{name}.steps": torch.tensor([self.steps])}

    def load(self, name: str, state: Mapping[str, torch.Tensor]) -> None:
        """Restore what `state(name)` returned, in place. `ValueError` names what is missing or has another shape."""
        restored = self.state(name)
        restore(restored, state)
        self.steps = int(restored[f"{name}.steps"])


class RMSProp(FlatOptimiser):
    """RMSProp, as actor-critics of the IMPALA family use it: m <- decay m + (1 - decay) g^2,  vector -= rate * g / (sqrt(m) + epsilon), g
    the gradient. With `momentum` mu: b <- mu b + g / (sqrt(m) + epsilon), vector -= rate * b."""

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
        super().__init__(vector, gradient, rate, norm)
        self.decay, self.epsilon, self.momentum = decay, epsilon, momentum
        self.mean_square, self.velocity = torch.zeros_like(vector), torch.zeros_like(vector if momentum else vector[:0])
        self.moments = {"mean_square": self.mean_square, "velocity": self.velocity}

    @classmethod
    def of(cls, settings: RMSPropSettings, vector: torch.Tensor, gradient: torch.Tensor) -> Self:
        """As `settings` have it; `decay_steps` is left to who calls `step`, by its `share`."""
        return cls(vector, gradient, settings.learning_rate, settings.max_grad_norm, settings.decay, settings.epsilon, settings.momentum)

    @torch.no_grad()
    def step(self, share: float = 1.0) -> float:
        """Move the parameters by the gradient at `share` of the rate, and clear it; the gradient's length before it was scaled."""
        length = self._clip()
        self.mean_square.mul_(self.decay).addcmul_(self.gradient, self.gradient, value=1 - self.decay)
        denominator = self.mean_square.sqrt().add_(self.epsilon)
        if self.momentum:
            self.velocity.mul_(self.momentum).addcdiv_(self.gradient, denominator)
            self.vector.add_(self.velocity, alpha=-self.rate * share)
        else:
            self.vector.addcdiv_(self.gradient, denominator, value=-self.rate * share)
        self.gradient.zero_()
        return float(length)


def remaining(done: int, total: int | None) -> float:
    """1 - min(done, total) / total: the share that a quantity which falls linearly to 0 still has; 1 without a total."""
    return 1.0 if total is None else 1 - min(done, total) / total


class FlatComponent(Component, ABC):
    """A component whose state is live tensors, optimisers and integers: its checkpoints."""

    counters: ClassVar[tuple[str, ...]] = ("updates",)
    """attributes that are integers"""
    optimisers: Mapping[str, Adam | RMSProp]
    """by their names in a checkpoint"""

    @abstractmethod
    def live(self) -> State:
        """Tensors by their names in a checkpoint; they are restored in place."""

    def state_dict(self) -> State:
        """Networks, moments of the optimisers, counters."""
        state = self.live() | {name: torch.tensor([getattr(self, name)]) for name in self.counters}
        for name, optimiser in self.optimisers.items():
            state |= optimiser.state(name)
        return state

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore what `state_dict` returned, in place. `ValueError` names what is missing or has another shape."""
        counters = {name: torch.zeros(1, dtype=torch.int64) for name in self.counters}
        restore(self.live() | counters, state)
        for name, optimiser in self.optimisers.items():
            optimiser.load(name, state)
        for name, count in counters.items():
            setattr(self, name, int(count))
