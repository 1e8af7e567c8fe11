"""How hard goals shall be: which of a teacher's goals were right, and when it must propose harder or easier ones.

A rule holds the wanted duration t* and counts batches of goals that have ended. It is a pure state machine: `hits` returns which goals of a
batch were as hard as wanted, `update` moves t* by what the batch earned. A goal that was right pays `failure` + 1, every other `failure`
(negative; in the paper alpha = 1 + failure, beta = -failure).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from agent_node.contracts import Array
from agent_node.intrinsic.settings import ThresholdSettings, WindowSettings


class DifficultyRule(ABC):
    """Rule that decides which reached goals were difficult enough, by a target t* in steps that it adapts."""

    counters: ClassVar[tuple[str, ...]]
    """attributes to keep in checkpoints: t* and counters, integers"""
    target: int
    """t*, steps"""

    @abstractmethod
    def hits(self, duration: NDArray[np.int64], reached: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which of n goals, ended after `duration[n]` steps, were as hard as wanted."""

    @abstractmethod
    def update(self, earned: float, reward: float) -> None:
        """A batch is over: the mean of what its goals paid the teacher (before the environment's reward overrode any), and of the
        environment's rewards in the steps that ended them."""

    def state(self) -> dict[str, Array]:
        """t* and counters, as they are."""
        return {name: np.array([getattr(self, name)], np.int64) for name in self.counters}

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Restore what `state` gave; `ValueError` with the name of what is missing."""
        for name in self.counters:
            if name not in state:
                raise ValueError(f"{name} is missing in the state of the difficulty rule")
            setattr(self, name, int(state[name][0]))


class ThresholdDifficulty(DifficultyRule):
    """Goals must be reached, but not sooner than after t* steps; t* only rises: by 1 after `counts` batches in a row that earned at least
    `threshold` on average, as long as it is at most `maximum`. So it stops at `maximum` + 1."""

    counters = ("target", "successes")

    def __init__(self, settings: ThresholdSettings, longest: int) -> None:
        self.settings = settings
        self.target = settings.start
        self.successes = 0

    def hits(self, duration: NDArray[np.int64], reached: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """reached and k >= t*, `[n]`, with k = `duration` in steps."""
        return reached & (duration >= self.target)

    def update(self, earned: float, reward: float) -> None:
        """n <- n + 1 where `earned` is at least the threshold, else 0."""
        self.successes = self.successes + 1 if earned >= self.settings.threshold else 0
        if self.successes >= self.settings.counts and self.target <= self.settings.maximum:
            self.target += 1
            self.successes = 0


class WindowDifficulty(DifficultyRule):
    """Goals must be reached within `window` steps around t*, which moves both ways, by 1: down after `counts` batches that earned at least
    `threshold`, or when the environment's reward shows that the task is solved; up after `counts` batches that did not. A move of either
    kind clears both counts; batches of one kind do not clear those of the other. t* stays between `minimum` and `maximum` (default: the
    longest episode)."""

    counters = ("target", "down", "up")

    def __init__(self, settings: WindowSettings, longest: int) -> None:
        self.settings = settings
        self.maximum = settings.maximum or max(longest, settings.minimum)
        self.target = settings.start
        self.down = self.up = 0

    def hits(self, duration: NDArray[np.int64], reached: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """reached and |k - t*| <= w, `[n]`, with k = `duration` in steps and w the half width of the window."""
        return reached & (np.abs(duration - self.target) <= self.settings.window)

    def update(self, earned: float, reward: float) -> None:
        """Count the batch, and move t* where enough of a kind have been counted."""
        settings = self.settings
        if earned >= settings.threshold:
            self.down += 1
        else:
            self.up += 1
        if (self.down >= settings.counts or reward >= settings.solved) and self.target > settings.minimum:
            move = -1
        elif self.up >= settings.counts and self.target < self.maximum:
            move = 1
        else:
            return
        self.target += move
        self.down = self.up = 0
