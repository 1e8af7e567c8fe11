"""Behaviour-regularised actor-critic, BRAC, for discrete actions (Wu et al., arXiv 1911.11361).

    D(s) = KL(pi || b) or MMD^2(pi, b)                      (`behaviour_model`, which fits b; the primal form with an explicit b)
    penalty `policy` (BRAC-p): policy minimises sum_a pi (alpha ln pi - min_k Q_k) + lambda D(s)
    penalty `value` (BRAC-v): the same, and y = r + discount (1 - terminated) (V(s') - lambda D(s'))

with V and all else as in `discrete_sac`. The dual form (a discriminator that estimates D from samples) is for continuous actions, where the
sums are not exact.

Averaged with neighbours: `policy` and `critic` as in `discrete_sac`, `behaviour`: the model.
"""

from __future__ import annotations

import torch

from agent_node.contracts import Metrics, PolicySpec
from agent_node.learners.offline.behaviour_model import BehaviourSAC, kl_divergence, squared_mmd
from agent_node.learners.offline.settings import DiscreteBRACSettings


class DiscreteBRAC(BehaviourSAC):
    """Learner `discrete_brac`; parameters as of `discrete_sac`. Metrics: its, `behaviour_loss`, and `divergence`: mean D."""

    def __init__(self, settings: DiscreteBRACSettings, policy_spec: PolicySpec, rows: int, seed: int, initial: int | None = None) -> None:
        super().__init__(settings, policy_spec, rows, seed, initial)
        self.brac = settings

    def divergence(self, state: torch.Tensor, log_pi: torch.Tensor) -> torch.Tensor:
        """D `[n]` of `state[n, F + goal]`, from ln pi `[n, choices]`."""
        log_b = self._log_b(state)
        return kl_divergence(log_pi, log_b) if self.brac.divergence == "kl" else squared_mmd(log_pi, log_b, self.brac.kernel_width)

    def _policy_losses(self, state: torch.Tensor, log_pi: torch.Tensor, q: torch.Tensor) -> tuple[torch.Tensor, Metrics]:
        losses, metrics = super()._policy_losses(state, log_pi, q)
        divergence = self.divergence(state, log_pi)
        return losses + self.brac.divergence_coef * divergence, metrics | {"divergence": divergence.mean().item()}

    def _next_value(self, state: torch.Tensor, log_pi: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        value = super()._next_value(state, log_pi, q)
        return value - self.brac.divergence_coef * self.divergence(state, log_pi) if self.brac.penalty == "value" else value
