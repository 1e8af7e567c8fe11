"""The basis whose features no kernel parameter enters: eigenfunctions of the Laplacian on a box (Solin & Sarkka 2020)."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence

import torch

from agent_node.world_models.gp.feature_basis import Basis, Box
from agent_node.world_models.gp.kernel_parameters import KernelParameters


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


class HilbertSpaceBasis(Basis):
    """Eigenfunctions of the Laplacian on the box: the `count` multi-indices with the largest prior spectral density at `reference`."""

    kind = "hsgp"
    frozen_lengthscales = False

    def __init__(
        self,
        box: Box,
        count: int,
        reference: Sequence[float],
        linear_variance: float | None = 1.0,
        meaning: Mapping[str, object] | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        """`reference`: length-scales `[D]` at which the index set is chosen. They shape the basis only through that choice."""
        super().__init__(box, linear_variance, meaning, device)
        if len(reference) != box.size:
            raise ValueError(f"a box of {box.size} inputs needs {box.size} reference length-scales, not {len(reference)}")
        rates = [length * math.pi / (2 * width) for length, width in zip(reference, box.half_widths, strict=True)]
        self.indices = largest_densities(rates, count)
        table = torch.tensor(self.indices, device=self.device)
        self._columns = table - 1
        self._most = [int(column.max()) for column in table.T]
        self._squared_frequencies = (math.pi * table / (2 * self._edge)).square()
        self._norm = float(self._edge.prod().rsqrt())

    @property
    def _count(self) -> int:
        return len(self.indices)

    def _identity(self) -> dict[str, object]:
        return {"indices": self.indices}

    def _features(self, scaled: torch.Tensor) -> torch.Tensor:
        product = torch.full((len(scaled), self._count), self._norm, dtype=torch.float64, device=self.device)
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

    def _largest(self) -> torch.Tensor:
        return torch.full((self._count,), self._norm**2, dtype=torch.float64, device=self.device)
