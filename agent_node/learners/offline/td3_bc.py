"""TD3 with behaviour cloning, TD3+BC (Fujimoto & Gu, arXiv 2106.06860).

    actor: minimise mean over the batch of |mu(s) - a|^2 / A - v Q_1(s, mu(s)) / mean |Q_1(s, mu(s))|

with v = `value_coef`, A the number of components of actions in [-1, 1]^A, and all else as in `td3`. The paper's normalisation of
observations is left to the environment.

Averaged with neighbours: `policy` and `critic` as in `td3`.
"""

from __future__ import annotations

import torch

from agent_node.contracts import Batch, PolicySpec
from agent_node.learners.offline.settings import TD3BCSettings
from agent_node.learners.td3 import TD3


class TD3BC(TD3):
    """Learner `td3_bc`; parameters as of `td3`."""

    def __init__(self, settings: TD3BCSettings, policy_spec: PolicySpec, rows: int, seed: int, initial: int | None = None) -> None:
        super().__init__(settings, policy_spec, rows, seed, initial)
        self.value_coef = settings.value_coef

    def _actor_loss(self, batch: Batch, state: torch.Tensor, action: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        distance = (action - self.bounds.inward(batch.action)).square().mean()
        return distance - self.value_coef * value.mean() / (value.detach().abs().mean() + 1e-8)
