"""Every goal is equally likely."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from agent_node.contracts import Array
from agent_node.goals.uniform.settings import UniformGoalSettings
from protocols.spaces.goal_space import Goal, GoalSpace


class UniformGoals:
    """Goal source `uniform`: over `goals` goals, or over the box of a space of vector goals."""

    def __init__(self, settings: UniformGoalSettings, goals: int | GoalSpace) -> None:
        self.settings = settings
        self.goals = goals

    def propose(self, random: np.random.Generator) -> Goal:
        """A goal's number, or a point."""
        return int(random.integers(self.goals)) if isinstance(self.goals, int) else self.goals.draw(random)

    def update(self, goal: Goal, reward: float) -> None:
        """Outcomes change nothing."""

    def completed(self, goal: Goal, reward: float, partner_goals: Sequence[Goal]) -> None:
        """The partners' goals change nothing."""

    def probabilities(self) -> Array:
        """1 / |G|, `[|G|]`; empty for vector goals."""
        return np.full(self.goals, 1 / self.goals) if isinstance(self.goals, int) else np.zeros(0)

    def state(self) -> dict[str, Array]:
        """Nothing is kept."""
        return {}

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Nothing is restored."""
