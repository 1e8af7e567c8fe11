"""World model `ridge`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from agent_node.contracts import AdditiveWorldModel, Array, Metrics, ModelData, Prediction, State, arrays, tensors
from agent_node.session.observation_features import Features
from swarm_extras.components import RidgeSettings

Sums = NDArray[np.float64]


class RidgeModel(AdditiveWorldModel):
    """Linear regression y = W^T x with x = [o, a, 1] (discrete actions one-hot) and y = [change of o, reward, end].

    Sums over transitions: G = X^T X, B = X^T Y and Y^T Y's diagonal; W = (G + ridge I)^-1 B. The sums of all agents give the W of all data.
    """

    def __init__(self, settings: RidgeSettings, features: Features, achieved_size: int, seed: int) -> None:
        self.settings = settings
        self._features = features
        choices = features.layout.actions
        self._choices = [np.eye(choice) for choice in choices]
        self._rows = features.size + (sum(choices) if choices else features.action_size) + 1
        self._columns = features.size + 2
        self._own: Sums = np.zeros(self._rows * (self._rows + self._columns) + self._columns + 1)
        self._total: Sums | None = None
        self._weights: Sums = np.zeros((self._rows, self._columns))
        self._deviation: Sums = np.ones(self._columns)
        self._rests_on = self._new = 0

    # --- sums ---------------------------------------------------------------------------------------------------------------------------

    def _inputs(self, observation: Array, action: Array) -> Sums:
        parts = [table[action[:, i]] for i, table in enumerate(self._choices)] or [action]
        return np.concatenate([observation[:, -1], *parts, np.ones((len(action), 1))], axis=1, dtype=np.float64)

    def absorb(self, data: ModelData) -> None:
        """Add transitions to the own sums."""
        x, change = self._inputs(data.observation, data.action), self._features.difference(data.observation[:, -1], data.next_observation)
        y = np.concatenate([change, data.reward[:, None], data.terminated[:, None]], axis=1, dtype=np.float64)
        self._own = self._own + np.concatenate([(x.T @ x).ravel(), (x.T @ y).ravel(), (y * y).sum(0), [len(x)]])
        self._new += len(x)

    @property
    def basis_id(self) -> str:
        """Shapes of the sums."""
        return f"ridge/{self._rows}/{self._columns}"

    @property
    def transitions(self) -> int:
        """Own transitions."""
        return int(self._own[-1])

    def statistics(self) -> Sums:
        """The own sums, `[P]`."""
        return self._own.copy()

    def check(self, vector: Sums) -> None:
        """The number of transitions and the diagonal of G must not be negative."""
        if vector.shape != self._own.shape or not np.isfinite(vector).all():
            raise ValueError(f"sums must be {len(self._own)} finite numbers")
        if vector[-1] < 0 or vector[: self._rows**2].reshape(self._rows, self._rows).diagonal().min() < 0:
            raise ValueError("sums of squares must not be negative")

    def published(self) -> None:
        """Totals contain the own sums up to here."""

    def use(self, total: Sums, complete: bool) -> None:
        """Rest on the sums of all agents from the next `refit` on."""
        if total.shape != self._own.shape:
            raise ValueError(f"a total of {total.size} numbers, not {self._own.size}")
        self._total = total.copy()

    @property
    def due(self) -> bool:
        """Whether `refit_every` transitions are new."""
        return self._new >= self.settings.refit_every

    def refit(self) -> Metrics:
        """W and the deviation of residuals, from the newest total."""
        sums = self._own if self._total is None else self._total
        rows, columns = self._rows, self._columns
        gram, moment = sums[: rows * rows].reshape(rows, rows), sums[rows * rows : rows * (rows + columns)].reshape(rows, columns)
        self._weights = np.asarray(np.linalg.solve(gram + self.settings.ridge * np.eye(rows), moment), np.float64)
        residual = sums[-columns - 1 : -1] - (self._weights * moment).sum(0)
        self._deviation = np.sqrt(np.maximum(residual, 1e-12) / max(sums[-1], 1.0))
        self._rests_on, self._new = int(sums[-1]), 0
        return {"transitions": float(self._rests_on)}

    # --- predictions ------------------------------------------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether the model rests on `learning_starts` transitions."""
        return self._rests_on >= self.settings.learning_starts

    def predict(self, observation: Array, action: Array) -> Prediction:
        """The mean; its deviation is that of the residuals."""
        y = self._inputs(observation, action) @ self._weights
        return self._prediction(observation, y)

    def _prediction(self, observation: Array, y: Sums) -> Prediction:
        size = self._features.size
        following = self._features.follow(observation[:, -1], y[:, :size].astype(np.float32))
        spread = np.broadcast_to(self._deviation[:size].astype(np.float32), following.shape)
        reward, end = y[:, size].astype(np.float32), np.clip(y[:, size + 1], 0, 1).astype(np.float32)
        return Prediction(following, reward, end, None, np.zeros_like(following), spread.copy())

    def sample(self, observation: Array, action: Array, random: np.random.Generator) -> Prediction:
        """The mean with the noise of the residuals."""
        y = self._inputs(observation, action) @ self._weights
        return self._prediction(observation, y + self._deviation * random.standard_normal(y.shape))

    def error(self, data: ModelData) -> float:
        """Mean over components of the squared error in units of the variance."""
        miss = self._features.difference(self.predict(data.observation, data.action).observation, data.next_observation)
        return float((np.square(miss).mean(0) / np.maximum(data.next_observation.var(0), 1e-12)).mean())

    # --- checkpoints ------------------------------------------------------------------------------------------------------------------

    def state_dict(self) -> State:
        """Sums, coefficients and counts; the newest total, where there is one."""
        kept: dict[str, Any] = {"own": self._own, "weights": self._weights, "deviation": self._deviation}
        kept["counts"] = np.array([self._rests_on, self._new])
        if self._total is not None:
            kept["total"] = self._total
        return tensors({name: array.copy() for name, array in kept.items()})

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore; `ValueError` for sums of another shape."""
        found = arrays(state)
        if found["own"].shape != self._own.shape:
            raise ValueError(f"own has {found['own'].size} numbers in the state and {self._own.size} here")
        self._own, self._weights, self._deviation = found["own"].copy(), found["weights"].copy(), found["deviation"].copy()
        self._total = found["total"].copy() if "total" in found else None
        self._rests_on, self._new = (int(count) for count in found["counts"])
