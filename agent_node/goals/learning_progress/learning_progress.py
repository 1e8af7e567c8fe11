"""Goals at which the agent is getting better, or worse, are tried more often than those that it has mastered or can't do yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from agent_node.contracts import Array
from agent_node.goals.learning_progress.outcome_windows import OutcomeWindows, proportional
from agent_node.goals.learning_progress.settings import LearningProgressSettings


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
        self._outcomes = OutcomeWindows(goals, settings.window)

    def propose(self, random: np.random.Generator) -> int:
        """A goal's number."""
        return int(random.choice(self.goals, p=self.probabilities()))

    def update(self, goal: int, reward: float) -> None:
        """An own training episode with that goal is over."""
        self._outcomes.add(goal, reward > 0)

    def completed(self, goal: int, reward: float, partner_goals: Sequence[int]) -> None:
        """What the partners pursued changes nothing."""

    def progress(self) -> NDArray[np.float64]:
        """LP_g of every goal, in [-1, 1]."""
        return self._outcomes.progress.copy()

    def probabilities(self) -> Array:
        """p(g), `[|G|]`."""
        return proportional(np.abs(self._outcomes.progress), self.settings.uniform)

    def state(self) -> dict[str, Array]:
        """Everything, as arrays."""
        return self._outcomes.state()

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Restore; `ValueError` when it is of other goals or another window."""
        self._outcomes.load_state(state)
