"""Bases that are drawn from a seed which all agents share, for length-scales that are frozen: Fourier features and inducing points."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from agent_node.world_models.gp.feature_basis import Basis, Box, sobol
from agent_node.world_models.gp.kernel_parameters import KernelParameters

INDUCING_JITTER = 1e-6
"""Added to the diagonal of k_zz (unit signal variance)."""


def _fingerprint(values: torch.Tensor) -> str:
    """Hash of drawn numbers, of their first six decimals only: the last bits may differ between machines and don't matter."""
    rounded = np.round(values.cpu().numpy(), 6) + 0.0
    return hashlib.sha256(np.ascontiguousarray(rounded, "<f8").tobytes()).hexdigest()


class FourierBasis(Basis):
    """Random Fourier features of the squared-exponential kernel (Rahimi & Recht 2007), frequencies from a seed that all agents share."""

    kind = "fourier"
    frozen_lengthscales = True

    def __init__(
        self,
        box: Box,
        count: int,
        lengthscales: Sequence[float],
        seed: int = 0,
        epoch: int = 0,
        linear_variance: float | None = 1.0,
        meaning: Mapping[str, object] | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        """`count`: even, a cosine and a sine for each frequency."""
        super().__init__(box, linear_variance, meaning, device)
        if count < 2 or count % 2:
            raise ValueError(f"random Fourier features come in pairs; {count} is not an even number")
        self.lengthscales, self.epoch = tuple(float(value) for value in lengthscales), epoch
        drawn = np.random.default_rng(seed).standard_normal((count // 2, box.size))
        self._frequencies = torch.from_numpy(drawn).to(self.device) / self._tensor(self.lengthscales)

    @property
    def _count(self) -> int:
        return 2 * len(self._frequencies)

    def _identity(self) -> dict[str, object]:
        return {"lengthscales": self.lengthscales, "epoch": self.epoch, "drawn": _fingerprint(self._frequencies)}

    def _features(self, scaled: torch.Tensor) -> torch.Tensor:
        phase = scaled @ self._frequencies.T
        return torch.cat([phase.cos(), phase.sin()], dim=1) / math.sqrt(len(self._frequencies))

    def _prior(self, parameters: KernelParameters) -> torch.Tensor:
        return parameters.signal_variance.expand(self._count)

    def _largest(self) -> torch.Tensor:
        return torch.full((self._count,), 2.0 / self._count, dtype=torch.float64, device=self.device)


class InducingBasis(Basis):
    """Whitened inducing points Z (Nystroem). Z comes from a seed and the box, never from data."""

    kind = "inducing"
    frozen_lengthscales = True

    def __init__(
        self,
        box: Box,
        points: torch.Tensor,
        lengthscales: Sequence[float],
        epoch: int = 0,
        linear_variance: float | None = 1.0,
        meaning: Mapping[str, object] | None = None,
        device: torch.device | str = "cpu",
        jitter: float = INDUCING_JITTER,
    ) -> None:
        """`points[m, D]` in raw units."""
        super().__init__(box, linear_variance, meaning, device)
        self.lengthscales, self.epoch, self.jitter = tuple(float(value) for value in lengthscales), epoch, jitter
        self._lengths = self._tensor(self.lengthscales)
        self._points = self.scale(points)
        covariance = self._kernel(self._points)
        covariance.diagonal().add_(jitter)
        factor, failed = torch.linalg.cholesky_ex(covariance)
        if int(failed):
            raise ValueError(
                f"{len(points)} inducing points lie too close for the length-scales; take fewer points or shorter length-scales"
            )
        self._factor = factor

    @classmethod
    def seeded(cls, box: Box, count: int, lengthscales: Sequence[float], seed: int = 0, **rest: object) -> InducingBasis:
        """Z: `count` scrambled Sobol points within the raw bounds of the box; `rest` as in the constructor."""
        return cls(box, sobol(box, count, seed), lengthscales, **rest)  # type: ignore[arg-type]

    def _kernel(self, scaled: torch.Tensor) -> torch.Tensor:
        """k(z, x) with unit signal variance, `[m, n]`. Differences are taken one by one: the expanded square loses digits."""
        difference = (self._points[:, None] - scaled[None]) / self._lengths
        return torch.exp(-0.5 * difference.square().sum(dim=2))

    @property
    def _count(self) -> int:
        return len(self._points)

    def _identity(self) -> dict[str, object]:
        drawn = _fingerprint(self._points)
        return {"lengthscales": self.lengthscales, "epoch": self.epoch, "jitter": self.jitter, "drawn": drawn}

    def _features(self, scaled: torch.Tensor) -> torch.Tensor:
        whitened: torch.Tensor = torch.linalg.solve_triangular(self._factor, self._kernel(scaled), upper=False)
        return whitened.T

    def _prior(self, parameters: KernelParameters) -> torch.Tensor:
        return parameters.signal_variance.expand(self._count)

    def _largest(self) -> torch.Tensor:
        return torch.ones(self._count, dtype=torch.float64, device=self.device)
