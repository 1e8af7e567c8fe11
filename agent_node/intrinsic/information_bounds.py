"""Bounds of the mutual information I(s; u) between the state s of a team and its joint action u, by networks that learn from samples.

Sources: JSD form of MINE (Hjelm et al., arXiv 1808.06670), InfoNCE (van den Oord et al., arXiv 1807.03748), CLUB (Cheng et al.,
arXiv 2006.12013); the networks as in PMIC (arXiv 2203.08553).
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional

from agent_node.learners.library.flat_networks import StackedMLP, flatten

LOG2 = math.log(2)
FEATURES = 32
"""outputs of each encoder, and width of the hidden layers of q(u | s)"""
LEAST_LOG_PROBABILITY = math.log(0.01)
"""of one discrete choice under q"""


def jsd_bound(own: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """low_k = [log 2 - softplus(-T_kk)] - mean over j != k of [softplus(T_kj) - log 2], `[B]`; at most 2 log 2, and 0 where T = 0.

    `own[B]`: T_kk. `scores[B, M]`: T_kj for the first M <= B samples j.
    """
    others = functional.softplus(scores).sum(dim=1)
    counts = torch.full_like(own, scores.shape[1])
    counts[: scores.shape[1]] -= 1
    others = torch.cat([others[: scores.shape[1]] - functional.softplus(own[: scores.shape[1]]), others[scores.shape[1] :]])
    return LOG2 - functional.softplus(-own) - others / counts.clamp_min(1) + LOG2 * (counts > 0)


def infonce_bound(own: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """T_kk - logsumexp_j T_kj + log n_k, `[B]`, at most log n_k, with j over k and the first M samples, n_k of them. Arguments as those of
    `jsd_bound`."""
    negatives = scores.shape[1]
    total = torch.logsumexp(scores, dim=1)
    total = torch.cat([total[:negatives], torch.logaddexp(total[negatives:], own[negatives:])])
    numbers = torch.full_like(own, negatives + 1)
    numbers[:negatives] -= 1
    return own - total + numbers.log()


class LowerBound(nn.Module):
    """T(s, u) = <f(s), g(u)>, with encoders of `state` and `action` inputs to 32 features.

    `deep`: each has a hidden layer of 64 ReLU units and a linear output; else one layer, followed by a leaky ReLU (0.01), as published.
    `negatives`: M, the samples that every sample is compared with; None: all.
    """

    vector: torch.Tensor
    gradient: torch.Tensor

    def __init__(self, state: int, action: int, deep: bool, negatives: int | None, generator: torch.Generator) -> None:
        super().__init__()
        hidden = [64] if deep else []
        self.of_state = StackedMLP(1, [state, *hidden, FEATURES], generator)
        self.of_action = StackedMLP(1, [action, *hidden, FEATURES], generator)
        self.deep, self.negatives = deep, negatives
        self.vector, self.gradient = flatten(self)

    def forward(self, state: torch.Tensor, action: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """T_kk `[B]` and T_kj `[B, M]` of `state[B, S]` and `action[B, U]`: action k with state j."""
        f, g = self.of_state(state), self.of_action(action)
        if not self.deep:
            f, g = functional.leaky_relu(f, 0.01), functional.leaky_relu(g, 0.01)
        return (f * g).sum(dim=1), g @ f[: self.negatives].T

    def loss(self, state: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        """Minus the mean of `jsd_bound`: what training minimises."""
        return -jsd_bound(*self(state, action)).mean()

    @torch.no_grad()
    def descend(self, state: torch.Tensor, action: torch.Tensor) -> None:
        """Add d loss / d parameters to `gradient`, by hand: with n samples, and M_k others for sample k,

        d loss / d T_kj = sigmoid(T_kj) / (n M_k) for j != k,    d loss / d T_kk = -sigmoid(-T_kk) / n
        """
        (f,), of_f = self.of_state.run(state)
        (g,), of_g = self.of_action.run(action)
        if not self.deep:
            f, g = functional.leaky_relu(f, 0.01), functional.leaky_relu(g, 0.01)
        others, n = f[: self.negatives], len(f)
        m = len(others)
        by_scores = (g @ others.T).sigmoid_()
        by_scores.diagonal().zero_()
        by_scores[:m].div_(n * max(m - 1, 1))
        by_scores[m:].div_(n * m)
        by_own = (-(f * g).sum(dim=1, keepdim=True)).sigmoid_().div_(-n)
        by_g, by_f = torch.addmm(by_own * f, by_scores, others), by_own * g
        by_f[:m].addmm_(by_scores.T, g)
        if not self.deep:
            by_f, by_g = (torch.where(values < 0, 0.01 * slope, slope) for values, slope in ((f, by_f), (g, by_g)))
        self.of_state.back(of_f, by_f.unsqueeze(0), "parameters")
        self.of_action.back(of_g, by_g.unsqueeze(0), "parameters")


class UpperBound(nn.Module):
    """q(u | s), by which CLUB bounds I(s; u) from above.

    Continuous components: normal, with mean mu(s) and log-variance tanh(output). Discrete choices: independent, by logits. All are networks
    S -> 32 -> outputs with ReLU. `continuous`: C, the number of continuous components, which come first in u; `choices`: numbers of choices
    of the discrete factors, which follow as one-hot vectors.
    """

    vector: torch.Tensor
    gradient: torch.Tensor

    def __init__(self, state: int, continuous: int, choices: tuple[int, ...], generator: torch.Generator) -> None:
        super().__init__()
        self.continuous, self.choices = continuous, choices
        self.normal = StackedMLP(2, [state, FEATURES, continuous], generator) if continuous else None
        self.logits = StackedMLP(1, [state, FEATURES, sum(choices)], generator) if choices else None
        self.vector, self.gradient = flatten(self)

    def _normal(self, network: StackedMLP, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mean, output = network(state.expand(2, -1, -1))
        return mean, output.tanh()

    def _log_probabilities(self, network: StackedMLP, state: torch.Tensor) -> torch.Tensor:
        """ln q of each choice, `[B, sum of choices]`."""
        return torch.cat([part.log_softmax(dim=1) for part in network(state).split(list(self.choices), dim=1)], dim=1)

    def loss(self, state: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        """Mean over k of sum over components of (u - mu)^2 exp(-lv) + lv, plus the cross-entropy of the discrete choices."""
        costs = torch.zeros(len(state))
        if self.normal is not None:
            mean, log_variance = self._normal(self.normal, state)
            costs = costs + ((action[:, : self.continuous] - mean).square() * (-log_variance).exp() + log_variance).sum(dim=1)
        if self.logits is not None:
            costs = costs - (action[:, self.continuous :] * self._log_probabilities(self.logits, state)).sum(dim=1)
        return costs.mean()

    @torch.no_grad()
    def descend(self, state: torch.Tensor, action: torch.Tensor) -> None:
        """Add d loss / d parameters to `gradient`, by hand."""
        n = len(state)
        if self.normal is not None:
            (mean, output), trace = self.normal.run(state)
            log_variance = output.tanh()
            deviation = action[:, : self.continuous] - mean
            scaled = deviation * (-log_variance).exp()
            slopes = torch.stack([-2 * scaled, (1 - deviation * scaled) * (1 - log_variance.square())])
            self.normal.back(trace, slopes.div_(n), "parameters")
        if self.logits is not None:
            (logits,), trace = self.logits.run(state)
            chosen = action[:, self.continuous :]
            factors = zip(*(values.split(list(self.choices), dim=1) for values in (logits, chosen)), strict=True)
            slope = torch.cat([part.softmax(dim=1) * one.sum(dim=1, keepdim=True) - one for part, one in factors], dim=1)
            self.logits.back(trace, slope.div_(n).unsqueeze(0), "parameters")

    def forward(self, state: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        """up_k = ln q(u_k | s_k) - mean_j ln q(u_j | s_k), `[B]`, of `state[B, S]` and `action[B, U]`.

        The mean over j needs only moments of the batch: mean_j (u_j - m)^2 = E[u^2] - 2 m E[u] + m^2. ln q of a discrete choice is at least
        ln 0.01.
        """
        bound = torch.zeros(len(state))
        if self.normal is not None:
            mean, log_variance = self._normal(self.normal, state)
            u = action[:, : self.continuous]
            others = u.square().mean(dim=0) - 2 * mean * u.mean(dim=0) + mean.square()
            bound = bound + ((-log_variance).exp() / 2 * (others - (u - mean).square())).sum(dim=1)
        if self.logits is not None:
            chosen = action[:, self.continuous :]
            logs = self._log_probabilities(self.logits, state).clamp_min(LEAST_LOG_PROBABILITY)
            bound = bound + ((chosen - chosen.mean(dim=0)) * logs).sum(dim=1)
        return bound
