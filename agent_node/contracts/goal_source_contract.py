"""Contract of goal sources, which draw the goals of an agent's episodes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from agent_node.contracts.component import Component
from agent_node.contracts.training_data import Array


class GoalSource(Component, ABC):
    """Proposes the goals of an agent. Constructor: `(settings, goals)`, with `goals` the number |G| of goals."""

    @abstractmethod
    def propose(self, random: np.random.Generator) -> int:
        """The index of a goal."""

    def update(self, goal: int, reward: float) -> None:
        """A training episode with that goal ended with this sum of own rewards."""

    def completed(self, goal: int, reward: float, partner_goals: Sequence[int]) -> None:
        """The traces of all other members of the same episode arrived: the goals that they pursued."""

    @abstractmethod
    def probabilities(self) -> Array:
        """`[|G|]`, sums to 1."""
