"""What a policy is promised where the world model does not know: kinds of optimism in the face of epistemic uncertainty.

- `bonus` (Sukhija et al., arXiv 2511.20066): the mean of the model comes true, and r + weight * |sigma|_2 is paid, sigma the epistemic
  standard deviations of the predicted components. The weight falls linearly to 0 over the first `until` own steps.
- `hallucination` (Curi et al., arXiv 2006.08684): the policy chooses eta in [-1, 1]^D beside its action, and mean + beta * sigma * eta
  comes true: the best of what the model holds possible. Nothing is paid.

Only the epistemic part counts: noise is no knowledge to be gained. Without optimism the mean comes true and nothing is paid (greedy).
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from agent_node.contracts import Array, Prediction
from agent_node.features import Features
from agent_node.settings import BonusSettings, HallucinationSettings

Floats = NDArray[np.float32]


class Optimism(Protocol):
    """What imagination makes of a prediction. `luck[n, H]`: the components of actions that are only hallucinated."""

    hallucinated: int
    """H"""

    def come_true(self, prediction: Prediction, luck: Floats) -> Array:
        """The next raw observations `[n, D]`."""
        ...

    def bonus(self, epistemic: Array, steps: int) -> Floats:
        """What is paid beside the reward, `[n]`, for epistemic standard deviations `[n, D]` after so many own steps."""
        ...

    def explain(self, prediction: Prediction, following: Array) -> Floats:
        """`[n, H]`: the luck under which what really followed, `[n, D]`, would have come true (as far as it can)."""
        ...


class Bonus:
    """Optimism `bonus`."""

    hallucinated = 0

    def __init__(self, settings: BonusSettings, features: Features) -> None:
        self.settings = settings

    def come_true(self, prediction: Prediction, luck: Floats) -> Array:
        """The mean."""
        return prediction.observation

    def bonus(self, epistemic: Array, steps: int) -> Floats:
        """weight * (1 - steps / until) * |sigma|_2, and nothing from `until` on."""
        left = 1.0 if self.settings.until is None else max(0.0, 1 - steps / self.settings.until)
        paid: Floats = (self.settings.weight * left * np.linalg.norm(epistemic, axis=1)).astype(np.float32)
        return paid

    def explain(self, prediction: Prediction, following: Array) -> Floats:
        """Nothing is to be explained."""
        return np.zeros((len(following), 0), np.float32)


class Hallucination:
    """Optimism `hallucination`."""

    def __init__(self, settings: HallucinationSettings, features: Features) -> None:
        self.settings = settings
        self.hallucinated = features.size
        self._features = features

    def come_true(self, prediction: Prediction, luck: Floats) -> Array:
        """mean + beta * sigma * eta; angles are wrapped."""
        return self._features.follow(prediction.observation, self.settings.beta * prediction.epistemic * luck)

    def bonus(self, epistemic: Array, steps: int) -> Floats:
        """Nothing is paid."""
        return np.zeros(len(epistemic), np.float32)

    def explain(self, prediction: Prediction, following: Array) -> Floats:
        """eta = clip((what followed - mean) / (beta * sigma), -1, 1): real transitions carry none, and are valued under this one."""
        change = self._features.difference(prediction.observation, following)
        explained: Floats = np.clip(change / (self.settings.beta * prediction.epistemic + 1e-8), -1, 1).astype(np.float32)
        return explained
