"""What is known of rewards by place, apart from the world model: their mean, how sure that is, and one map of all that are possible.

`RewardGrid`: counts and sums of rewards in the cells of a grid. They are additive, so that agents may add them.

    mean(x, a) = (kappa * 0 + sum of the payments in the cell of x) / (kappa + count)  -  action_cost |a|_1
    std(x, a) = scale / sqrt(kappa + count)

The cost of actions is known and does not depend on the place: a payment is the reward plus that cost. (Otherwise an unvisited place would
look better than a visited one without reward, and a greedy policy would explore.) A smooth model smooths rewards of small regions away; a
cell does not. Places beyond the grid belong to its outermost cells.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b

import numpy as np
import torch
from numpy.typing import NDArray

from agent_node.contracts import Array, State, tensors
from agent_node.learners.library.optimisers import restore
from protocols.runtime.errors import ConfigurationError
from protocols.spaces.reward_map import RewardMap

Floats = NDArray[np.float32]
Sums = NDArray[np.float64]
RewardFunction = Callable[[Array, Array], tuple[Floats, Floats]]
"""of next raw observations `[n, D]` and actions `[n, A]`: own rewards `[n]`, and their epistemic standard deviations `[n]`"""
SampledRewardFunction = Callable[[Array, Array], Floats]
"""own rewards `[n]` alone"""
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
        self._own: Sums = np.zeros((2, self.cells))
        self._total: Sums = np.zeros((2, self.cells))
        """sums for predictions: those of all agents, as far as they are known, and all own ones"""
        self._news: Sums = np.zeros((2, self.cells))
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
            for sums in (self._own, self._total, self._news):
                sums[row] += gained
        self.transitions += len(index)

    @property
    def basis_id(self) -> str:
        """What must be equal for statistics to be added: where the cells lie."""
        text = f"grid {self._low.tolist()} {self._shape} {self._cell}"
        return blake2b(text.encode(), digest_size=32).hexdigest()

    def statistics(self) -> Sums:
        """The own counts and sums, `[2 * cells]`: those of several agents may be added."""
        return self._own.reshape(-1).copy()

    def check(self, vector: Sums) -> None:
        """`ValueError` for what can't be one agent's counts and sums: counts are whole, and nothing is earned in no step."""
        count, total = self._shaped(vector)
        if not np.isfinite(vector).all() or (count < 0).any() or (count != np.round(count)).any():
            raise ValueError("counts of a reward grid are whole numbers from 0 on")
        if (total[count == 0] != 0).any():
            raise ValueError("a reward grid has rewards in cells without visits")

    def published(self) -> None:
        """The own sums were sent (`AdditiveStatistics.published`)."""
        self._news[:] = 0.0

    def use(self, total: Sums, complete: bool = True) -> None:
        """Predict from the sum of all agents' statistics (`AdditiveStatistics.use`), and from the own ones that are not among them yet: a
        site that was just found must not be forgotten. `ValueError` for those of another grid."""
        self._total = self._shaped(total) + self._news
        np.maximum(self._total[0], 0.0, out=self._total[0])  # averages that have not mixed, or Byzantine vectors, may be no counts

    def _shaped(self, vector: Sums) -> Sums:
        if vector.shape != (2 * self.cells,):
            raise ValueError(f"statistics of {vector.size} numbers are not those of a grid with {self.cells} cells")
        return vector.reshape(2, self.cells)

    def predict(self, place: Array, action: Array) -> tuple[Floats, Floats]:
        """(mean, std) of the reward, each `[n]`, for steps by `action[n, A]` that lead to `place[n, D]`."""
        mean, std = self._cells()
        index = self._index(place)
        return (mean[index] - self._cost(action)).astype(np.float32), std[index]

    def draw(self, random: np.random.Generator) -> SampledRewardFunction:
        """mean + std * standard normal, drawn once for each cell, minus what the action costs."""
        mean, std = self._cells()
        drawn = mean + std * random.standard_normal(self.cells).astype(np.float32)
        return lambda place, action: (drawn[self._index(place)] - self._cost(action)).astype(np.float32)

    def _cells(self) -> tuple[Floats, Floats]:
        known = self._prior + self._total[0]
        return (self._total[1] / known).astype(np.float32), (self._scale / np.sqrt(known)).astype(np.float32)

    def state(self) -> State:
        """Everything a restart needs."""
        return tensors({"grid/own": self._own, "grid/total": self._total, "grid/news": self._news})

    def load_state(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore what `state` returned, in place. `ValueError` for arrays of another grid."""
        restore(self.state(), state)
        self.transitions = int(self._own[0].sum())


class KnownReward:
    """The environment's own map, without uncertainty."""

    def __init__(self, known: RewardMap) -> None:
        self._map = known

    def predict(self, place: Array, action: Array) -> tuple[Floats, Floats]:
        """Mean reward `[n]` of the map, and its standard deviation, zeros `[n]`."""
        return self._known_reward(place, action), np.zeros(len(place), np.float32)

    def draw(self, random: np.random.Generator) -> SampledRewardFunction:
        """The map itself."""
        return self._known_reward

    def _known_reward(self, place: Array, action: Array) -> Floats:
        return self._map.reward(place, action).astype(np.float32)


RewardModel = RewardGrid | KnownReward
