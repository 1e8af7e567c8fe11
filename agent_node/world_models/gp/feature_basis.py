"""Bases: feature maps that every agent builds from its settings alone, so that statistics of different agents may be added.

A Gaussian process with kernel k is replaced by y = phi(x)^T w, w ~ N(0, Lambda_theta), with m features and diagonal Lambda:

    hsgp       phi_j(x) = prod_d L_d^(-1/2) sin(pi j_d (x_d + L_d) / (2 L_d)),  Lambda = S_theta(omega_j)   (Solin & Sarkka 2020)
    fourier    phi(x) = (m / 2)^(-1/2) [cos(omega x), sin(omega x)],  omega ~ N(0, diag 1 / l^2),  Lambda = signal_variance
    inducing   phi(x) = chol(k_zz)^(-1) k_z(x) with unit signal variance,  Lambda = signal_variance      (Nystroem, whitened)
    linear     1, x appended to any of them,  Lambda = linear_variance

For hsgp no kernel parameter enters the features: statistics stay valid whatever theta becomes. For the other two the length-scales do:
they are frozen, and part of the basis' identity together with the number of the epoch in which they hold.

Here is what they have in common, and the linear part; hsgp is in `hilbert`, fourier and inducing are in `drawn`.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from agent_node.world_models.gp.kernel_parameters import KernelParameters

SMALLEST_PRIOR = 1e-12
"""Prior variances are kept above this share of the largest."""
DESIGN = 256
"""Points at which a basis is asked how much of the prior it lacks."""


@dataclass(frozen=True)
class Box:
    """Where inputs live. `low`, `high`: raw bounds, scaled to [-1, 1]; `half_widths` >= 1, in scaled units: where inputs are clipped, and
    where the eigenfunctions vanish. One number per input each."""

    low: tuple[float, ...]
    high: tuple[float, ...]
    half_widths: tuple[float, ...]

    def __post_init__(self) -> None:
        for name in ("low", "high", "half_widths"):  # 1 and 1.0 must be the same box to `basis_id`
            object.__setattr__(self, name, tuple(float(value) for value in getattr(self, name)))
        if not self.low or not len(self.low) == len(self.high) == len(self.half_widths):
            raise ValueError("a box needs as many lower bounds as upper bounds and half-widths, and at least one")
        if not all(low < high for low, high in zip(self.low, self.high, strict=True)):
            raise ValueError("every lower bound of a box must be below its upper bound")
        if min(self.half_widths) < 1:
            raise ValueError("half-widths are in units of the scaled range [-1, 1]; they must be at least 1")

    @property
    def size(self) -> int:
        """D, the number of inputs."""
        return len(self.low)


class Basis(ABC):
    """m features on a box, with what makes their statistics comparable. `meaning`: what else the sums hang on (how targets are scaled,
    which effects were marginalised); it goes into the identity as it stands."""

    kind: str
    frozen_lengthscales: bool
    """whether the features depend on the length-scales, which must then not be learnt"""

    def __init__(
        self,
        box: Box,
        linear_variance: float | None,
        meaning: Mapping[str, object] | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        if linear_variance is not None and not linear_variance > 0:
            raise ValueError("the prior variance of the linear part must be positive; None leaves the part out")
        self.box = box
        self.linear_variance = linear_variance
        self.meaning = dict(meaning or {})
        self.device = torch.device(device)
        low, high = self._tensor(box.low), self._tensor(box.high)
        self._middle, self._half = (low + high) / 2, (high - low) / 2
        self._edge = self._tensor(box.half_widths)

    def _tensor(self, values: Sequence[float]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.float64, device=self.device)

    @property
    def size(self) -> int:
        """m, the linear part included."""
        return self._count + (0 if self.linear_variance is None else self.box.size + 1)

    @cached_property
    def basis_id(self) -> str:
        """Hash of everything that makes statistics addable. Statistics with different ones must never be added."""
        box = {"low": self.box.low, "high": self.box.high, "half_widths": self.box.half_widths}
        text = {
            "kind": self.kind,
            "size": self.size,
            "linear": self.linear_variance is not None,
            "dtype": "float64",
            "box": box,
            "meaning": self.meaning,
        }
        return hashlib.sha256(json.dumps(text | self._identity(), sort_keys=True).encode()).hexdigest()

    def scale(self, inputs: torch.Tensor) -> torch.Tensor:
        """Raw `[n, D]` to scaled float64, clipped to the box. Beyond its edge sines alias; at it they vanish, and the prior returns."""
        scaled = (inputs.to(self.device, torch.float64) - self._middle) / self._half
        return scaled.clamp(-self._edge, self._edge)

    def features(self, inputs: torch.Tensor) -> torch.Tensor:
        """phi: raw inputs `[n, D]` to `[n, m]`."""
        scaled = self.scale(inputs)
        features = self._features(scaled)
        if self.linear_variance is None:
            return features
        return torch.cat([features, torch.ones_like(scaled[:, :1]), scaled], dim=1)

    def prior(self, parameters: KernelParameters) -> torch.Tensor:
        """Diagonal of Lambda_theta, `[m]`, differentiable in theta."""
        prior = self._prior(parameters)
        if self.linear_variance is not None:
            prior = torch.cat([prior, torch.full((self.box.size + 1,), self.linear_variance, dtype=torch.float64, device=self.device)])
        return prior.clamp_min(SMALLEST_PRIOR * prior.detach().max())

    def diagonal(self, inputs: torch.Tensor, parameters: KernelParameters) -> torch.Tensor:
        """k_theta(x, x), `[n]`: the prior variance of the process that the features stand for."""
        scaled = self.scale(inputs)
        signal = parameters.signal_variance.expand(len(scaled))
        if self.linear_variance is None:
            return signal
        return signal + self.linear_variance * (1 + scaled.square().sum(dim=1))

    @cached_property
    def _design(self) -> torch.Tensor:
        """Squared features, without the linear part, at `DESIGN` Sobol points within the raw bounds: the same at all agents."""
        return self._features(self.scale(sobol(self.box, DESIGN, 0))).square()

    def missing(self, parameters: KernelParameters) -> torch.Tensor:
        """Prior variance that the features lack, max(0, k(x, x) - phi^T Lambda phi), in the mean over the bounds. Differentiable."""
        lacking: torch.Tensor = parameters.signal_variance - self._design @ self._prior(parameters)
        return lacking.clamp_min(0.0).mean()

    def largest(self) -> torch.Tensor:
        """Upper bounds of each feature's square anywhere, `[m]`."""
        largest = self._largest()
        if self.linear_variance is not None:
            largest = torch.cat([largest, torch.ones(1, dtype=torch.float64, device=self.device), self._edge.square()])
        return largest

    @property
    @abstractmethod
    def _count(self) -> int:
        """Features besides the linear part."""

    @abstractmethod
    def _identity(self) -> dict[str, object]: ...

    @abstractmethod
    def _features(self, scaled: torch.Tensor) -> torch.Tensor: ...

    @abstractmethod
    def _prior(self, parameters: KernelParameters) -> torch.Tensor: ...

    @abstractmethod
    def _largest(self) -> torch.Tensor: ...


def sobol(box: Box, count: int, seed: int) -> torch.Tensor:
    """`count` scrambled Sobol points within the raw bounds, `[count, D]`."""
    engine = torch.quasirandom.SobolEngine(box.size, scramble=True, seed=seed)  # type: ignore[no-untyped-call]
    low, high = torch.tensor(box.low, dtype=torch.float64), torch.tensor(box.high, dtype=torch.float64)
    points: torch.Tensor = low + (high - low) * engine.draw(count, dtype=torch.float64)
    return points
