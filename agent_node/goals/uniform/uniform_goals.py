"""Every goal is equally likely."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from agent_node.contracts import Array
from agent_node.goals.uniform.settings import UniformGoalSettings


class UniformGoals:
    """Goal source `uniform` over `goals` goals."""

    def __init__(self, settings: UniformGoalSettings, goals: int) -> None:
        self.settings = settings
        self.goals = goals

    def propose(self, random: np.random.Generator) -> int:
        """A goal's number."""
        return int(random.integers(self.goals))

    def update(self, goal: int, reward: float) -> None:
        """Outcomes change nothing."""

    def completed(self, goal: int, reward: float, partner_goals: Sequence[int]) -> None:
        """What the partners pursued changes nothing."""

    def probabilities(self) -> Array:
        """`[|G|]`"""
        return np.full(self.goals, 1 / self.goals)

    def state(self) -> dict[str, Array]:
        """There is nothing to keep."""
        return {}

    def load_state(self, state: Mapping[str, Array]) -> None:
        """There is nothing to restore."""
