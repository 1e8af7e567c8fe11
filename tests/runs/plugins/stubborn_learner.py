"""Implementation of `stubborn_learners`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from agent_node.contracts import Array, Batch, Learner, Metrics, PolicyOutput, State


class Stubborn(Learner):
    """Always action 0."""

    def __init__(self, settings: Any, policy_spec: Any, rows: int, seed: int, initial: int) -> None:
        self.settings = settings
        self.factors = len(policy_spec.actions)

    def act(
        self, observations: Array, goals: Array, rows: NDArray[np.int64] | None, first: NDArray[np.bool_], explore: bool
    ) -> PolicyOutput:
        """Zeros."""
        return PolicyOutput(np.zeros((len(observations), self.factors), np.int32))

    def learn(self, batch: Batch) -> Metrics:
        """Nothing."""
        return {"seen": float(len(batch.reward))}

    def parameter_groups(self) -> Mapping[str, list[torch.Tensor]]:
        """None."""
        return {}

    def state_dict(self) -> State:
        """Nothing."""
        return {}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Nothing."""
