"""Every goal is equally likely."""

from __future__ import annotations

import numpy as np

from agent_node.contracts import Array, GoalSource
from agent_node.goals.uniform.settings import UniformGoalSettings
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
