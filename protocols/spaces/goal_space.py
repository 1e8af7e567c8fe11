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
from typing import Any, ClassVar, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from protocols.spaces.layout import GoalSpaceInfo

Array = NDArray[Any]
Bits = NDArray[np.uint8]
Goal = int | tuple[float, ...]
"""one goal: its number, or its components"""
NO_GOAL = -1
"""in the place of a goal: none is set"""


class GoalSpace(ABC):
    """Goals, their encoding as input of policies, and the rule that rewards them. A discrete goal is an index 0 ... |G| - 1, a vector
    goal a point `[D]`."""

    achieved_dtype: ClassVar[type[np.generic]]
    """of the rows that the environment measures"""
    info_type: ClassVar[type[msgspec.Struct]]
    """one of `GoalSpaceInfo`; its fields are those of the space"""
    count: int
    """number of goals |G|; 0 for vector goals"""
    ends: bool
    """whether an agent's part of an episode ends when its goal is reached. If not, every step at the goal is rewarded"""
    mixed: bool
    """whether rewards hold more than that of the own goal (the environment's reward, a share of the team's). A relabelled reward is then
    the recorded one, plus the reward of the new goal, minus the reward of the pursued goal"""

    @property
    @abstractmethod
    def goal_shape(self) -> tuple[int, ...]:
        """Shape of one goal: () for a number, (D,) for a vector."""

    @property
    @abstractmethod
    def goal_size(self) -> int:
        """L, the components of an encoded goal (`encode`)."""

    @property
    @abstractmethod
    def common(self) -> bool:
        """Whether all members of an episode can reach one common goal, so that evaluations with an assigned goal mean something."""

    @property
    def unit_returns(self) -> bool:
        """Whether the return of an agent is known to be between 0 and 1, whichever goal it pursues."""
        return False

    @property
    def achieved_size(self) -> int:
        """A, the components that the environment measures of each body (`own` and `others` of `achieved`): L."""
        return self.goal_size

    @classmethod
    def from_info(cls, info: Any) -> Self:
        """The goal space that `info` returned, as it was received. `ValueError` for parameters that contradict each other."""
        values = msgspec.structs.asdict(info)
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})

    def info(self) -> Any:
        """The parameters as a message, one of `GoalSpaceInfo`; `goal_space` is the inverse."""
        values = {name: getattr(self, name) for name in self.info_type.__struct_fields__}
        return self.info_type(**{name: list(value) if isinstance(value, tuple) else value for name, value in values.items()})

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
        """A goal drawn uniformly from the space: an index, or a point `[D]`."""

    @abstractmethod
    def name(self, goal: Goal) -> str:
        """The goal as text, for tables, charts and logs."""


class DiscreteSpace(GoalSpace):
    """Goals are indices 0 ... |G| - 1; the environment measures A binary features of each body."""

    achieved_dtype = np.uint8
    goal_shape = ()
    """a number"""

    @property
    def unit_returns(self) -> bool:
        """The own goal is rewarded once, and by at most 1."""
        return self.ends and not self.mixed and bool(self.rewards.min() >= 0 and self.rewards.max() <= 1)

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

    def elements(self, goal: int) -> tuple[int, ...]:
        """Indices of the features that a goal consists of, ascending; by default goal and feature have the same index."""
        return (goal,)

    @abstractmethod
    def best_return(self, members: int) -> float | None:
        """Largest sum of the members' rewards in an episode, mean over all goals; None where it is not known."""

    def label(self, goal: int) -> str:
        """A goal in the name of a metric: digits and hyphens."""
        return str(goal)

    def name(self, goal: Goal) -> str:
        """The index as text, for example `2`."""
        return str(goal)

    @cached_property
    def _table(self) -> NDArray[np.float32]:
        table: NDArray[np.float32] = np.concatenate([self.encodings, np.zeros((1, self.goal_size))]).astype(np.float32)
        return table

    def encode(self, goal: Array) -> NDArray[np.float32]:
        """Rows of `encodings`; zeros for -1."""
        rows: NDArray[np.float32] = self._table[goal]
        return rows

    def draw(self, random: np.random.Generator) -> int:
        """An index drawn uniformly from 0 ... |G| - 1."""
        return int(random.integers(self.count))

    def reached(self, achieved: Array, desired: Array) -> NDArray[np.bool_]:
        """Whether goal `desired[...]` is among the reached ones, `[...]`, for the flags `achieved[..., |G|]` of `achieved()`."""
        flags: NDArray[np.bool_] = np.take_along_axis(achieved, desired[..., None], axis=-1)[..., 0].astype(bool)
        return flags

    def compute_reward(self, achieved: Array, desired: Array) -> NDArray[np.float32]:
        """`rewards[desired]` where the goal is reached, else 0; `[...]` float32."""
        return np.where(self.reached(achieved, desired), self.rewards[desired], np.float32(0)).astype(np.float32)


def goal_space(info: GoalSpaceInfo) -> GoalSpace:
    """The goal space with these parameters; inverse of `GoalSpace.info`. `ValueError` for parameters that contradict each other."""
    from protocols.spaces.discrete_goals import DiscreteGoals
    from protocols.spaces.feature_sets import FeatureSets
    from protocols.spaces.vector_goals import VectorGoals

    kinds: tuple[type[GoalSpace], ...] = (FeatureSets, VectorGoals, DiscreteGoals)
    return next(kind for kind in kinds if isinstance(info, kind.info_type)).from_info(info)
