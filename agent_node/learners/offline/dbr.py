"""Dual behaviour regularisation, DBR, for discrete actions (Siu, Traish, Xu, arXiv 2109.09037): towards the behaviour in the better part of
the data, and away from the behaviour in the rest.

    g = return-to-go minus the mean return-to-go of the data at the same step of an episode       (`memory.relative_returns`)
    better = {g > the (1 - better_share) quantile of g in the batch},  worse = the rest
    b+, b-: models of the behaviour (`behaviour_model`), fitted to the better and to the worse part
    c(s) = tanh(|b+(.|s) - b-(.|s)|)                                                            1 where the two differ, 0 where not
    policy: sum_a pi (alpha ln pi - min_k Q_k) + lambda KL(pi || b+) - lambda / 2 c(s) min(KL(pi || b-), 2)

with all else as in `discrete_sac`. The split is new in each batch: its quantile is an estimate of that of the data, without state.

Averaged with neighbours: `policy` and `critic` as in `discrete_sac`, `behaviour`: both models. Relative returns are those of the agent's
own data.
"""

from __future__ import annotations

from typing import ClassVar

import torch

from agent_node.contracts import Batch, Metrics, PolicySpec
from agent_node.learners.offline.behaviour_model import BehaviourSAC, kl_divergence
from agent_node.learners.offline.settings import DBRSettings

FURTHEST = 2.0
"""nats: how far the policy is pushed from the worse behaviour"""


class DBR(BehaviourSAC):
    """Learner `dbr`; parameters as of `discrete_sac`. Batches have `extras["relative_return"]`, g `[B]`. Metrics: those of `discrete_sac`,
    `better_loss`, `worse_loss`, `divergence` (mean KL from b+) and `contrast` (mean c)."""

    models: ClassVar[tuple[str, ...]] = ("better", "worse")

    def __init__(self, settings: DBRSettings, policy_spec: PolicySpec, rows: int, seed: int, initial: int | None = None) -> None:
        super().__init__(settings, policy_spec, rows, seed, initial)
        self.dbr = settings

    def _model_weights(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Weights with mean 1 within each part, so that the step size does not depend on the part's size."""
        relative, share = batch.extras["relative_return"], self.dbr.better_share
        better = (relative > relative.quantile(1 - share)).float()
        return {"better": batch.weight * better / share, "worse": batch.weight * (1 - better) / (1 - share)}

    def _policy_losses(self, state: torch.Tensor, log_pi: torch.Tensor, q: torch.Tensor) -> tuple[torch.Tensor, Metrics]:
        losses, metrics = super()._policy_losses(state, log_pi, q)
        better, worse = self._log_b(state, "better"), self._log_b(state, "worse")
        contrast = torch.linalg.vector_norm(better.exp() - worse.exp(), dim=1).tanh()
        near, far = kl_divergence(log_pi, better), kl_divergence(log_pi, worse)
        losses = losses + self.dbr.divergence_coef * (near - 0.5 * contrast * far.clamp(max=FURTHEST))
        return losses, metrics | {"divergence": near.mean().item(), "contrast": contrast.mean().item()}
