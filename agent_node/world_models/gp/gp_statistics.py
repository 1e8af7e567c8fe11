"""What agents add: sums over data in a common basis, and how they become one vector and back.

    G = Phi^T Phi [m, m],  b = Phi^T Y [m, d_y],  q = sum y^2 [d_y],  n = number of transitions

The posterior of the data of all agents follows from the sums of these over all agents.

Effects that are an agent's own (the gain of its actuators) are kept out of the common model without leaving the sums. Agent i observes
y = phi^T w + a^T z_i + noise with its actions a `[d_a]` and private z_i ~ N(0, tau^2 I), one per output. With the ratio r = sigma^2 / tau^2
held fixed and M_i = A_i^T A_i + r I, marginalising z_i leaves sums that agents may still add:

    G_i = Phi^T Phi - C M_i^-1 C^T,   b_i = Phi^T Y - C M_i^-1 A^T Y,   q_i = sum y^2 - Y^T A M_i^-1 A^T Y,   C = Phi^T A
    log_determinant = ln det(I + A^T A / r)

(the statistics of data with noise covariance sigma^2 (I + A A^T / r)).

`log_determinant` is what the evidence then needs besides; it is 0 where no effects are marginalised.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from agent_node.world_models.gp.feature_basis import HilbertSpaceBasis

TOLERANCE = 1e-8
"""G may have eigenvalues down to minus this (times the largest entry of its diagonal, where that is above 1): rounding"""
SLACK = 1e-4
"""share by which inequalities that hold for sums over data may be missed after rounding, where G is nearly singular"""


class BasisMismatch(ValueError):
    """Statistics of different bases were to be added or used together."""


class InvalidStatistics(ValueError):
    """Numbers that are no sum over data."""


@cache
def _upper(size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows and columns of the upper triangle, row by row."""
    rows, columns = torch.triu_indices(size, size)
    return rows, columns


def _zeros(basis: HilbertSpaceBasis, *shape: int) -> torch.Tensor:
    return torch.zeros(shape, dtype=torch.float64, device=basis.device)


def vector_length(size: int, outputs: int) -> int:
    """Numbers in a packed vector, of m features and d_y outputs: m (m + 1) / 2 + m d_y + d_y + 2. Eight bytes each."""
    return size * (size + 1) // 2 + size * outputs + outputs + 2


