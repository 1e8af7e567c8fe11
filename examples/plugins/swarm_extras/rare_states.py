"""Intrinsic reward `rare_states`."""

from __future__ import annotations

from collections.abc import Mapping
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray

from agent_node.contracts import Batch, IntrinsicReward, Metrics, PolicySpec, State, TransitionBatch, arrays, tensors
from swarm_extras.components import RareStatesSettings

SLOTS = 2**16


class RareStates(IntrinsicReward):
    """r(s') = coefficient / sqrt(n(s')), n(s') being the number of visits of the cell of s'. Cells share `SLOTS` counters by a hash."""

    def __init__(self, settings: RareStatesSettings, policy_spec: PolicySpec, copies: int, seed: int) -> None:
        self.settings = settings
        self._visits = np.zeros(SLOTS, np.int64)

    def reward(self, transitions: TransitionBatch) -> NDArray[np.float32]:
        """The formula above, for each step."""
        cells = np.floor(transitions.next_observation / self.settings.cell).astype(np.int64)
        rewards = np.empty(len(cells), np.float32)
        for row, cell in enumerate(cells):
            slot = crc32(cell.tobytes()) % SLOTS
            self._visits[slot] += 1
            rewards[row] = self.settings.coefficient * self._visits[slot] ** -0.5
        return rewards

    def learn(self, batch: Batch) -> Metrics:
        """Nothing is trained; metric `cells`: cells visited so far."""
        return {"cells": float(np.count_nonzero(self._visits))}

    def state_dict(self) -> State:
        """`visits`."""
        return tensors({"visits": self._visits.copy()})

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore."""
        visits = arrays(state)["visits"]
        if visits.shape != (SLOTS,):
            raise ValueError(f"visits has {visits.size} counters, not {SLOTS}")
        self._visits = visits.copy()
