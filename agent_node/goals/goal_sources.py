"""Goal sources that draw uniformly, or by running rewards."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from agent_node.contracts import Array, GoalSource, State, tensors
from agent_node.goals.settings import BanditGoalSettings, UniformGoalSettings
from agent_node.learners.library.optimisers import restore
from protocols.spaces.goal_space import Goal, GoalSpace


class UniformGoals(GoalSource):
    """Goal source `uniform`: over `goals` goals, or over the box of a space of vector goals."""

    def __init__(self, settings: UniformGoalSettings, goals: int | GoalSpace) -> None:
        self.settings = settings
        self.goals = goals

    def propose(self, random: np.random.Generator) -> Goal:
        """The index of a goal, or a point of the box."""
        return int(random.integers(self.goals)) if isinstance(self.goals, int) else self.goals.draw(random)

    def probabilities(self) -> Array:
        """1 / |G|, `[|G|]`; empty for vector goals."""
        return np.full(self.goals, 1 / self.goals) if isinstance(self.goals, int) else np.zeros(0)


class BanditGoals(GoalSource):
    """Goal source `bandit` over `goals` goals: v_g += alpha (r - v_g) after an episode with goal g and own reward r, and

    p(g) = eps / |G| + (1 - eps) exp(kappa v_g) / sum_h exp(kappa v_h).

    Proposals drift to easy goals: watch the metric `goals.entropy`.
    """

    def __init__(self, settings: BanditGoalSettings, goals: int) -> None:
        self.settings = settings
        self.goals = goals
        self._values: NDArray[np.float64] = np.zeros(goals)

    def propose(self, random: np.random.Generator) -> int:
        """Index of a goal, drawn with the probabilities of `probabilities`."""
        return int(random.choice(self.goals, p=self.probabilities()))

    def update(self, goal: int, reward: float) -> None:
        """Move v_g toward the sum of rewards of a training episode with goal g."""
        self._values[goal] += self.settings.step_size * (reward - self._values[goal])

    def probabilities(self) -> Array:
        """Probability p(g) of each goal, `[|G|]`, sum 1."""
        settings = self.settings
        weights = np.exp(settings.inverse_temperature * (self._values - self._values.max()))
        mixed: Array = settings.uniform / self.goals + (1 - settings.uniform) * weights / weights.sum()
        return mixed

    def state_dict(self) -> State:
        """`values`: v_g, `[|G|]`."""
        return tensors({"values": self._values})

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore; `ValueError` for another number of goals."""
        restore(self.state_dict(), state)
