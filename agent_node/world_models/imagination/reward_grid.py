"""A reward model by place: counts and sums of rewards in the cells of a grid. They are additive, so that agents may add them.

    mean(x, a) = (kappa * 0 + sum of the payments in the cell of x) / (kappa + count)  -  action_cost |a|_1
    std(x, a) = scale / sqrt(kappa + count)

The cost of actions is known and does not depend on the place: a payment is the reward plus that cost. (Otherwise an unvisited place would
look better than a visited one without reward, and a greedy policy would explore.) A smooth model smooths rewards of small regions away; a
cell does not. Places beyond the grid belong to its outermost cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from agent_node.contracts import Array
from agent_node.world_models.imagination.reward_models import SampledRewardFunction
from protocols.runtime.errors import ConfigurationError

Floats = NDArray[np.float64]
MOST_CELLS = 1_000_000


class RewardGrid:
    """Own rewards by the cell of the observation that followed. `low`, `high`: bounds of its D components; `cell`: side of a cell, in
    their units; `prior`: kappa; `scale`: standard deviation of a single reward. `ConfigurationError` for more than a million cells."""

    def __init__(
        self,
        low: Sequence[float],
        high: Sequence[float],
        cell: float,
        action_cost: float = 0.0,
        prior: float = 1.0,
        scale: float = 1.0,
    ) -> None:
        self._low = np.array(low, np.float64)
        self._shape = tuple(np.maximum(1, np.ceil((np.array(high) - self._low) / cell - 1e-9)).astype(np.int64).tolist())
        self._cell, self._action_cost, self._prior, self._scale = cell, action_cost, prior, scale
        self.cells = int(np.prod(self._shape, dtype=np.float64))
        if self.cells > MOST_CELLS:
            raise ConfigurationError(f"a grid of {' x '.join(map(str, self._shape))} cells is too fine: raise the side of a cell")
        self.transitions = 0
        """own ones absorbed so far"""
        self._own: Floats = np.zeros((2, self.cells))
        self._total: Floats = np.zeros((2, self.cells))
        """sums for predictions: those of all agents, as far as they are known, and all own ones"""
        self._news: Floats = np.zeros((2, self.cells))
        """own sums that were not sent yet"""

    def _index(self, place: Array) -> NDArray[np.int64]:
        within = np.floor((place.astype(np.float64) - self._low) / self._cell).astype(np.int64)
        cells: NDArray[np.int64] = np.ravel_multi_index(tuple(within.T), self._shape, mode="clip")
        return cells

    def _cost(self, action: Array) -> Array:
        cost: Array = self._action_cost * np.abs(action).sum(axis=1)
        return cost

    def absorb(self, place: Array, action: Array, reward: Array) -> None:
        """Own transitions, each once: where they led, `[n, D]`, what was done, `[n, A]`, and what was earned, `[n]`."""
        index, paid = self._index(place), reward.astype(np.float64)
        if self._action_cost:
            # Rewards come in single precision: what is left of nothing paid would be sums of rounding errors.
            paid = np.round(paid + self._cost(action), 5)
        for row, weights in enumerate((np.ones(len(index)), paid)):
            gained = np.bincount(index, weights, self.cells)
            self._own[row] += gained
            self._total[row] += gained
            self._news[row] += gained
        self.transitions += len(index)

    @property
    def basis_id(self) -> str:
        """What must be equal for statistics to be added: where the cells lie."""
        text = f"grid {self._low.tolist()} {self._shape} {self._cell}"
        return blake2b(text.encode(), digest_size=32).hexdigest()

    def statistics(self) -> Floats:
        """The own counts and sums, `[2 * cells]`: those of several agents may be added."""
        return self._own.reshape(-1).copy()

    def check(self, vector: Floats) -> None:
        """`ValueError` for what can't be one agent's counts and sums: counts are whole, and nothing is earned in no step."""
        count, total = self._shaped(vector)
        if not np.isfinite(vector).all() or (count < 0).any() or (count != np.round(count)).any():
            raise ValueError("counts of a reward grid are whole numbers from 0 on")
        if (total[count == 0] != 0).any():
            raise ValueError("a reward grid has rewards in cells without visits")

    def published(self) -> None:
        """The own sums were sent (`AdditiveStatistics.published`)."""
        self._news[:] = 0.0

    def use(self, total: Floats, complete: bool = True) -> None:
        """Predict from the sum of all agents' statistics (`AdditiveStatistics.use`), and from the own ones that are not among them yet: a
        site that was just found must not be forgotten. `ValueError` for those of another grid."""
        self._total = self._shaped(total) + self._news
        np.maximum(self._total[0], 0.0, out=self._total[0])  # averages that have not mixed, or Byzantine vectors, may be no counts

    def _shaped(self, vector: Floats) -> Floats:
        if vector.shape != (2 * self.cells,):
            raise ValueError(f"statistics of {vector.size} numbers are not those of a grid with {self.cells} cells")
        return vector.reshape(2, self.cells)

    def predict(self, place: Array, action: Array) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(mean, std) of the reward, each `[n]`, for steps by `action[n, A]` that lead to `place[n, D]`."""
        mean, std = self._cells()
        index = self._index(place)
        return (mean[index] - self._cost(action)).astype(np.float32), std[index]

    def draw(self, random: np.random.Generator) -> SampledRewardFunction:
        """mean + std * standard normal, drawn once for each cell, minus what the action costs."""
        mean, std = self._cells()
        drawn = mean + std * random.standard_normal(self.cells).astype(np.float32)
        return lambda place, action: (drawn[self._index(place)] - self._cost(action)).astype(np.float32)

    def _cells(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        known = self._prior + self._total[0]
        return (self._total[1] / known).astype(np.float32), (self._scale / np.sqrt(known)).astype(np.float32)

    def state(self) -> dict[str, Floats]:
        """Everything a restart needs."""
        return {"own": self._own.copy(), "total": self._total.copy(), "news": self._news.copy()}

    def load_state(self, state: dict[str, Floats]) -> None:
        """Restore what `state` returned, in place. `ValueError` for arrays of another grid."""
        for name, mine in (("own", self._own), ("total", self._total), ("news", self._news)):
            if name not in state or state[name].shape != mine.shape:
                raise ValueError(f"reward grid: {name} is missing, or not of {self.cells} cells")
            mine[:] = state[name]
        self.transitions = int(self._own[0].sum())
