"""Optimism in the face of epistemic uncertainty: how the policy that explores is rewarded where the world model is uncertain.

- `bonus` (Sukhija et al., arXiv 2511.20066): the next observation is the mean of the model, and the reward is r + weight * |sigma|_2, with
  sigma the epistemic standard deviations of the predicted components. The weight falls linearly to 0 over `anneal_steps` own steps.
- `hallucination` (Curi et al., arXiv 2006.08684): the policy chooses eta in [-1, 1]^D beside its action, and the next observation is mean +
  beta * sigma * eta: the best next observation within the model's uncertainty. The reward is not changed.
- `thompson` (Thompson 1933; Osband et al. 2013): the next observation is that of one function drawn from the model; another function is
  drawn after each refresh of the model.

Where rewards are learnt by place (`reward: learned`), their standard deviation tau is a second uncertainty: `bonus` adds weight' * tau,
which falls likewise; `hallucination` adds beta * tau; `thompson` draws one map of rewards, and adds its difference from the mean. All of
this applies to the policy that explores; the policy that exploits learns from the mean reward and the mean of the model.

Only the epistemic part counts, since noise cannot be learnt. Without optimism the mean is used and nothing is added (greedy).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent_node.contracts import Array, Component, Predict, Prediction, WorldModel
from agent_node.session.observation_features import Features
from agent_node.world_models.imagination.reward_models import RewardFunction, RewardModel
from agent_node.world_models.settings import BonusSettings, HallucinationSettings, ThompsonSettings
from protocols.runtime.errors import ConfigurationError

Floats = NDArray[np.float32]


class Optimism(Component, ABC):
    """How imagination uses the world model; the defaults are the mean and no bonus. `eta[n, H]`: components of actions that only the world
    model uses. Constructor: `(settings, features, seed)`."""

    hallucinated = 0
    """H"""
    follows_mean = False
    """whether the next observation is the mean of the model, so that the policy that exploits learns from it too"""

    @abstractmethod
    def __init__(self, settings: Any, features: Features, seed: int) -> None: ...

    def transition_function(self, model: WorldModel, random: np.random.Generator) -> Predict:
        """The transition function of imagination until the next refresh of the model."""
        return model.predict

    def predict_next(self, prediction: Prediction, eta: Floats) -> Array:
        """The next raw observations `[n, D]`."""
        return prediction.observation

    def reward_model(self, reward: RewardModel, random: np.random.Generator) -> RewardFunction:
        """Mean rewards, and the uncertainty of which `bonus` is computed, until the next refresh of the model: here the standard
        deviation."""
        return reward.predict

    def bonus(self, epistemic: Array, reward_std: Floats, steps: int) -> Floats:
        """Added to the reward, `[n]`, after so many own steps, for epistemic standard deviations `[n, D]` of the next
        observation and for what `reward_model` gave beside the mean reward, `[n]`."""
        return np.zeros(len(epistemic), np.float32)

    def infer_eta(self, prediction: Prediction, following: Array) -> Floats:
        """`[n, H]`: the eta that best explains the observed next observations `[n, D]`."""
        return np.zeros((len(following), 0), np.float32)


class Bonus(Optimism):
    """Optimism `bonus`: imagined rewards grow with the uncertainty of world model and reward model."""

    follows_mean = True

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
    """Optimism `thompson`: imagination uses one function drawn from the world model's distribution until the next refresh."""

    def __init__(self, settings: ThompsonSettings, features: Features, seed: int) -> None:
        self.settings = settings

    def transition_function(self, model: WorldModel, random: np.random.Generator) -> Predict:
        """A function drawn from the model. `ConfigurationError` for a model that is not "sampleable"."""
        if "sampleable" not in model.capabilities:
            raise ConfigurationError(
                "agents.optimism: thompson draws functions from the world model, and this one can't; choose gp or ensemble"
            )
        return model.draw(random)

    def reward_model(self, reward: RewardModel, random: np.random.Generator) -> RewardFunction:
        """With the difference of a drawn map of rewards from the mean."""
        drawn = reward.draw(random)

        def earned(place: Array, action: Array) -> tuple[Floats, Floats]:
            mean = reward.predict(place, action)[0]
            return mean, drawn(place, action) - mean

        return earned

    def bonus(self, epistemic: Array, reward_std: Floats, steps: int) -> Floats:
        """The difference of the drawn map from the mean; a drawn function has no uncertainty of its own."""
        return reward_std


class Hallucination(Optimism):
    """Optimism `hallucination` (H-UCRL, Curi et al., arXiv 2006.08684): the policy chooses the next state within beta standard
    deviations of the mean."""

    def __init__(self, settings: HallucinationSettings, features: Features, seed: int) -> None:
        self.settings = settings
        self.hallucinated = features.size
        self._features = features

    def predict_next(self, prediction: Prediction, eta: Floats) -> Array:
        """mean + beta * sigma * eta; angles are wrapped."""
        return self._features.follow(prediction.observation, self.settings.beta * prediction.epistemic * eta)

    def bonus(self, epistemic: Array, reward_std: Floats, steps: int) -> Floats:
        """beta * tau, `[n]`, with tau the standard deviation of the reward model."""
        optimistic_bonus: Floats = (self.settings.beta * reward_std).astype(np.float32)
        return optimistic_bonus

    def infer_eta(self, prediction: Prediction, following: Array) -> Floats:
        """eta = clip((next observation - mean) / (beta * sigma), -1, 1): real transitions have none, and are valued with this one."""
        change = self._features.difference(prediction.observation, following)
        explained: Floats = np.clip(change / (self.settings.beta * prediction.epistemic + 1e-8), -1, 1).astype(np.float32)
        return explained
