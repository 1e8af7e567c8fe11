"""Goals that have paid are tried more often. It drifts to what is easy: keep an eye on the entropy of its choices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from agent_node.contracts import Array
from agent_node.goals.bandit.settings import BanditGoalSettings


class BanditGoals:
    """Goal source `bandit` over `goals` goals: v_g += alpha (r - v_g) after an episode with goal g and own reward r, and

    p(g) = eps / |G| + (1 - eps) exp(kappa v_g) / sum_h exp(kappa v_h).
    """

    def __init__(self, settings: BanditGoalSettings, goals: int) -> None:
        self.settings = settings
        self.goals = goals
        self._values: NDArray[np.float64] = np.zeros(goals)

    def propose(self, random: np.random.Generator) -> int:
        """A goal's number."""
        return int(random.choice(self.goals, p=self.probabilities()))

    def update(self, goal: int, reward: float) -> None:
        """An own training episode with that goal is over."""
        self._values[goal] += self.settings.step_size * (reward - self._values[goal])

    def completed(self, goal: int, reward: float, partner_goals: Sequence[int]) -> None:
        """What the partners pursued changes nothing."""

    def probabilities(self) -> Array:
        """p(g), `[|G|]`."""
        settings = self.settings
        weights = np.exp(settings.inverse_temperature * (self._values - self._values.max()))
        mixed: Array = settings.uniform / self.goals + (1 - settings.uniform) * weights / weights.sum()
        return mixed

    def state(self) -> dict[str, Array]:
        """Everything, as arrays."""
        return {"values": self._values.copy()}

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Restore; `ValueError` when it is of other goals."""
        if state["values"].shape != self._values.shape:
            raise ValueError(f"values has shape {list(state['values'].shape)} in the state and {list(self._values.shape)} here")
        self._values = state["values"].astype(np.float64)
