"""Where in a plane reward is paid: the one rule that the environment and the imagination of an agent share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.spaces.layout import RewardMapInfo

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class RewardMap:
    """Sites s_j worth v_j in the plane [low, high]. Who has acted with a and stands at p then earns, at every step anew,

        r(p, a) = sum_j v_j 1[|p - s_j|_2 < radius] / n_j  -  action_cost |a|_1,

    where n_j is the number of agents at site j if sites are `exclusive`, else 1. Sites are not used up.
    """

    sites: tuple[tuple[float, float], ...]
    values: tuple[float, ...]
    radius: float
    low: tuple[float, float]
    high: tuple[float, float]
    action_cost: float = 0.0
    exclusive: bool = False

    def __post_init__(self) -> None:
        if len(self.sites) != len(self.values):
            raise ValueError(f"{len(self.sites)} sites have {len(self.values)} values: give one to each")

    @classmethod
    def from_info(cls, info: RewardMapInfo) -> RewardMap:
        """From its wire form; `ValueError` where that is no plane or where its lists differ in length."""
        if len(info.low) != 2 or len(info.high) != 2:
            raise ValueError(f"a plane has two coordinates, not {len(info.low)} and {len(info.high)}")
        if len(info.x) != len(info.y):
            raise ValueError(f"{len(info.x)} sites have {len(info.y)} second coordinates: give one to each")
        sites = tuple(zip(info.x, info.y, strict=True))
        low, high = (info.low[0], info.low[1]), (info.high[0], info.high[1])
        return cls(sites, tuple(info.value), info.radius, low, high, info.action_cost, info.exclusive)

    def info(self) -> RewardMapInfo:
        """The parameters as a message; inverse of `from_info`."""
        return RewardMapInfo(
            x=[x for x, _ in self.sites],
            y=[y for _, y in self.sites],
            value=list(self.values),
            radius=self.radius,
            low=list(self.low),
            high=list(self.high),
            action_cost=self.action_cost,
            exclusive=self.exclusive,
        )

    @cached_property
    def _table(self) -> tuple[Floats, Floats, Floats]:
        x, y = np.array(self.sites, np.float64).reshape(-1, 2).T
        return x.copy(), y.copy(), np.array(self.values, np.float64)

    def covered(self, position: NDArray[Any]) -> Mask:
        """Whether `position[..., 2]` is within each of the S sites, `[..., S]`; a position exactly `radius` away is not."""
        x, y, _ = self._table
        dx, dy = position[..., :1] - x, position[..., 1:] - y
        within: Mask = dx * dx + dy * dy < self.radius * self.radius
        return within

    def pay(self, covered: Mask, action: NDArray[Any], crowd: NDArray[Any] | None = None) -> Floats:
        """The rule above for `covered[..., S]` and `action[..., 2]`. `crowd[..., S]`: agents at each site, the one who is paid among them;
        None: it is alone."""
        values = self._table[2]
        if crowd is not None and self.exclusive:
            reward: Floats = (covered * values / np.maximum(crowd, 1)).sum(axis=-1)
        else:
            reward = covered @ values
        if self.action_cost:
            reward = reward - self.action_cost * np.abs(action).sum(axis=-1)
        return reward

    def reward(self, position: NDArray[Any], action: NDArray[Any], crowd: NDArray[Any] | None = None) -> Floats:
        """Own reward `[...]` of who has come to `position[..., 2]` by `action[..., 2]`; `crowd` as in `pay`."""
        return self.pay(self.covered(position), action, crowd)
