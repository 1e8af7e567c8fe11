"""Posterior of a feature model from its statistics, in whitened algebra with one Cholesky factorization.

    A = I + Lambda^1/2 G Lambda^1/2 / sigma^2 = L L^T,    w = Lambda^1/2 A^-1 Lambda^1/2 b / sigma^2
    mean(x) = phi^T w
    variance(x) = |L^-1 Lambda^1/2 phi|^2 + max(0, k(x, x) - phi^T Lambda phi)

The second term of the variance is what the features can't represent (as in the deterministic training conditional). Without it the
variance would vanish far from what they span. It is one number for all outputs, which share G.

With private effects z_i of the actions a (`PersonalStatistics`; M_i, C and A as there): once the common w is known, each agent recovers
its own

    z_i | w ~ N( M_i^-1 (A^T Y - C^T w), sigma^2 M_i^-1 )

from sums of its own, so that its prediction has mean phi^T w + a^T z and, with S the covariance of w, variance
(phi - C M^-1 a)^T S (phi - C M^-1 a) + sigma^2 a^T M^-1 a. Both equal the joint dense solution.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from agent_node.world_models.gp.feature_basis import HilbertSpaceBasis, KernelParameters
from agent_node.world_models.gp.gp_statistics import PersonalStatistics, Statistics, symmetric


class FactorizationError(ValueError):
    """A matrix that must be positive definite is not."""


def factorize(gram: torch.Tensor, root: torch.Tensor, noise_variance: float) -> torch.Tensor:
    """L of A = I + root G root / sigma^2, `[m, m]` lower. A is at least I where G is a sum over data, so that no jitter is ever needed:
    `FactorizationError` otherwise, instead of a quiet second try with another matrix."""
    whitened = symmetric(gram * torch.outer(root, root)) / noise_variance
    whitened.diagonal().add_(1.0)
    factor: torch.Tensor
    factor, failed = torch.linalg.cholesky_ex(whitened)
    if int(failed) or not bool(torch.isfinite(factor).all()):
        text = f"I + Lambda^1/2 G Lambda^1/2 / sigma^2 is not positive definite (minor {int(failed)} of {len(root)})"
        raise FactorizationError(f"{text}: G is no sum over data, or n is so large and sigma^2 so small that rounding hides it")
    return factor


@dataclass(frozen=True, eq=False)
class Posterior:
    """Weights w ~ N(`weights`, Lambda^1/2 A^-1 Lambda^1/2) for every output."""

    basis: HilbertSpaceBasis
    parameters: KernelParameters
    gram: torch.Tensor
    """G that the variance stands on"""
    root: torch.Tensor
    """Lambda^1/2, `[m]`"""
    factor: torch.Tensor
    """L, `[m, m]`"""
    weights: torch.Tensor
    """posterior mean of w, `[m, d_y]`"""

    @classmethod
    def of(cls, basis: HilbertSpaceBasis, parameters: KernelParameters, statistics: Statistics) -> Posterior:
        """`BasisMismatch`, or `FactorizationError` where the statistics are no sum over data."""
        statistics.require(basis)
        noise = float(parameters.noise_variance)
        root = basis.prior(parameters).detach().sqrt()
        factor = factorize(statistics.gram, root, noise)
        half = torch.linalg.solve_triangular(factor, root[:, None] * statistics.moment / noise, upper=False)
        weights = root[:, None] * torch.linalg.solve_triangular(factor.T, half, upper=True)
        return cls(basis, parameters, statistics.gram, root, factor, weights)

    # --- predicting -------------------------------------------------------------------------------------------------------------------

    def mean(self, inputs: torch.Tensor) -> torch.Tensor:
        """Predictive mean: raw inputs `[n, D]` to `[n, d_y]` in units of the targets."""
        return self.basis.features(inputs) @ self.weights

    def predict(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """`mean`, and the epistemic variance, without the noise, of each output: raw inputs `[n, D]` to `[n, d_y]` and `[n]`."""
        features = self.basis.features(inputs)
        return features @ self.weights, self.spread(features) + self.unrepresented(inputs, features)

    def spread(self, features: torch.Tensor) -> torch.Tensor:
        """Variance of phi^T w, `[n]`, for any rows phi `[n, m]`: |L^-1 Lambda^1/2 phi|^2."""
        whitened: torch.Tensor = torch.linalg.solve_triangular(self.factor, self.root[:, None] * features.T, upper=False)
        return whitened.square().sum(dim=0)

    def unrepresented(self, inputs: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        """Prior variance that the features lack, `[n]`: max(0, k(x, x) - phi^T Lambda phi)."""
        prior = features.square() @ self.root.square()
        return (self.basis.diagonal(inputs, self.parameters) - prior).clamp_min(0.0)

    # --- other posteriors -------------------------------------------------------------------------------------------------------------

    def with_spread_of(self, other: Posterior) -> Posterior:
        """This mean with the variance of another posterior of the same basis: of merged statistics that have not mixed yet only the mean
        may be used, since an agent's own data would count several times."""
        return replace(other, weights=self.weights)

    def conditioned_on(self, inputs: torch.Tensor) -> Posterior:
        """As if these raw inputs `[k, D]` had been observed where the mean predicts them (Kriging believer): the variance shrinks, the mean
        stays."""
        features = self.basis.features(inputs)
        gram = self.gram + symmetric(features.T @ features)
        return replace(self, gram=gram, factor=factorize(gram, self.root, float(self.parameters.noise_variance)))

    def draw(self, random: np.random.Generator) -> Posterior:
        """A function drawn from the posterior (Thompson sampling): the same posterior with drawn weights in the place of their mean, each
        output's drawn independently. What the features don't represent is not drawn."""
        noise: NDArray[np.float64] = random.standard_normal(tuple(self.weights.shape))
        whitened = torch.linalg.solve_triangular(self.factor.T, torch.from_numpy(noise).to(self.basis.device), upper=True)
        return replace(self, weights=self.weights + self.root[:, None] * whitened)


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
        root = own.root()
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
