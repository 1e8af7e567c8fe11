"""Goals at which the agent is getting better, or worse, are tried more often than those that it has mastered or can't do yet."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from agent_node.contracts import Array
from agent_node.settings import LearningProgressSettings


class LearningProgress:
    """Goal source `learning_progress` over `goals` goals.

    Of the outcomes o in {0, 1} of a goal's own training episodes (1: it was rewarded), the newest w, c_g = mean, against the w before them:

        LP_g = c_g - mean of those before,    p(g) = eps / |G| + (1 - eps) |LP_g| / sum_h |LP_h|,

    uniform while no goal has any progress. A goal with n < 2w outcomes is judged by halves of n // 2. Absolute values, so that what is
    being forgotten is practised too (Nisioti et al., arXiv 2211.06082, their samplers; Oudeyer et al. 2007 for the measure).
    """

    def __init__(self, settings: LearningProgressSettings, goals: int) -> None:
        self.settings = settings
        self.goals = goals
        self._kept = 2 * settings.window
        self._outcomes: NDArray[np.uint8] = np.zeros((goals, self._kept), np.uint8)
        """of each goal, a ring: outcome n stands in column n modulo 2w"""
        self._counts: NDArray[np.int64] = np.zeros(goals, np.int64)
        self._progress: NDArray[np.float64] = np.zeros(goals)

    def propose(self, random: np.random.Generator) -> int:
        """A goal's number."""
        return int(random.choice(self.goals, p=self.probabilities()))

    def update(self, goal: int, reward: float) -> None:
        """An own training episode with that goal is over."""
        self._outcomes[goal, self._counts[goal] % self._kept] = reward > 0
        self._counts[goal] += 1
        self._progress[goal] = self._measure(goal)

    def progress(self) -> NDArray[np.float64]:
        """LP_g of every goal, in [-1, 1]."""
        return self._progress.copy()

    def probabilities(self) -> Array:
        """p(g), `[|G|]`."""
        size = np.abs(self._progress)
        total = size.sum()
        if total == 0:
            return np.full(self.goals, 1 / self.goals)
        uniform = self.settings.uniform
        mixed: Array = uniform / self.goals + (1 - uniform) * size / total
        return mixed

    def state(self) -> dict[str, Array]:
        """Everything, as arrays."""
        return {"outcomes": self._outcomes.copy(), "counts": self._counts.copy()}

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Restore; `ValueError` when it is of other goals or another window."""
        if state["outcomes"].shape != self._outcomes.shape:
            raise ValueError(f"outcomes has shape {list(state['outcomes'].shape)} in the state and {list(self._outcomes.shape)} here")
        self._outcomes, self._counts = state["outcomes"].astype(np.uint8), state["counts"].astype(np.int64)
        self._progress = np.array([self._measure(goal) for goal in range(self.goals)])

    def _measure(self, goal: int) -> float:
        count = int(self._counts[goal])
        half = min(self.settings.window, count // 2)
        if half == 0:
            return 0.0
        newest = self._outcomes[goal, np.arange(count - 2 * half, count) % self._kept]
        return float(newest[half:].mean() - newest[:half].mean())
