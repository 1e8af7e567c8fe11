"""The basis: feature maps that every agent builds from its settings alone, so that statistics of different agents may be added.

A Gaussian process with kernel k is replaced by y = phi(x)^T w, w ~ N(0, Lambda_theta), with m features and diagonal Lambda
(Solin & Sarkka 2020):

    phi_j(x) = prod_d L_d^(-1/2) sin(pi j_d (x_d + L_d) / (2 L_d)),  Lambda = S_theta(omega_j)
    and for the linear part 1, x,  Lambda = linear_variance

No kernel parameter enters the features: statistics stay valid whatever theta becomes.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

SMALLEST_PRIOR = 1e-12
"""Prior variances are kept above this share of the largest."""
DESIGN = 256
"""Points at which a basis is asked how much of the prior it lacks."""


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
        """From plain numbers, all positive."""
        vector = torch.tensor([*lengthscales, signal_variance, noise_variance], dtype=torch.float64, device=device)
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
class Box:
    """Where inputs live. `low`, `high`: raw bounds, scaled to [-1, 1]; `half_widths` >= 1, in scaled units: where inputs are clipped, and
    where the eigenfunctions vanish. One number per input each."""

    low: tuple[float, ...]
    high: tuple[float, ...]
    half_widths: tuple[float, ...]

    def __post_init__(self) -> None:
        for name in ("low", "high", "half_widths"):  # 1 and 1.0 must be the same box to `basis_id`
            object.__setattr__(self, name, tuple(float(value) for value in getattr(self, name)))

    @property
    def size(self) -> int:
        """D, the number of inputs."""
        return len(self.low)


class InputScale:
    """Raw inputs `[n, D]` in units of a box, on `device`."""

    def __init__(self, box: Box, device: torch.device | str = "cpu") -> None:
        self.box = box
        self.device = torch.device(device)
        low, high = self._tensor(box.low), self._tensor(box.high)
        self._middle, self._half = (low + high) / 2, (high - low) / 2
        self._edge = self._tensor(box.half_widths)

    def _tensor(self, values: Sequence[float]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.float64, device=self.device)

    def scale(self, inputs: torch.Tensor) -> torch.Tensor:
        """Raw `[n, D]` to scaled float64, clipped to the box. Beyond its edge sines alias; at it they vanish, and the prior returns."""
        scaled = (inputs.to(self.device, torch.float64) - self._middle) / self._half
        return scaled.clamp(-self._edge, self._edge)


def sobol(box: Box, count: int, seed: int) -> torch.Tensor:
    """`count` scrambled Sobol points within the raw bounds, `[count, D]`."""
    engine = torch.quasirandom.SobolEngine(box.size, scramble=True, seed=seed)  # type: ignore[no-untyped-call]
    low, high = torch.tensor(box.low, dtype=torch.float64), torch.tensor(box.high, dtype=torch.float64)
    points: torch.Tensor = low + (high - low) * engine.draw(count, dtype=torch.float64)
    return points


def largest_densities(rates: Sequence[float], count: int) -> list[tuple[int, ...]]:
    """The `count` multi-indices j >= 1 of least sum_d (rates_d j_d)^2, that is of largest spectral density for rates l_d pi / (2 L_d).

    Best first: the successors of j differ in one place, from the last place that was raised on, so that each is met once. Ties are broken
    by the indices themselves. Plain floats in fixed order: the same everywhere.
    """
    start = (1,) * len(rates)

    def cost(index: tuple[int, ...]) -> float:
        return math.fsum((rate * j) ** 2 for rate, j in zip(rates, index, strict=True))

    heap = [(cost(start), start, 0)]
    chosen: list[tuple[int, ...]] = []
    while len(chosen) < count:
        _, index, place = heapq.heappop(heap)
        chosen.append(index)
        for d in range(place, len(rates)):
            following = (*index[:d], index[d] + 1, *index[d + 1 :])
            heapq.heappush(heap, (cost(following), following, d))
    return sorted(chosen)


class HilbertSpaceBasis(InputScale):
    """Eigenfunctions of the Laplacian on the box: the `count` multi-indices with the largest prior spectral density at `reference`."""

    def __init__(
        self,
        box: Box,
        count: int,
        reference: Sequence[float],
        linear_variance: float | None = 1.0,
        meaning: Mapping[str, object] | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        """`reference`: length-scales `[D]` at which the index set is chosen. They shape the basis only through that choice. `meaning`: what
        else the sums hang on (how targets are scaled, which effects were marginalised); it goes into the identity as it stands."""
        super().__init__(box, device)
        self.linear_variance = linear_variance
        self.meaning = dict(meaning or {})
        rates = [length * math.pi / (2 * width) for length, width in zip(reference, box.half_widths, strict=True)]
        self.indices = largest_densities(rates, count)
        table = torch.tensor(self.indices, device=self.device)
        self._columns = table - 1
        self._most = [int(column.max()) for column in table.T]
        self._squared_frequencies = (math.pi * table / (2 * self._edge)).square()
        self._norm = float(self._edge.prod().rsqrt())

    @property
    def size(self) -> int:
        """m, the linear part included."""
        return len(self.indices) + (0 if self.linear_variance is None else self.box.size + 1)

    @cached_property
    def basis_id(self) -> str:
        """Hash of everything that makes statistics addable. Statistics with different ones must never be added."""
        box = {"low": self.box.low, "high": self.box.high, "half_widths": self.box.half_widths}
        text = {
            "kind": "hsgp",
            "size": self.size,
            "linear": self.linear_variance is not None,
            "dtype": "float64",
            "box": box,
            "meaning": self.meaning,
            "indices": self.indices,
        }
        return hashlib.sha256(json.dumps(text, sort_keys=True).encode()).hexdigest()

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
        largest = torch.full((len(self.indices),), self._norm**2, dtype=torch.float64, device=self.device)
        if self.linear_variance is not None:
            largest = torch.cat([largest, torch.ones(1, dtype=torch.float64, device=self.device), self._edge.square()])
        return largest

    def _features(self, scaled: torch.Tensor) -> torch.Tensor:
        product = torch.full((len(scaled), len(self.indices)), self._norm, dtype=torch.float64, device=self.device)
        for d, most in enumerate(self._most):
            phase = (math.pi / 2) * (scaled[:, d] / self._edge[d] + 1)
            sines = torch.sin(phase[:, None] * torch.arange(1, most + 1, dtype=torch.float64, device=self.device))
            product *= sines[:, self._columns[:, d]]
        return product

    def _prior(self, parameters: KernelParameters) -> torch.Tensor:
        """S(omega) = signal_variance (2 pi)^(D / 2) prod_d l_d exp(-1/2 sum_d l_d^2 omega_d^2)."""
        lengths = parameters.lengthscales
        exponent = -0.5 * (self._squared_frequencies * lengths.square()).sum(dim=1)
        scale = 0.5 * self.box.size * math.log(2 * math.pi) + lengths.log().sum()
        return parameters.signal_variance * (exponent + scale).exp()
