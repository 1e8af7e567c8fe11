"""Goals whose success rate changes are proposed more often than goals that are mastered or not yet reachable."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from agent_node.contracts import Array, GoalSource, State, arrays, tensors
from agent_node.goals.learning_progress.outcome_windows import OutcomeWindows, proportional
from agent_node.goals.learning_progress.settings import LearningProgressSettings


class LearningProgress(GoalSource):
    """Goal source `learning_progress` over `goals` goals.

    Of the outcomes o in {0, 1} of a goal's own training episodes (1: it was rewarded), the newest w, c_g = mean, against the w before them:

        LP_g = c_g - mean of those before,    p(g) = eps / |G| + (1 - eps) |LP_g| / sum_h |LP_h|,

    uniform while no goal has any progress. A goal with n < 2w outcomes is judged by halves of n // 2. Absolute values, so that goals
    that are being forgotten are practised too (Nisioti et al., arXiv 2211.06082, their samplers; Oudeyer et al. 2007 for the measure).
    """

    def __init__(self, settings: LearningProgressSettings, goals: int) -> None:
        self.settings = settings
        self.goals = goals
        self._outcomes = OutcomeWindows(goals, settings.window)

    def propose(self, random: np.random.Generator) -> int:
        """Index of a goal, drawn with the probabilities of `probabilities`."""
        return int(random.choice(self.goals, p=self.probabilities()))

    def update(self, goal: int, reward: float) -> None:
        """Add the outcome of a training episode with that goal."""
        self._outcomes.add(goal, reward > 0)

    def progress(self) -> NDArray[np.float64]:
        """LP_g of every goal, in [-1, 1]."""
        return self._outcomes.progress.copy()

    def probabilities(self) -> Array:
        """Probability p(g) of each goal, `[|G|]`, sum 1."""
        return proportional(np.abs(self._outcomes.progress), self.settings.uniform)

    def state_dict(self) -> State:
        """The outcomes of the windows."""
        return tensors(self._outcomes.state())

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore; `ValueError` for another number of goals or another window."""
        self._outcomes.load_state(arrays(state))
