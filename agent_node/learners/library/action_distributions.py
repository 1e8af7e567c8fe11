"""Distributions over actions, from a network's outputs.

A head turns `outputs[n, W]` into a distribution's parameters, once, and everything else is asked of these: per row samples and modes
`[n, A]`, log-probabilities, entropies, and the Kullback-Leibler divergence from older parameters. Actions `[n, A]` are those of the wire:
int64 indices of factors, or float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from math import log, pi, prod

import torch

from agent_node.contracts import PolicySpec
from agent_node.learners.library.devices import CPU
from protocols.runtime.errors import ConfigurationError
from protocols.spaces.action_masks import LEGAL

ILLEGAL = -1e9
"""logit of an illegal choice: its probability is 0, and products with it stay finite"""


def legal_choices(inputs: torch.Tensor, factors: Sequence[int], features: int) -> torch.Tensor:
    """Whether each choice of each factor is legal, `[n, sum(factors)]`, by the action mask at the end of the `features` = F in
    `inputs[n, F + goal]`. A factor without any legal choice counts as one in which all are."""
    legal = inputs[:, features - sum(factors) : features] > LEGAL
    return torch.cat([part | ~part.any(dim=1, keepdim=True) for part in torch.split(legal, list(factors), dim=1)], dim=1)


class Categoricals:
    """Independent categorical factors, their logits side by side. Parameters are the log-probabilities of every choice of every factor.

    `masked`: the features end with an action mask; F = `masked` is their number. The log-probabilities of illegal choices are about -1e9,
    so that samples, modes, entropies and divergences are those of the legal ones. 0: there is no mask."""

    def __init__(self, factors: Sequence[int], device: torch.device = CPU, masked: int = 0) -> None:
        self.masked = masked
        self.factors = list(factors)
        self.width = sum(factors)
        self._starts = torch.tensor([0, *accumulate(self.factors)][:-1], device=device)
        self._equal = len(set(self.factors)) == 1

    def parameters(self, outputs: torch.Tensor, inputs: torch.Tensor | None = None) -> torch.Tensor:
        """ln p(a) = logit(a) - ln sum_b exp logit(b), in every factor, from a network's `outputs[n, W]` for `inputs[n, F + goal]`, which
        contain the mask; without `inputs` all choices are legal."""
        if self.masked and inputs is not None:
            outputs = outputs.masked_fill(~legal_choices(inputs, self.factors, self.masked), ILLEGAL)
        if self._equal:
            return outputs.view(len(outputs), -1, self.factors[0]).log_softmax(dim=2).view(outputs.shape)
        return torch.cat([logits.log_softmax(dim=1) for logits in torch.split(outputs, self.factors, dim=1)], dim=1)

    def sample(self, parameters: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """argmax of the log-probabilities + Gumbel noise, in every factor."""
        noise = torch.empty(parameters.shape).exponential_(generator=generator).log_().to(parameters.device)
        return self.mode(parameters - noise)

    def mode(self, parameters: torch.Tensor) -> torch.Tensor:
        """The likeliest index of every factor."""
        return torch.stack([row.argmax(dim=1) for row in torch.split(parameters, self.factors, dim=1)], dim=1)

    def log_probability(self, parameters: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        """ln p(a), `[n]`: the sum over the independent factors."""
        return parameters.gather(1, actions + self._starts).sum(dim=1)

    def entropy(self, parameters: torch.Tensor) -> torch.Tensor:
        """Sum over the factors of -sum_a p(a) ln p(a)."""
        return -(parameters.exp() * parameters).sum(dim=1)

    def divergence(self, old: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
        """Sum over the factors of sum_a old(a) (ln old(a) - ln new(a))."""
        return (old.exp() * (old - new)).sum(dim=1)


class Gaussian:
    """Independent normal components; parameters are the means and the log standard deviations. What is drawn beyond an action's bounds is
    clipped by the environment, not here: log-probabilities are those of what was drawn.

    `log_std[A]`: log standard deviations that are equal in all states, parameters of their own beside a network with outputs for the means;
    None: outputs of the network too."""

    LEAST, MOST = -5.0, 2.0
    """bounds of the log standard deviation"""

    def __init__(self, size: int, log_std: torch.Tensor | None = None) -> None:
        self.size, self.log_std = size, log_std
        self.width = 2 * size if log_std is None else size

    def _moments(self, parameters: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return parameters[:, : self.size], parameters[:, self.size :]

    def parameters(self, outputs: torch.Tensor, inputs: torch.Tensor | None = None) -> torch.Tensor:
        """Means unchanged, log standard deviations clamped to their bounds, `[n, W]`."""
        mean, logarithm = self._moments(outputs) if self.log_std is None else (outputs, self.log_std.expand_as(outputs))
        return torch.cat([mean, logarithm.clamp(self.LEAST, self.MOST)], dim=1)

    def sample(self, parameters: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """mean + standard deviation * standard normal."""
        mean, logarithm = self._moments(parameters)
        return mean + logarithm.exp() * torch.randn(mean.shape, generator=generator).to(mean.device)

    def mode(self, parameters: torch.Tensor) -> torch.Tensor:
        """The mean, `[n, A]`."""
        return self._moments(parameters)[0]

    def log_probability(self, parameters: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        """-sum over components of ((a - mean) / sd)^2 / 2 + ln sd + ln(2 pi) / 2."""
        mean, logarithm = self._moments(parameters)
        return -(((actions - mean) / logarithm.exp()).square() / 2 + logarithm + log(2 * pi) / 2).sum(dim=1)

    def entropy(self, parameters: torch.Tensor) -> torch.Tensor:
        """Sum over components of ln sd + (1 + ln(2 pi)) / 2."""
        return (self._moments(parameters)[1] + (1 + log(2 * pi)) / 2).sum(dim=1)

    def divergence(self, old: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
        """Of normals: ln(sd'/sd) + (sd^2 + (mean - mean')^2) / (2 sd'^2) - 1/2, summed over components."""
        mean, logarithm = self._moments(old)
        new_mean, new_logarithm = self._moments(new)
        spread = ((2 * logarithm).exp() + (mean - new_mean).square()) / (2 * (2 * new_logarithm).exp())
        return (new_logarithm - logarithm + spread - 0.5).sum(dim=1)


def head_of(policy_spec: PolicySpec, device: torch.device = CPU, log_std: torch.Tensor | None = None) -> Categoricals | Gaussian:
    """The head that fits an environment's actions, for outputs on `device`; `log_std`: as in `Gaussian`, for continuous actions."""
    if policy_spec.actions:
        return Categoricals(policy_spec.actions, device, prod(policy_spec.observation) if policy_spec.mask else 0)
    if not policy_spec.low:
        raise ConfigurationError("the environment has neither discrete nor continuous actions")
    return Gaussian(len(policy_spec.low), log_std)
