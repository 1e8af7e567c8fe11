"""Distributions over actions, from a network's outputs.

Every head turns `outputs[n, W]` into a distribution and gives, per row: samples and modes `[n, A]`, log-probabilities, entropies, and the
Kullback-Leibler divergence from an older one. Actions `[n, A]` are those of the wire: int64 indices of factors, or float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log, pi
from typing import Protocol

import torch

from agent_node.contracts import Interface
from protocols.errors import ConfigurationError


class Head(Protocol):
    """A family of action distributions; `outputs` are the numbers that the network gives for a row."""

    width: int
    """W, outputs per row"""

    def sample(self, outputs: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Actions drawn at random."""
        ...

    def mode(self, outputs: torch.Tensor) -> torch.Tensor:
        """The likeliest actions."""
        ...

    def log_probability(self, outputs: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        """ln p(a), `[n]`."""
        ...

    def entropy(self, outputs: torch.Tensor) -> torch.Tensor:
        """In nats, `[n]`."""
        ...

    def divergence(self, old: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
        """KL(old || new) = E_old[ln old(a) - ln new(a)], `[n]`."""
        ...


class Categoricals:
    """Independent categorical factors: outputs are the logits of all factors side by side."""

    def __init__(self, factors: Sequence[int]) -> None:
        self.factors = list(factors)
        self.width = sum(factors)

    def _log_probabilities(self, outputs: torch.Tensor) -> list[torch.Tensor]:
        return [logits.log_softmax(dim=1) for logits in torch.split(outputs, self.factors, dim=1)]

    def sample(self, outputs: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """argmax of logits + Gumbel noise, in every factor."""
        noise = torch.empty_like(outputs).exponential_(generator=generator).log_()
        return self.mode(outputs - noise)

    def mode(self, outputs: torch.Tensor) -> torch.Tensor:
        """The likeliest index of every factor."""
        return torch.stack([logits.argmax(dim=1) for logits in torch.split(outputs, self.factors, dim=1)], dim=1)

    def log_probability(self, outputs: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        """Sum over the factors."""
        parts = [
            row.gather(1, action.unsqueeze(1)) for row, action in zip(self._log_probabilities(outputs), actions.unbind(1), strict=True)
        ]
        return torch.cat(parts, dim=1).sum(dim=1)

    def entropy(self, outputs: torch.Tensor) -> torch.Tensor:
        """Sum over the factors of -sum_a p(a) ln p(a)."""
        return torch.stack([-(row.exp() * row).sum(dim=1) for row in self._log_probabilities(outputs)]).sum(dim=0)

    def divergence(self, old: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
        """Sum over the factors of sum_a old(a) (ln old(a) - ln new(a))."""
        pairs = zip(self._log_probabilities(old), self._log_probabilities(new), strict=True)
        return torch.stack([(before.exp() * (before - after)).sum(dim=1) for before, after in pairs]).sum(dim=0)


class Gaussian:
    """Independent normal components: outputs are means and log standard deviations; actions beyond the bounds are clipped by the
    environment, not here, so that log-probabilities are those of what was drawn."""

    LEAST, MOST = -5.0, 2.0
    """bounds of the log standard deviation"""

    def __init__(self, size: int) -> None:
        self.size = size
        self.width = 2 * size

    def _moments(self, outputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mean, logarithm = torch.split(outputs, self.size, dim=1)
        return mean, logarithm.clamp(self.LEAST, self.MOST)

    def sample(self, outputs: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """mean + standard deviation * standard normal."""
        mean, logarithm = self._moments(outputs)
        return mean + logarithm.exp() * torch.randn(mean.shape, generator=generator)

    def mode(self, outputs: torch.Tensor) -> torch.Tensor:
        """The mean."""
        return self._moments(outputs)[0]

    def log_probability(self, outputs: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        """-sum over components of ((a - mean) / sd)^2 / 2 + ln sd + ln(2 pi) / 2."""
        mean, logarithm = self._moments(outputs)
        return -(((actions - mean) / logarithm.exp()).square() / 2 + logarithm + log(2 * pi) / 2).sum(dim=1)

    def entropy(self, outputs: torch.Tensor) -> torch.Tensor:
        """Sum over components of ln sd + (1 + ln(2 pi)) / 2."""
        return (self._moments(outputs)[1] + (1 + log(2 * pi)) / 2).sum(dim=1)

    def divergence(self, old: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
        """Of normals: ln(sd'/sd) + (sd^2 + (mean - mean')^2) / (2 sd'^2) - 1/2, summed over components."""
        mean, logarithm = self._moments(old)
        new_mean, new_logarithm = self._moments(new)
        spread = ((2 * logarithm).exp() + (mean - new_mean).square()) / (2 * (2 * new_logarithm).exp())
        return (new_logarithm - logarithm + spread - 0.5).sum(dim=1)


def head_of(interface: Interface) -> Head:
    """The head that fits an environment's actions."""
    if interface.actions:
        return Categoricals(interface.actions)
    if not interface.low:
        raise ConfigurationError("the environment has neither discrete nor continuous actions")
    return Gaussian(len(interface.low))
