"""Goals by number: the environment measures for each body which of them it achieves."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from protocols.spaces.goal_space import Bits, DiscreteSpace, Goal
from protocols.spaces.layout import DiscreteGoalsInfo

Rule = Literal["own", "any", "exclusive"]


@dataclass(frozen=True)
class DiscreteGoals(DiscreteSpace):
    """`size` goals. Let b_j(t) in {0,1}^size be what body j achieves. Goal g of agent i is reached iff, by `rule`,

    - own: b_i(t)[g] = 1;
    - any: b_j(t)[g] = 1 for some body j;
    - exclusive: b_i(t)[g] = 1, and b_j(t)[g] = 0 for all other bodies j.
    """

    size: int
    rule: Rule = "own"
    reward: float = 1.0
    """of a step at the goal"""
    ends: bool = True
    """the agent's part of the episode ends at its goal"""
    mixed: bool = False
    """the agent's reward holds other terms than that of its own goal"""

    @classmethod
    def from_info(cls, info: DiscreteGoalsInfo) -> DiscreteGoals:
        """The goal space that `info` returned, as it was received."""
        return cls(info.count, info.rule, info.reward, info.ends, info.mixed)

    def info(self) -> DiscreteGoalsInfo:
        """The parameters as a message; inverse of `from_info`."""
        return DiscreteGoalsInfo(count=self.size, rule=self.rule, reward=self.reward, ends=self.ends, mixed=self.mixed)

    @property
    def count(self) -> int:
        """Number of goals |G|."""
        return self.size

    @property
    def goal_size(self) -> int:
        """|G|: goals are encoded one-hot."""
        return self.size

    @property
    def achieved_size(self) -> int:
        """|G|: one bit for each goal."""
        return self.size

    @property
    def terminal(self) -> bool:
        """`ends`: whether the agent's part of the episode ends when it reaches its goal."""
        return self.ends

    @property
    def relative(self) -> bool:
        """`mixed`: whether rewards contain other terms than that of the own goal."""
        return self.mixed

    @property
    def common(self) -> bool:
        """Whether all members of an episode can reach the same goal: not under the rule `exclusive`."""
        return self.rule != "exclusive"

    @cached_property
    def encodings(self) -> Bits:
        """One-hot rows, `[|G|, |G|]`."""
        return np.eye(self.size, dtype=np.uint8)

    @cached_property
    def cooperative(self) -> NDArray[np.bool_]:
        """`[|G|]`, all false: no goal needs more than one body."""
        return np.zeros(self.size, bool)

    @cached_property
    def needs_others(self) -> NDArray[np.bool_]:
        """`[|G|]`, one value for all goals: true under the rule `exclusive`, where other bodies prevent a goal, and under `any` with
        mixed rewards, where other bodies are credited."""
        return np.full(self.size, self.rule == "exclusive" or (self.rule == "any" and self.mixed))

    @cached_property
    def imaginable(self) -> NDArray[np.bool_]:
        """`[|G|]`, one value for all goals: true under the rule `any`, where it suffices to predict what any body achieves."""
        return np.full(self.size, self.rule == "any")

    @cached_property
    def rewards(self) -> NDArray[np.float32]:
        """`[|G|]`: `reward`, the same for every goal."""
        return np.full(self.size, self.reward, np.float32)

    def best_return(self, members: int) -> float | None:
        """members * reward: each member is rewarded once. None where episodes continue at goals or rewards contain other terms."""
        return members * self.reward if self.ends and not self.mixed else None

    def elements(self, goal: int) -> tuple[int, ...]:
        """The goal itself, since goal and feature have the same index."""
        return (goal,)

    def achieved(self, own: Bits, others: Bits) -> NDArray[np.bool_]:
        """Whether each goal is reached, `[..., |G|]`, by `rule` from the bits `own[..., |G|]` and `others[..., B, |G|]`."""
        mine = own.astype(bool)
        theirs: NDArray[np.bool_] = np.any(others, axis=-2)
        if self.rule == "own":
            return mine
        return mine | theirs if self.rule == "any" else mine & ~theirs

    def name(self, goal: Goal) -> str:
        """The index as text, for example `2`."""
        return str(goal)

    def label(self, goal: int) -> str:
        """The index as text, for example `2`, in the names of metrics."""
        return str(goal)
