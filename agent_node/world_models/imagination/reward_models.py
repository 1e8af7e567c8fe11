"""What is known of rewards by place, apart from the world model: their mean, how sure that is, and one map of all that are possible."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from agent_node.contracts import Array
from protocols.spaces.reward_map import RewardMap

Floats = NDArray[np.float32]
RewardFunction = Callable[[Array, Array], tuple[Floats, Floats]]
"""of next raw observations `[n, D]` and actions `[n, A]`: own rewards `[n]`, and their epistemic standard deviations `[n]`"""
SampledRewardFunction = Callable[[Array, Array], Floats]
"""own rewards `[n]` alone"""


class RewardModel(Protocol):
    """Rewards by where a step led and what was done."""

    def predict(self, place: Array, action: Array) -> tuple[Floats, Floats]:
        """Mean and epistemic standard deviation, each `[n]`, for next raw observations `[n, D]` and actions `[n, A]`."""
        ...

    def draw(self, random: np.random.Generator) -> SampledRewardFunction:
        """One map of rewards, drawn from all that are possible."""
        ...


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
