"""What Gaussian processes have in common: inputs from observation and action, targets from the change, and predictions from these.

Inputs, raw: the components of the newest observation, angles as their sine, then the C cosines, then the action, each discrete factor
one-hot. Their bounds scale them to [-1, 1]: those of the settings for components, or the layout's; [-1, 1] for sines and cosines.
Targets: the change of the observation (angles wrapped) divided by `change_scale`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from agent_node.contracts import Array, ModelData, Prediction, WorldModel
from agent_node.session.observation_features import Features
from agent_node.world_models.gp.feature_basis import Box, KernelParameters
from agent_node.world_models.settings import GaussianProcessSettings
from protocols.runtime.errors import ConfigurationError

PLACE = "agents.world_model"
T = TypeVar("T")


def spread(values: Sequence[T], size: int, key: str) -> list[T]:
    """One value for all of `size` components, or one each; `ConfigurationError` names the key."""
    if len(values) == 1:
        return list(values) * size
    if len(values) != size:
        raise ConfigurationError(f"{PLACE}.{key} has {len(values)} entries for {size} components; write one for all, or one for each")
    return list(values)


class TransitionEncoder:
    """Inputs and targets of one layout."""

    def __init__(self, settings: GaussianProcessSettings, features: Features, achieved_size: int) -> None:
        """`ConfigurationError` where a Gaussian process has no use: pictures, histories, bounds that don't fit."""
        kind = settings.kind
        if features.dtype is np.uint8:
            raise ConfigurationError(f"{PLACE}: {kind} can't predict pictures; choose another world model")
        if features.history != 1:
            raise ConfigurationError(f"{PLACE}: {kind} sees the newest observation only; write agents.history: 1")
        if achieved_size and settings.imagined_ratio > 0:
            text = f"{kind} predicts no achieved features, by which imagined goals are judged"
            raise ConfigurationError(f"{PLACE}: {text}; write imagined_ratio: 0, or choose another world model")
        self.features = features
        self.outputs = features.size
        layout, size, circular = features.layout, features.size, features.circular
        bounds = self._known_bounds() if settings.bounds is None else spread(settings.bounds, size, "bounds")
        self._walls = settings.clip_to_bounds
        self._low = np.where(circular, -np.inf, [low for low, _ in bounds]).astype(np.float32)
        self._high = np.where(circular, np.inf, [high for _, high in bounds]).astype(np.float32)
        seen = [(-1.0, 1.0) if round_ else pair for round_, pair in zip(circular, bounds, strict=True)]
        seen += [(-1.0, 1.0)] * int(circular.sum())
        lengths = spread(settings.lengthscales, size, "lengthscales")
        lengths += [lengths[place] for place in np.flatnonzero(circular)]
        actions = layout.actions
        if actions:
            done, widths = [(0.0, 1.0)] * sum(actions), actions
        else:
            done, widths = [(low, max(high, low + 1e-6)) for low, high in zip(layout.low, layout.high, strict=True)], [1] * len(layout.low)
        each = spread(settings.action_lengthscales, len(widths), "action_lengthscales")
        self.seen, self.done = seen, done
        self.lengthscales = lengths + [length for length, width in zip(each, widths, strict=True) for _ in range(width)]
        self.scale: NDArray[np.float64] = np.array(spread(settings.change_scale, size, "change_scale"))
        self._eyes = [np.eye(choices) for choices in actions]
        self._middle = np.array([(low + high) / 2 for low, high in done])
        self._half = np.array([(high - low) / 2 for low, high in done])

    def _known_bounds(self) -> list[tuple[float, float]]:
        """Those of the layout; `ConfigurationError` where it has none."""
        known = [(low, high) for low, high in self.features.bounds.tolist()]
        unknown = [i for i, (low, high) in enumerate(known) if low >= high and not self.features.circular[i]]
        if unknown:
            text = f"the environment has no bounds of component {unknown[0]} of the observation; write them"
            raise ConfigurationError(f"{PLACE}.bounds: {text}")
        return known

    @property
    def action_size(self) -> int:
        """Columns of the scaled action."""
        return len(self.done)

    def box(self, half_width: float = 1.0, action_half_width: float = 1.0) -> Box:
        """The inputs' bounds, with half-widths in scaled units."""
        low, high = zip(*self.seen, *self.done, strict=True)
        return Box(low, high, (half_width,) * len(self.seen) + (action_half_width,) * len(self.done))

    # --- from transitions -------------------------------------------------------------------------------------------------------------

    def _action(self, action: Array) -> NDArray[np.float64]:
        if self._eyes:
            return np.concatenate([eye[action[:, factor]] for factor, eye in enumerate(self._eyes)], axis=1)
        return action.astype(np.float64)

    def inputs(self, observation: Array, action: Array) -> torch.Tensor:
        """`[n, 1, D]` and `[n, A]` to raw inputs `[n, D + C + A]`, float64."""
        seen = self.features.directions(observation[:, -1]).astype(np.float64)
        return torch.from_numpy(np.concatenate([seen, self._action(action)], axis=1))

    def scaled(self, inputs: torch.Tensor) -> torch.Tensor:
        """Raw inputs to [-1, 1], not clipped."""
        low, high = torch.tensor([*self.seen, *self.done], dtype=torch.float64).T
        scaled: torch.Tensor = (2 * inputs - low - high) / (high - low)
        return scaled

    def scaled_actions(self, action: Array) -> torch.Tensor:
        """`[n, A]` to [-1, 1], float64."""
        return torch.from_numpy((self._action(action) - self._middle) / self._half)

    def targets(self, data: ModelData) -> torch.Tensor:
        """Changes in units of their scale, `[n, D]` float64."""
        change = self.features.difference(data.observation[:, -1], data.next_observation)
        return torch.from_numpy(change / self.scale)

    # --- to predictions ---------------------------------------------------------------------------------------------------------------

    def prediction(self, observation: Array, change: Array, epistemic: Array, aleatoric: Array) -> Prediction:
        """From the scaled change and its deviations, all `[n, D]` in units of the scale."""
        following = self.features.follow(observation[:, -1], change * self.scale)
        if self._walls:
            np.clip(following, self._low, self._high, out=following)
        nothing = np.zeros(len(observation), np.float32)
        return Prediction(
            observation=following,
            reward=nothing,
            terminated=nothing,
            achieved=None,
            epistemic=(epistemic * self.scale).astype(np.float32),
            aleatoric=(aleatoric * self.scale).astype(np.float32),
        )


