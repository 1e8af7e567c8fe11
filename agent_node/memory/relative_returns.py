"""Returns-to-go relative to those of other episodes at the same step: what a step was followed by, beside what usually follows then."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agent_node.contracts import Array


class RelativeReturns:
    """For a ring of `rows` rows that holds whole episodes. With the rewards r of an episode, t the number of a step in it, gamma the
    discount, and the mean over the episodes in the ring that have a step t:

        G_t = r_t + gamma G_(t+1)           0 after the last step
        g_t = G_t - mean over episodes of G_t
    """

    def __init__(self, rows: int, discount: float) -> None:
        self._discount = discount
        self._return = np.zeros(rows)
        self._sum, self._count = np.zeros(0), np.zeros(0, np.int64)
        """by t: sum of G_t, and number of its terms"""

    def add(self, start: int, reward: NDArray[np.float32]) -> None:
        """An episode of T steps, with the rewards `reward[T]`, begins at row `start`."""
        steps = len(reward)
        following = 0.0
        for t in range(steps - 1, -1, -1):
            following = float(reward[t]) + self._discount * following
            self._return[start + t] = following
        if steps > len(self._sum):
            more = steps - len(self._sum)
            self._sum, self._count = np.pad(self._sum, (0, more)), np.pad(self._count, (0, more))
        self._sum[:steps] += self._return[start : start + steps]
        self._count[:steps] += 1

    def remove(self, start: int, steps: int) -> None:
        """The episode of so many steps that begins at row `start` leaves the ring."""
        self._sum[:steps] -= self._return[start : start + steps]
        self._count[:steps] -= 1

    def of(self, rows: NDArray[np.int64], start: NDArray[np.int64]) -> NDArray[np.float32]:
        """g `[n]` of the steps at `rows[n]`, whose episodes begin at the rows `start[n]`."""
        t = rows - start
        relative: NDArray[np.float32] = (self._return[rows] - self._sum[t] / self._count[t]).astype(np.float32)
        return relative

    def state(self, top: int) -> dict[str, Array]:
        """For a checkpoint of a ring with `top` used rows."""
        return {"returns": self._return[:top].copy(), "return_sums": self._sum.copy(), "return_counts": self._count.copy()}

    def load(self, state: dict[str, Array]) -> None:
        """Restore what `state` returned; `ValueError` names what is missing."""
        if missing := {"returns", "return_sums", "return_counts"} - set(state):
            raise ValueError(f"replay buffer: {min(missing)} is missing in the state")
        self._return[: len(state["returns"])] = state["returns"]
        self._sum, self._count = state["return_sums"].copy(), state["return_counts"].copy()
