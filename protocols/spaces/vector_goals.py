"""Goals that are points in a box, as in Gymnasium-Robotics: what a body achieves is a point too, and a rule compares the two."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.runtime.errors import ConfigurationError
from protocols.runtime.user_code import user_function
from protocols.spaces.goal_space import Array, Goal, GoalSpace
from protocols.spaces.layout import VectorGoalsInfo

RewardFunction = Callable[[Array, Array], Any]
"""compute_reward(achieved[n, D], desired[n, D]) -> reward[n]"""
GYMNASIUM = "gymnasium:"


def reward_function(rule: str, arguments: str = "{}") -> RewardFunction:
    """The function of a reward rule: `package.module:function` is imported; `gymnasium:ID` is the `compute_reward(achieved, desired, info)`
    of that environment, made with the keyword `arguments` (JSON). `ConfigurationError` for a rule that does not exist."""
    if rule.startswith(GYMNASIUM):
        make = user_function("gymnasium:make")
        environment = make(rule.removeprefix(GYMNASIUM), disable_env_checker=True, **json.loads(arguments))
        compute = getattr(environment.unwrapped, "compute_reward", None)
        if compute is None:
            raise ConfigurationError(f"{rule} has no compute_reward(achieved_goal, desired_goal, info): name a function of your own")
        return lambda achieved, desired: compute(achieved, desired, {})
    function: RewardFunction = user_function(rule)
    return function


@dataclass(frozen=True)
class VectorGoals(GoalSpace):
    """Goals in the box [low, high] in R^D. Body i achieves the point a_i(t); the reward of goal g is

    - without a `rule`: `reward` 1[|a_i(t) - g|_2 <= threshold];
    - with a `rule`: `reward` f(a_i(t), g), f being the function that it names.
    A goal is reached where |a_i(t) - g|_2 <= threshold.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    threshold: float = 0.05
    rule: str = ""
    arguments: str = "{}"
    reward: float = 1.0
    ends: bool = True
    mixed: bool = False

    achieved_dtype = np.float32
    info_type = VectorGoalsInfo
    count = 0
    common = False
    """vector goals are not assigned in evaluations, since there is no list to draw from"""

    def __post_init__(self) -> None:
        if len(self.low) != len(self.high) or not all(a < b for a, b in zip(self.low, self.high, strict=True)):
            raise ValueError(f"goals between {list(self.low)} and {list(self.high)}: give equally many bounds, the lower ones first")

    @cached_property
    def goal_shape(self) -> tuple[int, ...]:
        """(D,): one goal is a point with D components."""
        return (len(self.low),)

    @cached_property
    def goal_size(self) -> int:
        """D: the encoding has one component per component of the goal, and a body achieves a point."""
        return len(self.low)

    @property
    def unit_returns(self) -> bool:
        """The goal is rewarded once, by `reward`, which is at most 1; unknown with a `rule`."""
        return self.ends and not self.mixed and not self.rule and self.reward <= 1

    @cached_property
    def _function(self) -> RewardFunction:
        return reward_function(self.rule, self.arguments)

    @cached_property
    def _scale(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        low, high = np.array(self.low), np.array(self.high)
        return ((low + high) / 2).astype(np.float32), ((high - low) / 2).astype(np.float32)

    def encode(self, goal: Array) -> NDArray[np.float32]:
        """Goals moved from [low, high] to [-1, 1], `[..., D]`; zeros for NaN."""
        middle, half = self._scale
        scaled: NDArray[np.float32] = np.nan_to_num((goal - middle) / half, nan=0.0).astype(np.float32)
        return scaled

    def achieved(self, own: Array, others: Array) -> Array:
        """The point of the own body, `own[..., D]`; other bodies do not count."""
        return own

    def reached(self, achieved: Array, desired: Array) -> NDArray[np.bool_]:
        """|achieved - desired|_2 <= threshold, `[...]`, for `achieved[..., D]` and `desired[..., D]`."""
        near: NDArray[np.bool_] = np.linalg.norm(np.asarray(achieved, np.float64) - desired, axis=-1) <= self.threshold
        return near

    def compute_reward(self, achieved: Array, desired: Array) -> NDArray[np.float32]:
        """The formula above. `ValueError` where the function of the rule does not return one number for each row."""
        if not self.rule:
            return (self.reward * self.reached(achieved, desired)).astype(np.float32)
        lead = np.broadcast_shapes(achieved.shape, desired.shape)[:-1]
        rows = [np.broadcast_to(part, (*lead, part.shape[-1])).reshape(-1, part.shape[-1]) for part in (achieved, desired)]
        values = np.asarray(self._function(*rows), np.float32)
        if values.shape != (len(rows[0]),):
            raise ValueError(f"{self.rule} returns {list(values.shape)} for {len(rows[0])} rows: return one reward for each row")
        return (self.reward * values).reshape(lead).astype(np.float32)

    def draw(self, random: np.random.Generator) -> tuple[float, ...]:
        """A point drawn uniformly from the box [low, high], `[D]` in single precision."""
        return tuple(random.uniform(self.low, self.high).astype(np.float32).tolist())

    def name(self, goal: Goal) -> str:
        """The goal as text, for example `(0.5, -0.2)`."""
        return "(" + ", ".join(f"{component:.3g}" for component in goal) + ")" if isinstance(goal, tuple) else "none"
