"""Offline multi-agent reinforcement learning with actor rectification, OMAR (Pan et al., arXiv 2111.11188).

    search, in each of `search_rounds` rounds, from mean m = 0 and deviation sigma = `search_deviation`:
        a_i = clip(N(m, sigma^2), -1, 1),  i = 1 ... `search_samples`
        m <- sum_i softmax_i(Q_1(s, a_i)) a_i,   sigma <- sqrt(mean_i (a_i - m)^2)
    a*(s): the argmax of Q_1(s, .) among the actions of the last round and mu(s)
    actor: (1 - lambda) mean -Q_1(s, mu(s)) + lambda mean |mu(s) - a*(s)|^2 / A + `action_coef` * mean square of mu(s)

with critics and all else as in `cql`. Gradients of conservative values lead the actor to poor local optima; the search looks beyond them.

Averaged with neighbours: `policy` and `critic` as in `td3`.
"""

from __future__ import annotations

import torch

from agent_node.contracts import Batch, PolicySpec
from agent_node.learners.offline.cql import CQL
from agent_node.learners.offline.settings import OMARSettings


class OMAR(CQL):
    """Learner `omar`; parameters and metrics as of `cql`."""

    def __init__(self, settings: OMARSettings, policy_spec: PolicySpec, rows: int, seed: int, initial: int | None = None) -> None:
        super().__init__(settings, policy_spec, rows, seed, initial)
        self.omar = settings

    def _actor_loss(self, batch: Batch, state: torch.Tensor, action: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        share, best = self.omar.rectification, self._search(state, action.detach(), value.detach())
        distance = (action - best).square().mean()
        return share * distance - (1 - share) * value.mean() + self.omar.action_coef * action.square().mean()

    @torch.no_grad()
    def _search(self, state: torch.Tensor, action: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """a* `[B, A]`, from mu(s) `action[B, A]` and its value `[B]`."""
        settings = self.omar
        mean, deviation = torch.zeros_like(action), torch.full_like(action, settings.search_deviation)
        for _ in range(settings.search_rounds):
            noise = torch.randn(len(action), settings.search_samples, action.shape[1], generator=self._sampling).to(self.device)
            sampled = (mean.unsqueeze(1) + deviation.unsqueeze(1) * noise).clamp(-1, 1)
            q = self.critics.paired(state, sampled, 1)[0].squeeze(2)
            mean = (q.softmax(dim=1).unsqueeze(2) * sampled).sum(dim=1)
            deviation = (sampled - mean.unsqueeze(1)).square().mean(dim=1).sqrt()
        largest, place = q.max(dim=1)
        found = sampled[torch.arange(len(action), device=self.device), place]
        return torch.where((largest > value).unsqueeze(1), found, action)
