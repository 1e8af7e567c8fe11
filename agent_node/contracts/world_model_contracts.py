"""Contracts of world models, which predict the next step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from agent_node.contracts.component import Component
from agent_node.contracts.training_data import Array, Metrics


@dataclass
class Prediction:
    """Prediction of the next step for n rows: the mean, and the standard deviations of the epistemic and the aleatoric uncertainty."""

    observation: Array
    """`[n, D]` next raw observation, mean over members"""
    reward: Array
    terminated: Array
    achieved: Array | None
    """`[n, L]` probability that each feature is achieved by any body"""
    epistemic: Array
    """`[n, D]` standard deviation between members, in the units of the observation (circular fields: radians)"""
    aleatoric: Array
    """`[n, D]` standard deviation that members themselves predict"""


@dataclass
class ModelData:
    """Transitions for a world model, raw: `[n, H, D]` observations (history, newest last), `[n, A]` actions, `[n, D]` next observations."""

    observation: Array
    action: Array
    next_observation: Array
    reward: Array
    terminated: Array
    achieved: Array | None = None
    """`[n, L]` joint touch after the step (NaN rows of unknown joint touch are not included)"""


Predict = Callable[[Array, Array], Prediction]
"""next steps for `[n, H, D]` observations and `[n, A]` actions"""


class WorldModel(Component, ABC):
    """Predicts the next observation from the newest observation(s) and the agent's own action.

    Constructor: `(settings, features, achieved_size, seed)`, with `features` the `Features` of the agent and `achieved_size` the length L
    of what bodies achieve in environments with goals (0 without goals).
    """

    @property
    @abstractmethod
    def ready(self) -> bool:
        """Whether it has been fitted to enough transitions for its predictions to be used."""

    @abstractmethod
    def fit(self, data: list[ModelData]) -> Metrics:
        """One update; member i of an ensemble is fitted to `data[i]`. Returns metrics by name, for example losses."""

    @abstractmethod
    def predict(self, observation: Array, action: Array) -> Prediction:
        """Mean prediction of the next step for observations `[n, H, D]` and actions `[n, A]`, with its uncertainty."""

    @abstractmethod
    def sample(self, observation: Array, action: Array, random: np.random.Generator) -> Prediction:
        """As `predict`, each row by one member drawn at random, with its noise: a sample of the next step instead of the mean."""

    @abstractmethod
    def error(self, data: ModelData) -> float:
        """Mean squared one-step error of `predict`, in units of each output's variance in `data` (1: no better than the mean)."""

    # --- optional, declared in `capabilities` ---------------------------------------------------------------------------------------

    def draw(self, random: np.random.Generator) -> Predict:
        """Capability "sampleable": one function drawn from the model's distribution over functions, the same for all rows and calls; its
        mean, without noise."""
        raise NotImplementedError("this world model declares itself not sampleable")

    def condition_on_plans(self, plans: Sequence[tuple[Array, Array]]) -> None:
        """Capability "plan_aware": from the next refit on, treat the steps (`[n, H, D]`, `[n, A]`) of these plans as observed, with the
        outcome that the mean predicts, until the next call. The uncertainty falls there."""
        raise NotImplementedError("this world model declares itself not plan_aware")


class AdditiveStatistics(Protocol):
    """Sums over transitions: the sum of the statistics of all agents is the statistics of all their data."""

    @property
    @abstractmethod
    def basis_id(self) -> str:
        """Identity of the basis, at most 64 characters. Only statistics of equal identity are added."""

    @property
    @abstractmethod
    def transitions(self) -> int:
        """Number of own transitions absorbed so far."""

    @abstractmethod
    def statistics(self) -> NDArray[np.float64]:
        """Sums over the own transitions, `[P]`, P being equal at all agents; zeros without data."""

    @abstractmethod
    def check(self, vector: NDArray[np.float64]) -> None:
        """`ValueError` with the reason where `vector` cannot be the sums over the transitions of one agent."""

    @abstractmethod
    def published(self) -> None:
        """The own sums as they are now were sent: every later `total` contains them."""

    @abstractmethod
    def use(self, total: NDArray[np.float64], complete: bool) -> None:
        """Use `total` from now on (a model: from the next `refit` on), the sum over all agents as far as it is known, with the own data
        that were `published`. `complete` false: an estimate by averaging that has not mixed yet, in which data may count several times;
        the mean then comes from it, the variance from the own data alone. `ValueError` for another length."""


class AdditiveWorldModel(WorldModel, AdditiveStatistics):
    """A world model with the capability "additive_statistics".

    The agent passes it each real transition once (`absorb`) and calls `refit` when it is `due`. `fit` learns nothing from its batches,
    since transitions drawn at random would count several times.
    """

    @property
    @abstractmethod
    def due(self) -> bool:
        """Whether enough transitions were absorbed since the last `refit` for another one."""

    @abstractmethod
    def absorb(self, data: ModelData) -> None:
        """Add real transitions to the own sums; the caller passes each transition once."""

    @abstractmethod
    def refit(self) -> Metrics:
        """Compute the model again from the newest total (without one: from the own data)."""

    def fit(self, data: list[ModelData]) -> Metrics:
        """Refit where that is due; nothing is learnt from `data`."""
        return self.refit() if self.due else {}
