"""Contract of goal sources, which draw the goals of an agent's episodes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from agent_node.contracts.component import Component
from agent_node.contracts.training_data import Array
from protocols.spaces.goal_space import Goal


class GoalSource(Component, ABC):
    """Proposes the goals of an agent. Constructor: `(settings, goals)`, with `goals` the number |G| of discrete goals, or the `GoalSpace`
    of vector goals."""

    @abstractmethod
    def propose(self, random: np.random.Generator) -> Goal:
        """A goal for the next episode: an index 0 ... |G| - 1, or the components `[D]` of a vector goal. Random draws come from the
        given generator only."""

    def update(self, goal: Any, reward: float) -> None:
        """A training episode with that goal ended with this sum of own rewards."""

    def completed(self, goal: Any, reward: float, partner_goals: Sequence[int]) -> None:
        """The traces of all other members of the same episode arrived: the goals that they pursued."""

    @abstractmethod
    def probabilities(self) -> Array:
        """Probability of each goal to be proposed next, `[|G|]`, sum 1; empty for vector goals."""
