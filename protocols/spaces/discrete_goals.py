"""Goals by number: the environment measures for each body which of them it achieves."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from protocols.spaces.goal_space import Bits, DiscreteSpace
from protocols.spaces.layout import DiscreteGoalsInfo

Rule = Literal["own", "any", "exclusive"]


@dataclass(frozen=True)
class DiscreteGoals(DiscreteSpace):
    """`count` goals, encoded one-hot; the environment measures one bit for each. Let b_j(t) in {0,1}^count be what body
    j achieves. Goal g of agent i is reached iff, by `rule`,

    - own: b_i(t)[g] = 1;
    - any: b_j(t)[g] = 1 for some body j;
    - exclusive: b_i(t)[g] = 1, and b_j(t)[g] = 0 for all other bodies j.
    """

    count: int
    rule: Rule = "own"
    reward: float = 1.0
    """of a step at the goal"""
    ends: bool = True
    """the agent's part of the episode ends at its goal"""
    mixed: bool = False
    """the agent's reward holds other terms than that of its own goal"""

    info_type = DiscreteGoalsInfo

    @cached_property
    def goal_size(self) -> int:
        """|G|: goals are one-hot, and the environment measures one bit for each."""
        return self.count

    @cached_property
    def common(self) -> bool:
        """Whether all members of an episode can reach the same goal: not under the rule `exclusive`."""
        return self.rule != "exclusive"

    @cached_property
    def encodings(self) -> Bits:
        """One-hot rows, `[|G|, |G|]`."""
        return np.eye(self.count, dtype=np.uint8)

    @cached_property
    def cooperative(self) -> NDArray[np.bool_]:
        """`[|G|]`, all false: no goal needs more than one body."""
        return np.zeros(self.count, bool)

    @cached_property
    def needs_others(self) -> NDArray[np.bool_]:
        """`[|G|]`, one value for all goals: true under the rule `exclusive`, where other bodies prevent a goal, and under `any` with
        mixed rewards, where other bodies are credited."""
        return np.full(self.count, self.rule == "exclusive" or (self.rule == "any" and self.mixed))

    @cached_property
    def imaginable(self) -> NDArray[np.bool_]:
        """`[|G|]`, one value for all goals: true under the rule `any`, where it suffices to predict what any body achieves."""
        return np.full(self.count, self.rule == "any")

    @cached_property
    def rewards(self) -> NDArray[np.float32]:
        """`[|G|]`: `reward`, the same for every goal."""
        return np.full(self.count, self.reward, np.float32)

    def best_return(self, members: int) -> float | None:
        """members * reward: each member is rewarded once. None where episodes continue at goals or rewards contain other terms."""
        return members * self.reward if self.ends and not self.mixed else None

    def achieved(self, own: Bits, others: Bits) -> NDArray[np.bool_]:
        """Whether each goal is reached, `[..., |G|]`, by `rule` from the bits `own[..., |G|]` and `others[..., B, |G|]`."""
        mine = own.astype(bool)
        theirs: NDArray[np.bool_] = np.any(others, axis=-2)
        if self.rule == "own":
            return mine
        return mine | theirs if self.rule == "any" else mine & ~theirs
