"""Goals whose success rate changes are proposed more often than goals that are mastered or not yet reachable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from agent_node.contracts import Array, GoalSource, State, tensors
from agent_node.goals.settings import JointLearningProgressSettings, LearningProgressSettings
from agent_node.learners.library.optimisers import restore


class LearningProgress(GoalSource):
    """Goal source `learning_progress` over `goals` goals.

    Of the outcomes o in {0, 1} of a goal's own training episodes (1: it was rewarded), the newest w, c_g = mean, against the w before them:

        LP_g = c_g - mean of those before,    p(g) = eps / |G| + (1 - eps) |LP_g| / sum_h |LP_h|,

    uniform while no goal has any progress. A goal with n < 2w outcomes is judged by halves of n // 2 (0 while there are fewer than two).
    Absolute values, so that goals that are being forgotten are practised too (Nisioti et al., arXiv 2211.06082, their samplers; Oudeyer et
    al. 2007 for the measure).
    """

    def __init__(self, settings: LearningProgressSettings | JointLearningProgressSettings, goals: int) -> None:
        self.settings = settings
        self.goals = goals
        cells = self._cells(goals)
        self._outcomes: NDArray[np.uint8] = np.zeros((cells, 2 * settings.window), np.uint8)
        """of each cell (here a goal) a ring of 2w outcomes: outcome n stands in column n modulo 2w"""
        self._counts: NDArray[np.int64] = np.zeros(cells, np.int64)
        self._progress: NDArray[np.float64] = np.zeros(cells)

    def _cells(self, goals: int) -> int:
        """Number of things whose progress is measured."""
        return goals

    def propose(self, random: np.random.Generator) -> int:
        """Index of a goal, drawn with the probabilities of `probabilities`."""
        return int(random.choice(self.goals, p=self.probabilities()))

    def update(self, goal: int, reward: float) -> None:
        """Add the outcome of a training episode with that goal."""
        self._add(goal, reward > 0)

    def _add(self, cell: int, success: bool) -> None:
        self._outcomes[cell, self._counts[cell] % self._outcomes.shape[1]] = success
        self._counts[cell] += 1
        self._progress[cell] = self._measure(cell)

    def _measure(self, cell: int) -> float:
        count = int(self._counts[cell])
        half = min(self.settings.window, count // 2)
        if half == 0:
            return 0.0
        newest = self._outcomes[cell, np.arange(count - 2 * half, count) % self._outcomes.shape[1]]
        return float(newest[half:].mean() - newest[:half].mean())

    def progress(self) -> NDArray[np.float64]:
        """LP_g of every goal, in [-1, 1]."""
        return self._progress.copy()

    def _weights(self) -> NDArray[np.float64]:
        """`[|G|]`, to which the probabilities are proportional but for eps."""
        return np.abs(self._progress)

    def probabilities(self) -> Array:
        """Probability p(g) of each goal, `[|G|]`, sum 1."""
        weights, uniform = self._weights(), self.settings.uniform
        total = weights.sum()
        if total == 0:
            return np.full(self.goals, 1 / self.goals)
        mixed: Array = uniform / self.goals + (1 - uniform) * weights / total
        return mixed

    def state_dict(self) -> State:
        """The outcomes of the windows."""
        return tensors({"outcomes": self._outcomes, "counts": self._counts})

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore; `ValueError` for another number of goals or another window."""
        restore(self.state_dict(), state)
        self._progress[:] = [self._measure(cell) for cell in range(len(self._counts))]


class JointLearningProgress(LearningProgress):
    """Goal source `joint_learning_progress` over `goals` goals: those whose success rate changes in combination with some goal of the
    partner. Progress of joint skills shows only there.

    A matrix over (own goal g, partner's goal h) has the learning progress of the own outcomes (see `LearningProgress`) in episodes with
    both; the weight of g is the greatest in its row:

        W_g = max_h |LP_gh|,    p(g) = eps / |G| + (1 - eps) W_g / sum_k W_k,    uniform while nothing progresses

    (Nisioti et al., arXiv 2211.06082, their samplers, with w = 100 and eps = 0.3). The partner's goal arrives with its trace after the
    episode; an episode without a trace is not counted. With several partners it counts for each of their goals.
    """

    def _cells(self, goals: int) -> int:
        return goals * goals

    def update(self, goal: int, reward: float) -> None:
        """Nothing: the goals of the partners are not known yet."""

    def completed(self, goal: int, reward: float, partner_goals: Sequence[int]) -> None:
        """Add the outcome for each goal that a partner pursued."""
        for other in sorted(set(partner_goals)):
            if 0 <= other < self.goals:
                self._add(goal * self.goals + other, reward > 0)

    def progress(self) -> NDArray[np.float64]:
        """LP_gh, `[|G|, |G|]`: own goal, partner's goal."""
        return self._progress.reshape(self.goals, self.goals).copy()

    def _weights(self) -> NDArray[np.float64]:
        greatest: NDArray[np.float64] = np.abs(self.progress()).max(axis=1)
        return greatest
