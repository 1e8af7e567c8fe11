"""What a policy is promised where the world model does not know: kinds of optimism in the face of epistemic uncertainty.

- `bonus` (Sukhija et al., arXiv 2511.20066): the mean of the model comes true, and r + weight * |sigma|_2 is paid, sigma the epistemic
  standard deviations of the predicted components. The weight falls linearly to 0 over the first `anneal_steps` own steps.
- `hallucination` (Curi et al., arXiv 2006.08684): the policy chooses eta in [-1, 1]^D beside its action, and mean + beta * sigma * eta
  comes true: the best of what the model holds possible. Nothing is paid.

- `thompson` (Thompson 1933; Osband et al. 2013): one function drawn from the model comes true, another after each refresh of the model.

Where rewards are learnt by place their standard deviation tau is a second doubt: `bonus` pays weight' * tau for it, falling likewise;
`hallucination` pays beta * tau (who may choose his luck chooses the most); `thompson` draws one map of rewards, and pays what it promises
beyond the mean. All of this is for the policy that explores: the one that exploits is paid the mean.

Only the epistemic part counts: noise is no knowledge to be gained. Without optimism the mean comes true and nothing is paid (greedy).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent_node.contracts import Array, Component, Predict, Prediction, WorldModel
from agent_node.session.observation_features import Features
from agent_node.world_models.imagination.reward_models import RewardFunction, RewardModel
from agent_node.world_models.imagination.settings import BonusSettings, HallucinationSettings, ThompsonSettings
from protocols.runtime.errors import ConfigurationError

Floats = NDArray[np.float32]


class Optimism(Component, ABC):
    """What imagination makes of the world model: as defined here, its mean comes true and nothing is paid. `eta[n, H]`: the components of
    actions that are only hallucinated. Made from its settings, the features and a seed of the agent's own."""

    hallucinated = 0
    """H"""

    @abstractmethod
    def __init__(self, settings: Any, features: Features, seed: int) -> None: ...

    def transition_function(self, model: WorldModel, random: np.random.Generator) -> Predict:
        """What imagination believes until the model has learnt again."""
        return model.predict

    def predict_next(self, prediction: Prediction, eta: Floats) -> Array:
        """The next raw observations `[n, D]`."""
        return prediction.observation

    def reward_model(self, reward: RewardModel, random: np.random.Generator) -> RewardFunction:
        """The mean rewards, and what `bonus` makes its promises of, until the model has learnt again: here their standard deviation."""
        return reward.predict

    def bonus(self, epistemic: Array, reward_std: Floats, steps: int) -> Floats:
        """What is paid beside the reward, `[n]`, after so many own steps, for epistemic standard deviations `[n, D]` of the next
        observation and for what `reward_model` gave beside the mean reward, `[n]`."""
        return np.zeros(len(epistemic), np.float32)

    def infer_eta(self, prediction: Prediction, following: Array) -> Floats:
        """`[n, H]`: the luck under which what really followed, `[n, D]`, would have come true (as far as it can)."""
        return np.zeros((len(following), 0), np.float32)


class Bonus(Optimism):
    """Optimism `bonus`."""

    def __init__(self, settings: BonusSettings, features: Features, seed: int) -> None:
        self.settings = settings
        share = float(np.random.default_rng(seed).uniform(*settings.agent_scale_range))
        self.weight, self.reward_weight = settings.weight * share, settings.reward_weight * share

    def bonus(self, epistemic: Array, reward_std: Floats, steps: int) -> Floats:
        """(1 - steps / until) * (weight * |sigma|_2 + reward weight * tau), and nothing from `anneal_steps` on."""
        left = 1.0 if self.settings.anneal_steps is None else max(0.0, 1 - steps / self.settings.anneal_steps)
        wanted = self.weight * np.linalg.norm(epistemic, axis=1) + self.reward_weight * reward_std
        paid: Floats = (left * wanted).astype(np.float32)
        return paid


class Thompson(Optimism):
    """Optimism `thompson`."""

    def __init__(self, settings: ThompsonSettings, features: Features, seed: int) -> None:
        self.settings = settings

    def transition_function(self, model: WorldModel, random: np.random.Generator) -> Predict:
        """A function drawn from the model. `ConfigurationError` for a model that knows none."""
        if "sampleable" not in model.capabilities:
            raise ConfigurationError(
                "agents.optimism: thompson draws functions from the world model, and this one can't; choose gp or ensemble"
            )
        return model.draw(random)

    def reward_model(self, reward: RewardModel, random: np.random.Generator) -> RewardFunction:
        """With what a map drawn from all that are possible promises beyond the mean."""
        drawn = reward.draw(random)

        def earned(place: Array, action: Array) -> tuple[Floats, Floats]:
            mean = reward.predict(place, action)[0]
            return mean, drawn(place, action) - mean

        return earned

    def bonus(self, epistemic: Array, reward_std: Floats, steps: int) -> Floats:
        """What the drawn map promises beyond the mean; a drawn function has no doubt of its own."""
        return reward_std


class Hallucination(Optimism):
    """Optimism `hallucination`."""

    def __init__(self, settings: HallucinationSettings, features: Features, seed: int) -> None:
        self.settings = settings
        self.hallucinated = features.size
        self._features = features

    def predict_next(self, prediction: Prediction, eta: Floats) -> Array:
        """mean + beta * sigma * eta; angles are wrapped."""
        return self._features.follow(prediction.observation, self.settings.beta * prediction.epistemic * eta)

    def bonus(self, epistemic: Array, reward_std: Floats, steps: int) -> Floats:
        """beta * tau."""
        optimistic_bonus: Floats = (self.settings.beta * reward_std).astype(np.float32)
        return optimistic_bonus

    def infer_eta(self, prediction: Prediction, following: Array) -> Floats:
        """eta = clip((what followed - mean) / (beta * sigma), -1, 1): real transitions carry none, and are valued under this one."""
        change = self._features.difference(prediction.observation, following)
        explained: Floats = np.clip(change / (self.settings.beta * prediction.epistemic + 1e-8), -1, 1).astype(np.float32)
        return explained
