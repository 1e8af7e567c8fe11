"""Effects that are an agent's own (the gain of its actuators), kept out of the common model without leaving the sums.

Agent i observes y = phi^T w + a^T z_i + noise with its actions a `[d_a]` and private z_i ~ N(0, tau^2 I), one per output. With the ratio
r = sigma^2 / tau^2 held fixed and M_i = A_i^T A_i + r I, marginalising z_i leaves sums that agents may still add:

    G_i = Phi^T Phi - C M_i^-1 C^T,   b_i = Phi^T Y - C M_i^-1 A^T Y,   q_i = sum y^2 - Y^T A M_i^-1 A^T Y,   C = Phi^T A
    log_determinant = ln det(I + A^T A / r)

(the statistics of data with noise covariance sigma^2 (I + A A^T / r)). Once the common w is known, each agent recovers its own

    z_i | w ~ N( M_i^-1 (A^T Y - C^T w), sigma^2 M_i^-1 )

from sums of its own, so that its prediction has mean phi^T w + a^T z and, with S the covariance of w, variance
(phi - C M^-1 a)^T S (phi - C M^-1 a) + sigma^2 a^T M^-1 a. Both equal the joint dense solution.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch

from agent_node.world_models.gp.feature_basis import Basis
from agent_node.world_models.gp.gp_posterior import Posterior
from agent_node.world_models.gp.gp_statistics import Statistics, symmetric


@dataclass(frozen=True, eq=False)
class PersonalStatistics:
    """An agent's own sums, from which both what it shares and what it keeps follow. Only `shared` leaves the agent."""

    raw: Statistics
    """of the data as they are"""
    cross: torch.Tensor
    """C = Phi^T A, `[m, d_a]`"""
    actions: torch.Tensor
    """A^T A, `[d_a, d_a]`"""
    targets: torch.Tensor
    """A^T Y, `[d_a, d_y]`"""
    ratio: float
    """r = sigma^2 / tau^2; statistics of different ratios can't be added, so it belongs into the basis' `meaning`"""

    @classmethod
    def zero(cls, basis: Basis, outputs: int, actions: int, ratio: float) -> PersonalStatistics:
        """Of no data; `ValueError` unless the ratio is positive."""
        if not ratio > 0:
            raise ValueError(f"sigma^2 / tau^2 must be positive, not {ratio}")

        def zeros(*shape: int) -> torch.Tensor:
            return torch.zeros(shape, dtype=torch.float64, device=basis.device)

        raw = Statistics.zero(basis, outputs)
        return cls(raw, zeros(basis.size, actions), zeros(actions, actions), zeros(actions, outputs), ratio)

    def absorbed(
        self, basis: Basis, inputs: torch.Tensor, actions: torch.Tensor, targets: torch.Tensor, batch: int = 2048
    ) -> PersonalStatistics:
        """With further transitions: raw inputs `[n, D]`, scaled actions `[n, d_a]`, targets `[n, d_y]`."""
        actions = actions.to(basis.device, torch.float64)
        targets = targets.to(basis.device, torch.float64)
        outputs = targets.shape[1]
        # Phi^T [Y, A] is b beside C: the features are computed once.
        both = Statistics.of(basis, inputs, torch.cat([targets, actions], dim=1), batch)
        raw = Statistics(both.basis_id, both.gram, both.moment[:, :outputs], both.squares[:outputs], both.count)
        return PersonalStatistics(
            self.raw + raw,
            self.cross + both.moment[:, outputs:],
            self.actions + symmetric(actions.T @ actions),
            self.targets + actions.T @ targets,
            self.ratio,
        )

    def scaled(self, factor: float) -> PersonalStatistics:
        """Every datum counts `factor` times."""
        return PersonalStatistics(self.raw.scaled(factor), self.cross * factor, self.actions * factor, self.targets * factor, self.ratio)

    def _root(self) -> torch.Tensor:
        """Cholesky factor of M."""
        matrix = self.actions.clone()
        matrix.diagonal().add_(self.ratio)
        root: torch.Tensor = torch.linalg.cholesky(matrix)
        return root

    def shared(self) -> Statistics:
        """What may be added to other agents' statistics: z_i marginalised."""
        root = self._root()
        cross = torch.linalg.solve_triangular(root, self.cross.T, upper=False)
        targets = torch.linalg.solve_triangular(root, self.targets, upper=False)
        log_determinant = 2 * float(root.diagonal().log().sum()) - len(root) * math.log(self.ratio)
        return Statistics(
            self.raw.basis_id,
            self.raw.gram - symmetric(cross.T @ cross),
            self.raw.moment - cross.T @ targets,
            (self.raw.squares - targets.square().sum(dim=0)).clamp_min(0.0),
            self.raw.count,
            max(0.0, log_determinant),
        )

    def tensors(self) -> dict[str, torch.Tensor]:
        """What a checkpoint needs besides `raw`."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name in ("cross", "actions", "targets")}


@dataclass(frozen=True, eq=False)
class PersonalPosterior:
    """The common posterior together with one agent's own effects."""

    common: Posterior
    effects: torch.Tensor
    """posterior mean of z_i, `[d_a, d_y]`"""
    root: torch.Tensor
    """Cholesky factor of M_i, `[d_a, d_a]`"""
    response: torch.Tensor
    """C M_i^-1, `[m, d_a]`: how z_i answers to a change of w"""

    @classmethod
    def of(cls, common: Posterior, own: PersonalStatistics) -> PersonalPosterior:
        """The agent's own data must be among those of `common`, marginalised."""
        root = own._root()
        effects = torch.cholesky_solve(own.targets - own.cross.T @ common.weights, root)
        return cls(common, effects, root, torch.cholesky_solve(own.cross.T, root).T)

    def mean(self, inputs: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        """`[n, d_y]` for raw inputs `[n, D]` and scaled actions `[n, d_a]`."""
        actions = actions.to(self.common.basis.device, torch.float64)
        mean: torch.Tensor = self.common.mean(inputs) + actions @ self.effects
        return mean

    def predict(self, inputs: torch.Tensor, actions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean `[n, d_y]` and epistemic variance `[n]` for raw inputs `[n, D]` and scaled actions `[n, d_a]`."""
        common = self.common
        actions = actions.to(common.basis.device, torch.float64)
        features = common.basis.features(inputs)
        mean = features @ common.weights + actions @ self.effects
        own = torch.linalg.solve_triangular(self.root, actions.T, upper=False).square().sum(dim=0)
        variance = common.spread(features - actions @ self.response.T) + float(common.parameters.noise_variance) * own
        return mean, variance + common.unrepresented(inputs, features)
