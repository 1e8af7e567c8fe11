"""Contract of goal spaces: what the environment server and the agents must agree on to pursue, reward and relabel goals.

A goal space is discrete (goals are numbers 0 to `count` - 1) or vector-valued (goals are points of shape `goal_shape`). The environment
measures after each step what every body achieves, a row of `achieved_size` components; the functions of the space turn these rows into
goals that are achieved and into rewards. All functions are vectorised: leading axes (steps, copies, samples) are arbitrary.

Implementations: `feature_sets.FeatureSets`, `discrete_goals.DiscreteGoals`, `vector_goals.VectorGoals`. On the wire a space is one of the
structs `protocols.spaces.layout.GoalSpaceInfo`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from protocols.spaces.layout import FeatureSetsInfo, GoalSpaceInfo, VectorGoalsInfo

Array = NDArray[Any]
Bits = NDArray[np.uint8]
Goal = int | tuple[float, ...]
"""one goal: its number, or its components"""
NO_GOAL = -1
"""in the place of a goal: none is set"""


class GoalSpace(ABC):
    """Goals, their encoding for policies, and the rule that rewards them."""

    achieved_dtype: ClassVar[type[np.generic]]
    """of the rows that the environment measures"""

    @property
    @abstractmethod
    def count(self) -> int:
        """Number of goals |G|; 0 for vector goals."""

    @property
    @abstractmethod
    def goal_shape(self) -> tuple[int, ...]:
        """Shape of one goal: () for a number, (D,) for a vector."""

    @property
    @abstractmethod
    def goal_size(self) -> int:
        """Components of an encoded goal."""

    @property
    @abstractmethod
    def achieved_size(self) -> int:
        """Components of the row that the environment measures of one body."""

    @property
    @abstractmethod
    def terminal(self) -> bool:
        """Whether an agent's part of an episode ends when its goal is reached. If not, every step at the goal is rewarded."""

    @property
    @abstractmethod
    def relative(self) -> bool:
        """Whether rewards hold more than that of the own goal (the environment's reward, a share of the team's). A relabelled reward is
        then the recorded one, plus the reward of the new goal, minus the reward of the pursued goal."""

    @property
    @abstractmethod
    def common(self) -> bool:
        """Whether all members of an episode can reach one common goal, so that evaluations with an assigned goal mean something."""

    @abstractmethod
    def info(self) -> GoalSpaceInfo:
        """The wire form."""

    @abstractmethod
    def encode(self, goal: Array) -> NDArray[np.float32]:
        """Input of a policy for `goal[..., *goal_shape]`, `[..., goal_size]`; zeros where no goal is set (-1, or NaN in a vector)."""

    @abstractmethod
    def achieved(self, own: Array, others: Array) -> Array:
        """What a body with `own[..., A]` achieves beside `others[..., B, A]` (B >= 0): `[..., count]` flags, or `[..., D]` points."""

    @abstractmethod
    def reached(self, achieved: Array, desired: Array) -> NDArray[np.bool_]:
        """Whether `desired[..., *goal_shape]` is reached by `achieved`, as `achieved()` returns it."""

    @abstractmethod
    def compute_reward(self, achieved: Array, desired: Array) -> NDArray[np.float32]:
        """Reward of one step that ends with `achieved` for an agent that pursues `desired`, `[...]`."""

    @abstractmethod
    def draw(self, random: np.random.Generator) -> Goal:
        """A goal, uniform over the space."""

    @abstractmethod
    def name(self, goal: Goal) -> str:
        """A goal for people."""


class DiscreteSpace(GoalSpace):
    """Goals are numbers; the environment measures binary features of each body."""

    achieved_dtype = np.uint8
    goal_shape = ()
    """a number"""

    @property
    @abstractmethod
    def encodings(self) -> Bits:
        """Encoding of every goal as rows, `[|G|, goal_size]`."""

    @property
    @abstractmethod
    def cooperative(self) -> NDArray[np.bool_]:
        """Whether a goal needs more than one body, `[|G|]`."""

    @property
    @abstractmethod
    def needs_others(self) -> NDArray[np.bool_]:
        """Whether the features of the own body alone do not suffice to know that a goal is reached, `[|G|]`."""

    @property
    @abstractmethod
    def rewards(self) -> NDArray[np.float32]:
        """Reward of a step at each goal, `[|G|]`."""

    @property
    @abstractmethod
    def imaginable(self) -> NDArray[np.bool_]:
        """Goals for which it suffices to know what is achieved by any body, `[|G|]`: a world model that predicts this can imagine them."""

    @abstractmethod
    def elements(self, goal: int) -> tuple[int, ...]:
        """The features that a goal is made of."""

    @abstractmethod
    def best_return(self, members: int) -> float | None:
        """Largest sum of the members' rewards in an episode, mean over all goals; None where it is not known."""

    @abstractmethod
    def label(self, goal: int) -> str:
        """A goal in the name of a metric: digits and hyphens."""

    @cached_property
    def _table(self) -> NDArray[np.float32]:
        table: NDArray[np.float32] = np.concatenate([self.encodings, np.zeros((1, self.goal_size))]).astype(np.float32)
        return table

    def encode(self, goal: Array) -> NDArray[np.float32]:
        """Rows of `encodings`; zeros for -1."""
        rows: NDArray[np.float32] = self._table[goal]
        return rows

    def draw(self, random: np.random.Generator) -> int:
        """A number."""
        return int(random.integers(self.count))

    def reached(self, achieved: Array, desired: Array) -> NDArray[np.bool_]:
        """The flag of the goal `desired[...]` in `achieved[..., |G|]`."""
        flags: NDArray[np.bool_] = np.take_along_axis(achieved, desired[..., None], axis=-1)[..., 0].astype(bool)
        return flags

    def compute_reward(self, achieved: Array, desired: Array) -> NDArray[np.float32]:
        """`rewards[desired]` where it is reached, else 0."""
        return np.where(self.reached(achieved, desired), self.rewards[desired], np.float32(0)).astype(np.float32)


def goal_space(info: GoalSpaceInfo) -> GoalSpace:
    """The goal space of a wire form; `ValueError` for one that contradicts itself."""
    from protocols.spaces.discrete_goals import DiscreteGoals
    from protocols.spaces.feature_sets import FeatureSets
    from protocols.spaces.vector_goals import VectorGoals

    if isinstance(info, FeatureSetsInfo):
        return FeatureSets.from_info(info)
    return VectorGoals.from_info(info) if isinstance(info, VectorGoalsInfo) else DiscreteGoals.from_info(info)
