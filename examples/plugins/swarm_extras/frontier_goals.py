"""Goal source `frontier`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from agent_node.contracts import Array, GoalSource, State, arrays, tensors
from swarm_extras.components import FrontierSettings


class FrontierGoals(GoalSource):
    """p(g) proportional to exp(s_g (1 - s_g) / temperature), s_g being a running mean of success."""

    def __init__(self, settings: FrontierSettings, goals: int) -> None:
        self.settings = settings
        self._success = np.full(goals, 0.5)

    def propose(self, random: np.random.Generator) -> int:
        """The number of a goal."""
        return int(random.choice(len(self._success), p=self.probabilities()))

    def update(self, goal: Any, reward: float) -> None:
        """A positive return counts as success."""
        self._success[goal] += self.settings.step_size * (float(reward > 0) - self._success[goal])

    def probabilities(self) -> Array:
        """p, `[|G|]`."""
        weights = np.exp(self._success * (1 - self._success) / self.settings.temperature)
        shares: Array = weights / weights.sum()
        return shares

    def state_dict(self) -> State:
        """`success`: s, `[|G|]`."""
        return tensors({"success": self._success.copy()})

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore; `ValueError` for another number of goals."""
        success = arrays(state)["success"]
        if success.shape != self._success.shape:
            raise ValueError(f"success of {len(success)} goals in the state, and {len(self._success)} here")
        self._success = success.copy()
