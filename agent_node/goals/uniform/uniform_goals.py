"""Every goal is equally likely."""

from __future__ import annotations

import numpy as np

from agent_node.contracts import Array, GoalSource
from agent_node.goals.uniform.settings import UniformGoalSettings


class UniformGoals(GoalSource):
    """Goal source `uniform` over `goals` goals."""

    def __init__(self, settings: UniformGoalSettings, goals: int) -> None:
        self.settings = settings
        self.goals = goals

    def propose(self, random: np.random.Generator) -> int:
        """The index of a goal."""
        return int(random.integers(self.goals))

    def probabilities(self) -> Array:
        """`[|G|]`"""
        return np.full(self.goals, 1 / self.goals)
