"""Contract of goal sources: the goals that an agent sets itself before an episode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from agent_node.contracts.training_data import Array


class GoalSource(Protocol):
    """Proposes the goals that an agent sets itself."""

    def propose(self, random: np.random.Generator) -> int:
        """A goal's number."""
        ...

    def update(self, goal: int, reward: float) -> None:
        """Told the agent's own reward in a training episode with that goal."""
        ...

    def completed(self, goal: int, reward: float, partner_goals: Sequence[int]) -> None:
        """Told later of the same episode what the other members pursued, if all of their traces have come."""
        ...

    def probabilities(self) -> Array:
        """`[|G|]`, sums to 1."""
        ...

    def state(self) -> dict[str, Array]:
        """Everything a restart needs, as arrays."""
        ...

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Restore; `ValueError` with the name of what does not fit."""
        ...
