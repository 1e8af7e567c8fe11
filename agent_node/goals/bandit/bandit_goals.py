"""Goals with a higher running reward are proposed more often. Proposals drift to easy goals: watch the metric `goals.entropy`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from agent_node.contracts import Array, GoalSource, State, arrays, tensors
from agent_node.goals.bandit.settings import BanditGoalSettings


class BanditGoals(GoalSource):
    """Goal source `bandit` over `goals` goals: v_g += alpha (r - v_g) after an episode with goal g and own reward r, and

    p(g) = eps / |G| + (1 - eps) exp(kappa v_g) / sum_h exp(kappa v_h).
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
        return tensors({"values": self._values.copy()})

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore; `ValueError` for another number of goals."""
        values = arrays(state)["values"]
        if values.shape != self._values.shape:
            raise ValueError(f"values has shape {list(values.shape)} in the state and {list(self._values.shape)} here")
        self._values = values.astype(np.float64)