@dataclass(frozen=True, eq=False)
class Statistics:
    """Additive statistics of one basis. float64; never changed once made."""

    basis_id: str
    gram: torch.Tensor
    """G, `[m, m]`, symmetric to the last bit"""
    moment: torch.Tensor
    """b, `[m, d_y]`"""
    squares: torch.Tensor
    """q, `[d_y]`"""
    count: float
    """n; a fraction where old data count less (`scaled`)"""
    log_determinant: float = 0.0
    """sum over agents of ln det(I + tau^2 / sigma^2 A_i^T A_i) of the effects that were marginalised"""

    @classmethod
    def zero(cls, basis: HilbertSpaceBasis, outputs: int) -> Statistics:
        """The statistics of no transitions: all sums 0."""
        size = basis.size
        return cls(basis.basis_id, _zeros(basis, size, size), _zeros(basis, size, outputs), _zeros(basis, outputs), 0.0)

    @classmethod
    def of(cls, basis: HilbertSpaceBasis, inputs: torch.Tensor, targets: torch.Tensor, batch: int = 2048) -> Statistics:
        """Of transitions: raw inputs `[n, D]` and targets `[n, d_y]`, `batch` rows at a time. `ValueError` where a number is not finite."""
        total = cls.zero(basis, targets.shape[1])
        gram, moment, squares = total.gram, total.moment, total.squares
        targets = targets.to(basis.device, torch.float64)
        if not (torch.isfinite(inputs).all() and torch.isfinite(targets).all()):
            raise ValueError("a transition has an observation, action or change that is not finite; leave it out before it is absorbed")
        for start in range(0, len(inputs), batch):
            features = basis.features(inputs[start : start + batch])
            part = targets[start : start + batch]
            gram += features.T @ features
            moment += features.T @ part
            squares += part.square().sum(dim=0)
        return cls(basis.basis_id, symmetric(gram), moment, squares, float(len(inputs)))

    @property
    def size(self) -> int:
        """m, the number of basis functions."""
        return self.gram.shape[0]

    @property
    def outputs(self) -> int:
        """d_y, the number of predicted components."""
        return self.moment.shape[1]

    # --- algebra ----------------------------------------------------------------------------------------------------------------------

    def require(self, basis: HilbertSpaceBasis) -> None:
        """`BasisMismatch` unless they are of this basis."""
        if self.basis_id != basis.basis_id:
            raise BasisMismatch(f"statistics of basis {self.basis_id[:12]} were given to a model of basis {basis.basis_id[:12]}")

    def _sums(self) -> tuple[Any, ...]:
        return self.gram, self.moment, self.squares, self.count, self.log_determinant

    def __add__(self, other: Statistics) -> Statistics:
        """Of the joined data. `BasisMismatch` for another basis."""
        if self.basis_id != other.basis_id:
            text = f"statistics of basis {self.basis_id[:12]} and of basis {other.basis_id[:12]} can't be added"
            raise BasisMismatch(f"{text}: all agents need the same settings of the world model")
        return Statistics(self.basis_id, *(mine + theirs for mine, theirs in zip(self._sums(), other._sums(), strict=True)))

    def scaled(self, factor: float) -> Statistics:
        """Every datum counts `factor` times: forgetting (below 1), or a sum from an average (the number of agents)."""
        return Statistics(self.basis_id, *(part * factor for part in self._sums()))

    # --- the wire ---------------------------------------------------------------------------------------------------------------------

    def pack(self) -> NDArray[np.float64]:
        """`[upper(G) by rows, b by rows, q, n, log_determinant]`, `vector_length(m, d_y)` numbers."""
        rows, columns = _upper(self.size)
        scalars = torch.tensor([self.count, self.log_determinant], dtype=torch.float64)
        parts = [self.gram.cpu()[rows, columns], self.moment.cpu().reshape(-1), self.squares.cpu(), scalars]
        packed: NDArray[np.float64] = torch.cat(parts).numpy()
        return packed

    @classmethod
    def unpack(cls, vector: NDArray[np.float64], basis: HilbertSpaceBasis, outputs: int) -> Statistics:
        """Inverse of `pack`, into memory of its own. `InvalidStatistics` for another length; numbers are not looked at (`validate`)."""
        size = basis.size
        if vector.shape != (vector_length(size, outputs),):
            text = f"statistics of {size} features and {outputs} outputs are {vector_length(size, outputs)} numbers"
            raise InvalidStatistics(f"{text}, not an array of shape {vector.shape}")
        numbers = torch.from_numpy(np.array(vector, np.float64))
        triangle = size * (size + 1) // 2
        upper, moment, squares, scalars = torch.split(numbers, [triangle, size * outputs, outputs, 2])
        rows, columns = _upper(size)
        gram = torch.empty(size, size, dtype=torch.float64)
        gram[rows, columns] = upper
        gram[columns, rows] = upper
        device = basis.device
        count, log_determinant = scalars.tolist()
        moment = moment.reshape(size, outputs).clone()
        return cls(basis.basis_id, gram.to(device), moment.to(device), squares.clone().to(device), count, log_determinant)

    # --- what sums over data obey -----------------------------------------------------------------------------------------------------

    def validate(self, basis: HilbertSpaceBasis) -> None:
        """`InvalidStatistics` (or `BasisMismatch`) unless the numbers could be those of one origin's data: finite, n >= 0, q >= 0,
        0 <= G_kk <= n max phi_k^2, b_k^2 <= G_kk q, G positive semidefinite, and b^T G^-1 b <= q."""
        self.require(basis)
        scalars = torch.tensor([self.count, self.log_determinant])
        if not all(bool(torch.isfinite(part).all()) for part in (self.gram, self.moment, self.squares, scalars)):
            raise InvalidStatistics("a number is not finite")
        if self.count < 0 or self.log_determinant < 0:
            raise InvalidStatistics(f"n = {self.count:g} transitions and log-determinant {self.log_determinant:g}: neither can be negative")
        if bool((self.squares < 0).any()):
            raise InvalidStatistics("q, a sum of squares, is negative")
        if not torch.equal(self.gram, self.gram.T):
            raise InvalidStatistics("G is not symmetric")
        diagonal = self.gram.diagonal()
        tolerance = TOLERANCE * max(1.0, float(diagonal.abs().max()))
        most = self.count * basis.largest()
        if bool((diagonal < -tolerance).any()) or bool((diagonal > most * (1 + SLACK) + tolerance).any()):
            worst = int((diagonal - most).argmax())
            text = f"G[{worst}, {worst}] = {float(diagonal[worst]):g}, but {self.count:g} transitions give between 0 and"
            raise InvalidStatistics(f"{text} n max phi^2 = {float(most[worst]):g}")
        allowed = (diagonal[:, None] + tolerance) * self.squares
        if bool((self.moment.square() > allowed * (1 + SLACK) + tolerance**2).any()):
            raise InvalidStatistics("b contradicts G and q: b_k^2 <= G_kk q does not hold (Cauchy-Schwarz)")
        shifted = self.gram.clone()
        shifted.diagonal().add_(tolerance)
        factor, failed = torch.linalg.cholesky_ex(shifted)
        if int(failed):
            raise InvalidStatistics(f"G has an eigenvalue below {-tolerance:.1g}: it is not positive semidefinite")
        explained = torch.linalg.solve_triangular(factor, self.moment, upper=False).square().sum(dim=0)
        if bool((explained > self.squares * (1 + SLACK) + tolerance).any()):
            raise InvalidStatistics("b contradicts G and q: the features explain more than the sum of squares, b^T G^-1 b > q")


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
    def zero(cls, basis: HilbertSpaceBasis, outputs: int, actions: int, ratio: float) -> PersonalStatistics:
        """Of no data."""
        cross, squares, targets = _zeros(basis, basis.size, actions), _zeros(basis, actions, actions), _zeros(basis, actions, outputs)
        return cls(Statistics.zero(basis, outputs), cross, squares, targets, ratio)

    def absorbed(
        self, basis: HilbertSpaceBasis, inputs: torch.Tensor, actions: torch.Tensor, targets: torch.Tensor, batch: int = 2048
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

    def root(self) -> torch.Tensor:
        """Cholesky factor of M."""
        matrix = self.actions.clone()
        matrix.diagonal().add_(self.ratio)
        root: torch.Tensor = torch.linalg.cholesky(matrix)
        return root

    def shared(self) -> Statistics:
        """What may be added to other agents' statistics: z_i marginalised."""
        root = self.root()
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
        return {"cross": self.cross, "actions": self.actions, "targets": self.targets}


def symmetric(matrix: torch.Tensor) -> torch.Tensor:
    """The mean of a matrix and its transpose: equal to its transpose to the last bit."""
    return (matrix + matrix.T) / 2
