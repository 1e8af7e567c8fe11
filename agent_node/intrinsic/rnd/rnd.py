"""What is new is worth something: r_i = coefficient n(s'), n by random network distillation (Burda et al., arXiv 1810.12894)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from agent_node.contracts import Batch, IntrinsicReward, Metrics, PolicySpec, TransitionBatch
from agent_node.intrinsic.rnd.novelty import Novelty
from agent_node.intrinsic.rnd.settings import NoveltySettings


class RND(IntrinsicReward):
    """Curiosity `rnd`."""

    def __init__(self, settings: NoveltySettings, policy_spec: PolicySpec, copies: int, seed: int) -> None:
        self.settings = settings
        self.novelty = Novelty(settings, policy_spec, seed)
        self._sums: dict[str, list[float]] = defaultdict(list)

    def reward(self, transitions: TransitionBatch) -> NDArray[np.float32]:
        """coefficient n(s')."""
        novelty = self.novelty(transitions.next_observation)
        return self._noted(self.settings.coefficient * novelty, novelty=novelty)

    def _noted(self, reward: NDArray[Any], **metrics: NDArray[Any]) -> NDArray[np.float32]:
        for name, values in {"reward": reward, **metrics}.items():
            self._sums[name].append(float(np.mean(values)))
        return reward.astype(np.float32)

    def learn(self, batch: Batch) -> Metrics:
        """The predictor learns what is seen after each step. Metrics: its `loss`, and means over the steps since the last rollout:
        `reward`, `novelty` of what was seen after a step."""
        means = {name: float(np.mean(values)) for name, values in self._sums.items()}
        self._sums.clear()
        return means | self.novelty.learn(batch)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Networks and optimiser."""
        return self.novelty.state_dict()

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore what `state_dict` gave."""
        self.novelty.load_state_dict(state)
