"""Kernel parameters theta, their logarithms in one vector, and the bounds within which they are learnt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

NOISE_FLOOR = 1e-4
"""Least noise variance: below it the whitened matrix loses digits, and exact duplicates would count without bound."""


@dataclass(frozen=True)
class KernelParameters:
    """theta of k(x, x') = signal_variance * exp(-1/2 sum_d (x_d - x'_d)^2 / lengthscales_d^2), with observation noise.

    Length-scales `[D]` are in units of the scaled inputs, variances (scalars) in squared units of the targets. float64.
    """

    lengthscales: torch.Tensor
    signal_variance: torch.Tensor
    noise_variance: torch.Tensor

    @classmethod
    def of(
        cls, lengthscales: Sequence[float], signal_variance: float, noise_variance: float, device: torch.device | str = "cpu"
    ) -> KernelParameters:
        """From plain numbers; `ValueError` unless all are positive and finite."""
        vector = torch.tensor([*lengthscales, signal_variance, noise_variance], dtype=torch.float64, device=device)
        if not (torch.isfinite(vector) & (vector > 0)).all():
            raise ValueError(f"kernel parameters must be positive and finite, not {vector.tolist()}")
        return cls(vector[:-2], vector[-2], vector[-1])

    @classmethod
    def from_logarithms(cls, vector: torch.Tensor) -> KernelParameters:
        """Inverse of `logarithms`, differentiable: `[D + 2]`."""
        values = vector.exp()
        return cls(values[:-2], values[-2], values[-1])

    def logarithms(self) -> torch.Tensor:
        """`[D + 2]`: ln of length-scales, signal variance, noise variance."""
        return torch.cat([self.lengthscales, self.signal_variance.reshape(1), self.noise_variance.reshape(1)]).log()


@dataclass(frozen=True)
class ParameterBounds:
    """Least and largest logarithms `[D + 2]`, in the order of `KernelParameters.logarithms`. Equal bounds freeze a parameter."""

    lower: torch.Tensor
    upper: torch.Tensor

    @classmethod
    def around(
        cls,
        start: KernelParameters,
        lengthscale_range: tuple[float, float] = (0.25, 10.0),
        signal_range: tuple[float, float] = (1e-4, 1e4),
        noise_range: tuple[float, float] = (NOISE_FLOOR, 1e2),
        frozen_lengthscales: bool = False,
        frozen_noise: bool = False,
    ) -> ParameterBounds:
        """Length-scales and signal variance within factors of `start`, the noise variance within absolute bounds, or frozen at `start`."""
        logarithms = start.logarithms()
        size = len(logarithms) - 2
        ends = []
        for end in (0, 1):
            bound = logarithms.clone()
            if not frozen_lengthscales:
                bound[:size] += torch.tensor(lengthscale_range[end], dtype=torch.float64).log()
            bound[size] += torch.tensor(signal_range[end], dtype=torch.float64).log()
            if not frozen_noise:
                bound[size + 1] = torch.tensor(noise_range[end], dtype=torch.float64).log()
            ends.append(bound)
        if not (ends[0] <= ends[1]).all():
            raise ValueError("a lower bound of the kernel parameters is above its upper bound")
        return cls(ends[0], ends[1])
