"""Contract of goal sources: the goals that an agent sets itself before an episode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from agent_node.contracts.training_data import Array
from protocols.spaces.goal_space import Goal


class GoalSource(Protocol):
    """Proposes the goals that an agent sets itself."""

    def propose(self, random: np.random.Generator) -> Goal:
        """A goal: its number, or the components of a vector goal."""
        ...

    def update(self, goal: Any, reward: float) -> None:
        """Told the agent's own reward in a training episode with that goal."""
        ...

    def completed(self, goal: Any, reward: float, partner_goals: Sequence[int]) -> None:
        """Told later of the same episode what the other members pursued, if all of their traces have come."""
        ...

    def probabilities(self) -> Array:
        """`[|G|]`, sums to 1; empty for vector goals."""
        ...

    def state(self) -> dict[str, Array]:
        """Everything a restart needs, as arrays."""
        ...

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Restore; `ValueError` with the name of what does not fit."""
        ...
