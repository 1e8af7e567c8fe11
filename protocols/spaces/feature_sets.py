"""Goals that are sets of binary features, with the one reward rule that the environment and the relabelling share.

A goal is a set of features that must be present at once: `{a}` is individual, `{a, b}` needs two bodies. Goals are numbered by size, then
in lexicographic order: for F = 3, 0..2 are {0}, {1}, {2} and 3..5 are {0,1}, {0,2}, {1,2}.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from protocols.spaces.goal_space import Bits, DiscreteSpace, Goal
from protocols.spaces.layout import FeatureSetsInfo


@dataclass(frozen=True)
class FeatureSets(DiscreteSpace):
    """All sets of `smallest` to `largest` of `features` features, with the reward rule of `dec_imsap`.

    Let h_j(t) in {0,1}^F be the features of body j and c(t) = OR_j h_j(t). An agent i with goal z is rewarded
    - cooperative (two or more features): 1 iff c(t) = z;
    - individual, scheme `consistent`: 1 / premium iff h_j(t) = z for some body j; scheme `original`: iff h_i(t) = z.
    Source: Nisioti et al., arXiv 2211.06082, as their public code plays it.
    """

    features: int
    largest: int = 2
    premium: float = 2.0
    scheme: Literal["consistent", "original"] = "consistent"
    smallest: int = 1

    count: int = field(init=False, repr=False)

    info_type = FeatureSetsInfo
    ends = True
    mixed = False
    common = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "count", len(self.sets))

    @cached_property
    def sets(self) -> tuple[tuple[int, ...], ...]:
        """Indices of the features of every goal, ascending; the position of a set is the index of its goal."""
        sizes = range(self.smallest, self.largest + 1)
        return tuple(chosen for size in sizes for chosen in combinations(range(self.features), size))

    @cached_property
    def goal_size(self) -> int:
        """F: goals are encoded multi-hot over the features, and the environment measures one bit per feature of each body."""
        return self.features

    @cached_property
    def encodings(self) -> Bits:
        """z_g of every goal as rows `[|G|, F]`, multi-hot."""
        table = np.zeros((self.count, self.features), np.uint8)
        for goal, chosen in enumerate(self.sets):
            table[goal, list(chosen)] = 1
        return table

    @cached_property
    def cooperative(self) -> NDArray[np.bool_]:
        """Whether a goal consists of two or more features and so needs more than one body, `[|G|]`."""
        return np.array([len(chosen) > 1 for chosen in self.sets])

    @cached_property
    def needs_others(self) -> NDArray[np.bool_]:
        """`[|G|]`: the same as `cooperative`."""
        return self.cooperative

    @cached_property
    def imaginable(self) -> NDArray[np.bool_]:
        """All goals; under the scheme `original`, in which individual goals need the own body, the cooperative ones."""
        return self.cooperative if self.scheme == "original" else np.ones(self.count, bool)

    @cached_property
    def rewards(self) -> NDArray[np.float32]:
        """Reward of reaching each goal, `[|G|]`: 1 if cooperative, 1 / premium if individual."""
        return np.where(self.cooperative, 1.0, 1.0 / self.premium).astype(np.float32)

    def best_return(self, members: int = 2) -> float:
        """R*: the sum of the rewards of `members` agents that reach one common goal, mean over all goals,

            R* = members (|G_ind| / |G| / premium + |G_coop| / |G|).

        Returns are divided by it. Members with different goals can exceed it: one with an individual goal helps a partner to a cooperative
        one, which is rewarded more.
        """
        return members * float(np.mean(np.where(self.cooperative, 1.0, 1.0 / self.premium)))

    def index(self, chosen: tuple[int, ...]) -> int:
        """Number of the goal that is this set of features; `ValueError` for an unknown set."""
        return self.sets.index(tuple(sorted(chosen)))

    def elements(self, goal: int) -> tuple[int, ...]:
        """Indices of the features of a goal, ascending."""
        return self.sets[goal]

    def achieved(self, own: Bits, others: Bits) -> NDArray[np.bool_]:
        """Whether each goal is reached, `[..., |G|]`, for an agent whose body has the features `own[..., F]`, the other bodies
        `others[..., B, F]` (B >= 0)."""
        bodies = np.concatenate([own[..., None, :], others], axis=-2)
        joint: NDArray[np.bool_] = np.any(bodies, axis=-2)
        z = self.encodings.astype(bool)
        together = np.all(joint[..., None, :] == z, axis=-1)
        credited = bodies if self.scheme == "consistent" else bodies[..., :1, :]
        alone = np.any(np.all(credited[..., None, :].astype(bool) == z, axis=-1), axis=-2)
        reached: NDArray[np.bool_] = (self.cooperative & together) | (~self.cooperative & alone)
        return reached

    def name(self, goal: Goal) -> str:
        """The set of features as text, for example `{0,2}`."""
        return "{" + ",".join(map(str, self.sets[goal])) + "}" if isinstance(goal, int) else str(goal)

    def label(self, goal: int) -> str:
        """The indices of the features joined by hyphens, for example `0-2`, in the names of metrics."""
        return "-".join(map(str, self.sets[goal]))
