"""Conservative Q-learning for continuous actions, CQL(H) (Kumar et al., arXiv 2006.04779), with a deterministic policy (row
"MA-CQL" of OMAR, Pan et al., arXiv 2111.11188).

    u_1, ..., u_n uniform in [-1, 1]^A
    gap_k = ln sum_i exp(Q_k(s, u_i) + A ln 2) - Q_k(s, a)              A ln 2 = -ln density of u_i
    critics: sum over k of mean weight * ((Q_k(s, a) - y)^2 + w gap_k)
    actor: mean over the batch of -Q_1(s, mu(s)) + `action_coef` * mean square of mu(s)

with y and all else as in `td3`; by default without smoothing of targets and with one update of the actor for each of the critics.

Averaged with neighbours: `policy` and `critic` as in `td3`.
"""

from __future__ import annotations

from math import log

import torch

from agent_node.contracts import Batch, Metrics, PolicySpec
from agent_node.learners.offline.settings import ConservativeSettings
from agent_node.learners.td3 import TD3


class CQL(TD3):
    """Learner `cql`; parameters as of `td3`. Metrics: its, and `conservative_gap`, the mean gap."""

    def __init__(self, settings: ConservativeSettings, policy_spec: PolicySpec, rows: int, seed: int, initial: int | None = None) -> None:
        super().__init__(settings, policy_spec, rows, seed, initial)
        self.cql = settings
        self._sampling = torch.Generator().manual_seed(seed + 2)

    def _critic_loss(self, batch: Batch, state: torch.Tensor, value: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, Metrics]:
        loss, metrics = super()._critic_loss(batch, state, value, target)
        shape = len(state), self.cql.sampled_actions, self.bounds.size
        uniform = (2 * torch.rand(shape, generator=self._sampling) - 1).to(self.device)
        sampled = self.critics.paired(state, uniform, 2).squeeze(3)
        gap = (sampled + self.bounds.size * log(2)).logsumexp(dim=2) - value
        weighted = (batch.weight * gap).mean(dim=1).sum()
        return loss + self.cql.conservative_coef * weighted, metrics | {"conservative_gap": gap.mean().item()}

    def _actor_loss(self, batch: Batch, state: torch.Tensor, action: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        return super()._actor_loss(batch, state, action, value) + self.cql.action_coef * action.square().mean()
