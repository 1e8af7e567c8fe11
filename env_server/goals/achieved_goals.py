"""What bodies achieve, measured after each step: by a user's function, or read from infos."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.runtime.errors import ConfigurationError
from protocols.runtime.user_code import user_function
from protocols.spaces.goal_space import Array, GoalSpace

ACHIEVED, DESIRED = "achieved_goal", "desired_goal"
"""keys of infos and of dictionary observations (Gymnasium-Robotics)"""


class AchievedGoals:
    """Measures what bodies achieve as rows of `space.achieved_size` components. `path`: the function `package.module:function` of
    `GoalSettings.of`; None: infos. `ConfigurationError` for measurements that do not fit the goal space."""

    def __init__(self, space: GoalSpace, path: str | None) -> None:
        self.space = space
        self._path = path
        self._function: Any = None if path is None else user_function(path)

    @property
    def measures_batches(self) -> bool:
        """Whether there is a function, which a vectorised environment needs."""
        return self._function is not None

    def one(self, environment: Any, agent: Any, observation: Any, info: Mapping[str, Any]) -> Array:
        """What `agent` achieves in one environment, `[A]`."""
        if self._function is not None:
            return self._rows(self._function(environment, agent, observation), ())
        if ACHIEVED not in info:
            text = f"infos of {agent} have no {ACHIEVED}; add it to the environment, or name a function in environment.goals.of"
            raise ConfigurationError(text)
        return self._rows(info[ACHIEVED], ())

    def all(self, environment: Any, agent: str, observation: Array) -> Array:
        """What `agent` achieves in each of the K copies of a vectorised environment, `[K, A]`."""
        return self._rows(self._function(environment, agent, observation), (len(observation),))

    def desired(self, info: Mapping[str, Any]) -> Array:
        """The goal that the environment sets, `goal_shape`."""
        if DESIRED not in info:
            raise ConfigurationError(f"environment.goals.chosen_by: environment needs {DESIRED} in infos or in dictionary observations")
        goal = np.asarray(info[DESIRED], np.float32 if self.space.goal_shape else np.int64)
        if goal.shape != self.space.goal_shape:
            raise ConfigurationError(f"{DESIRED} has the shape {list(goal.shape)}; goals have {list(self.space.goal_shape)}")
        return goal

    def _rows(self, found: Any, lead: tuple[int, ...]) -> Array:
        """Check and convert: numbers of goals become bits."""
        size, values = self.space.achieved_size, np.asarray(found)
        if self.space.goal_shape:
            values = values.astype(np.float32)
        elif values.shape == lead and values.dtype.kind in "iu":
            values = (values[..., None] == np.arange(size)).astype(np.uint8)
        else:
            values = values.astype(bool).astype(np.uint8)
        source = f"environment.goals.of: {self._path}" if self._path else f"infos: {ACHIEVED}"
        if values.shape != (*lead, size):
            kind = "vector goals have" if self.space.goal_shape else "environment.goals.count is"
            wanted = f"an array of shape {[*lead, size]}" + ("" if self.space.goal_shape else f", or whole numbers of shape {list(lead)}")
            raise ConfigurationError(f"{source} gives the shape {list(values.shape)}, and {kind} {size}: return {wanted}")
        if not np.isfinite(values).all():
            raise ConfigurationError(f"{source} gives a value that is not finite: {values.tolist()}")
        rows: NDArray[Any] = values
        return rows
