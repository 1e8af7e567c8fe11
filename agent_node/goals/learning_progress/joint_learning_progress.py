"""Goals at which the agent is getting better, or worse, beside a partner with some goal: what is learnt together shows only there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from agent_node.contracts import Array
from agent_node.goals.learning_progress.outcome_windows import OutcomeWindows, proportional
from agent_node.goals.learning_progress.settings import JointLearningProgressSettings


class JointLearningProgress:
    """Goal source `joint_learning_progress` over `goals` goals.

    A matrix over (own goal g, partner's goal h) has the learning progress of the own outcomes (see `OutcomeWindows`) in episodes with
    both; the weight of g is the greatest in its row:

        W_g = max_h |LP_gh|,    p(g) = eps / |G| + (1 - eps) W_g / sum_k W_k,    uniform while nothing progresses

    (Nisioti et al., arXiv 2211.06082, their samplers, with w = 100 and eps = 0.3). The partner's goal is told by its trace, after the
    episode; one without a trace teaches nothing here. With several partners it counts for each of their goals.
    """

    def __init__(self, settings: JointLearningProgressSettings, goals: int) -> None:
        self.settings = settings
        self.goals = goals
        self._outcomes = OutcomeWindows(goals * goals, settings.window)

    def propose(self, random: np.random.Generator) -> int:
        """A goal's number."""
        return int(random.choice(self.goals, p=self.probabilities()))

    def update(self, goal: int, reward: float) -> None:
        """What the partner pursued is not known yet: nothing to learn before `completed`."""

    def completed(self, goal: int, reward: float, partner_goals: Sequence[int]) -> None:
        """The partners' goals in an own training episode are known."""
        for other in sorted(set(partner_goals)):
            if 0 <= other < self.goals:
                self._outcomes.add(goal * self.goals + other, reward > 0)

    def progress(self) -> NDArray[np.float64]:
        """LP_gh, `[|G|, |G|]`: own goal, partner's goal."""
        return self._outcomes.progress.reshape(self.goals, self.goals).copy()

    def probabilities(self) -> Array:
        """p(g), `[|G|]`."""
        return proportional(np.abs(self.progress()).max(axis=1), self.settings.uniform)

    def state(self) -> dict[str, Array]:
        """Everything, as arrays."""
        return self._outcomes.state()

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Restore; `ValueError` when it is of other goals or another window."""
        self._outcomes.load_state(state)
