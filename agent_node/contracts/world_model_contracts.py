"""Contracts of world models: what predicts the next step, and what some of them can do besides."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch

from agent_node.contracts.training_data import Array, Metrics


@dataclass
class Prediction:
    """What a world model says of the next step, per row: mean and two kinds of standard deviation, over the model's outputs."""

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


class WorldModel(Protocol):
    """Predicts the next observation from the present one(s) and the agent's own action."""

    @property
    def ready(self) -> bool:
        """Whether it has learnt enough to imagine with."""
        ...

    def fit(self, data: list[ModelData]) -> Metrics:
        """One update; member i learns from `data[i]`."""
        ...

    def predict(self, observation: Array, action: Array) -> Prediction:
        """For `[n, H, D]` and `[n, A]`."""
        ...

    def sample(self, observation: Array, action: Array, random: np.random.Generator) -> Prediction:
        """As `predict`, each row from one member drawn at random (with its noise): a possible future rather than the mean of all."""
        ...

    def error(self, data: ModelData) -> float:
        """Mean squared one-step error of `predict`, in units of each output's variance in `data` (1: no better than the mean)."""
        ...

    def parameter_groups(self) -> Mapping[str, list[torch.Tensor]]:
        """`world_model`: parameters to average (with the normalisers, so that members mean the same everywhere)."""
        ...

    def averaged(self) -> None:
        """Told after the live parameters were changed from outside."""
        ...

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Everything a restart needs."""
        ...

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore; `ValueError` with the name of what does not fit."""
        ...


Predict = Callable[[Array, Array], Prediction]
"""next steps for `[n, H, D]` observations and `[n, A]` actions"""


@runtime_checkable
class SampleableModel(Protocol):
    """A world model that is a distribution over functions."""

    def draw(self, random: np.random.Generator) -> Predict:
        """One of the functions that it holds possible, the same for all rows and calls: its mean, without noise."""
        ...


@runtime_checkable
class PlanAwareModel(Protocol):
    """A world model whose uncertainty falls where somebody is going to look."""

    def condition_on_plans(self, plans: Sequence[tuple[Array, Array]]) -> None:
        """From the next refit on, as if the steps (`[n, H, D]`, `[n, A]`) of these plans had been seen already, as the mean predicts
        them; until it is told of others."""
        ...
