"""Conservative Q-learning, CQL(H), on double DQN (Kumar et al., arXiv 2006.04779, equation 4; rows "IQL+CQL").

    loss = mean over the batch of weight * ((Q(s, a) - y)^2 + w (ln sum_a' exp Q(s, a') - Q(s, a)))

with y and all else as in `double_dqn`; the sum is over the legal actions. The gap between logsumexp and Q(s, a) falls as the values of
actions that the data has not are lowered and those of the data's actions are raised.

Averaged with neighbours: `critic` as in `double_dqn`.
"""

from __future__ import annotations

import torch

from agent_node.contracts import Batch, Metrics, PolicySpec
from agent_node.learners.double_dqn import DoubleDQN
from agent_node.learners.offline.settings import DiscreteCQLSettings


class DiscreteCQL(DoubleDQN):
    """Learner `discrete_cql`; parameters as of `double_dqn`. Metrics: its, and `conservative_gap`."""

    def __init__(self, settings: DiscreteCQLSettings, policy_spec: PolicySpec, rows: int, seed: int, initial: int | None = None) -> None:
        super().__init__(settings, policy_spec, rows, seed, initial)
        self.conservative_coef = settings.conservative_coef

    def _penalty(self, batch: Batch, q: torch.Tensor) -> tuple[torch.Tensor | None, Metrics]:
        gap = (batch.weight * (q.logsumexp(dim=1) - self._taken(q, batch))).mean()
        return self.conservative_coef * gap, {"conservative_gap": gap.item()}