class GaussianProcess(WorldModel):
    """A world model whose predictions are those of a Gaussian process over the scaled change."""

    encoder: TransitionEncoder
    parameters: KernelParameters

    @abstractmethod
    def _predict(self, observation: Array, action: Array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean `[n, D]` and epistemic standard deviation `[n, 1]` of the scaled change."""

    def _noise(self, mean: Array) -> NDArray[np.float64]:
        """Standard deviation of the noise, in the shape of `mean`."""
        return np.full_like(mean, float(self.parameters.noise_variance.sqrt()))

    def predict(self, observation: Array, action: Array) -> Prediction:
        """Mean, epistemic deviation (the posterior's, without the noise) and aleatoric deviation (the noise) for `[n, 1, D]`, `[n, A]`."""
        mean, deviation = self._predict(observation, action)
        return self.encoder.prediction(observation, mean, np.broadcast_to(deviation, mean.shape), self._noise(mean))

    def sample(self, observation: Array, action: Array, random: np.random.Generator) -> Prediction:
        """A possible next step: each row independently from the posterior, with noise."""
        mean, deviation = self._predict(observation, action)
        noise = self._noise(mean)
        change = mean + deviation * random.standard_normal(mean.shape) + noise * random.standard_normal(mean.shape)
        return self.encoder.prediction(observation, change, np.zeros_like(mean), noise)

    def error(self, data: ModelData) -> float:
        """Mean squared one-step error of `predict`, in units of each output's variance in `data`."""
        predicted = self.predict(data.observation, data.action).observation
        return self.encoder.features.relative_error(data.observation[:, -1], data.next_observation, predicted)
