"""Goals whose success rate changes in combination with some goal of the partner: progress of joint skills shows only there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from agent_node.contracts import Array, GoalSource, State, arrays, tensors
from agent_node.goals.learning_progress.outcome_windows import OutcomeWindows, proportional
from agent_node.goals.learning_progress.settings import JointLearningProgressSettings


class JointLearningProgress(GoalSource):
    """Goal source `joint_learning_progress` over `goals` goals.

    A matrix over (own goal g, partner's goal h) has the learning progress of the own outcomes (see `OutcomeWindows`) in episodes with
    both; the weight of g is the greatest in its row:

        W_g = max_h |LP_gh|,    p(g) = eps / |G| + (1 - eps) W_g / sum_k W_k,    uniform while nothing progresses

    (Nisioti et al., arXiv 2211.06082, their samplers, with w = 100 and eps = 0.3). The partner's goal arrives with its trace after the
    episode; an episode without a trace is not counted. With several partners it counts for each of their goals.
    """

    def __init__(self, settings: JointLearningProgressSettings, goals: int) -> None:
        self.settings = settings
        self.goals = goals
        self._outcomes = OutcomeWindows(goals * goals, settings.window)

    def propose(self, random: np.random.Generator) -> int:
        """Index of a goal, drawn with the probabilities of `probabilities`."""
        return int(random.choice(self.goals, p=self.probabilities()))

    def completed(self, goal: int, reward: float, partner_goals: Sequence[int]) -> None:
        """Add the outcome for each goal that a partner pursued."""
        for other in sorted(set(partner_goals)):
            if 0 <= other < self.goals:
                self._outcomes.add(goal * self.goals + other, reward > 0)

    def progress(self) -> NDArray[np.float64]:
        """LP_gh, `[|G|, |G|]`: own goal, partner's goal."""
        return self._outcomes.progress.reshape(self.goals, self.goals).copy()

    def probabilities(self) -> Array:
        """Probability p(g) of each goal, `[|G|]`, sum 1."""
        return proportional(np.abs(self.progress()).max(axis=1), self.settings.uniform)

    def state_dict(self) -> State:
        """The outcomes of the windows."""
        return tensors(self._outcomes.state())

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore; `ValueError` for another number of goals or another window."""
        self._outcomes.load_state(arrays(state))
