"""Bootstrapping error accumulation reduction, BEAR, for discrete actions (Kumar et al., arXiv 1906.00949).

    policy: maximise E_pi[min_k Q_k] subject to mean over s of MMD(pi, b) <= epsilon
    Lagrangian: minimise mean over s of sum_a pi (alpha ln pi - min_k Q_k) + mu (MMD(pi, b) - epsilon),   MMD = sqrt(MMD^2)
    dual variable, after each update of the policy: ln mu <- clip(ln mu + eta * (mean MMD - epsilon), -5, 10)

with b and the closed form of MMD^2 from `behaviour_model`, which takes the place of samples from pi and b, and all else as in
`discrete_sac`. Two variables are kept apart: alpha weighs the entropy, mu the constraint.

`backup` `support_max`: V(s) = max over {a: pi(a|s) >= 0.05} of min_k Q_target,k(s, a), and evaluations take the argmax of min_k Q_k over
the same set. With few updates from limited data that set is seldom a constraint, and the results are those of unconstrained Q-learning.

Averaged with neighbours: `policy` and `critic` as in `discrete_sac`, `policy` with ln mu; `behaviour`: the model.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from agent_node.contracts import Metrics, PolicySpec, State
from agent_node.learners.library.action_distributions import ILLEGAL
from agent_node.learners.offline.behaviour_model import BehaviourSAC, squared_mmd
from agent_node.learners.offline.settings import DiscreteBEARSettings

SUPPORT = 0.05
"""probability from which on an action is in the support of the policy"""
LEAST, MOST = -5.0, 10.0
"""bounds of ln mu"""


class DiscreteBEAR(BehaviourSAC):
    """Learner `discrete_bear`; parameters as of `discrete_sac`. Metrics: its, `behaviour_loss`, `discrepancy` (mean MMD), `multiplier`."""

    def __init__(self, settings: DiscreteBEARSettings, policy_spec: PolicySpec, rows: int, seed: int, initial: int | None = None) -> None:
        super().__init__(settings, policy_spec, rows, seed, initial)
        self.bear = settings
        self.log_multiplier = torch.zeros(1, device=self.device)

    def _policy_losses(self, state: torch.Tensor, log_pi: torch.Tensor, q: torch.Tensor) -> tuple[torch.Tensor, Metrics]:
        losses, metrics = super()._policy_losses(state, log_pi, q)
        # The gradient of the root is not finite at 0, where policy and behaviour are equal.
        discrepancy = (squared_mmd(log_pi, self._log_b(state), self.bear.kernel_width) + 1e-8).sqrt()
        multiplier = self.log_multiplier.exp()
        excess = discrepancy - self.bear.max_discrepancy
        self.log_multiplier.add_(self.bear.multiplier_rate * excess.detach().mean()).clamp_(LEAST, MOST)
        metrics |= {"discrepancy": discrepancy.mean().item(), "multiplier": multiplier.item()}
        return losses + multiplier * excess, metrics

    def _next_value(self, state: torch.Tensor, log_pi: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        if self.bear.backup == "expectation":
            return super()._next_value(state, log_pi, q)
        return self._supported(log_pi, q).amax(dim=1)

    def _best(self, state: torch.Tensor) -> torch.Tensor:
        if self.bear.backup == "expectation":
            return super()._best(state)
        return self._supported(self._log_pi(state), self.critics(state.expand(2, -1, -1)).amin(dim=0)).argmax(dim=1)

    @staticmethod
    def _supported(log_pi: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        """Values `[n, choices]`, -1e9 for actions with a probability below 0.05; the likeliest action always keeps its value."""
        least = log_pi.amax(dim=1, keepdim=True).clamp(max=torch.tensor(SUPPORT).log().item())
        return q.masked_fill(log_pi < least, ILLEGAL)

    def parameter_groups(self) -> Mapping[str, list[torch.Tensor]]:
        """Those of `discrete_sac`, `policy` with ln mu, and `behaviour`."""
        groups = super().parameter_groups()
        return {**groups, "policy": [*groups["policy"], self.log_multiplier]}

    def live(self) -> State:
        """Networks, models, ln(alpha) and ln(mu)."""
        return super().live() | {"log_multiplier": self.log_multiplier}
