"""Goals over landmarks: their encoding and the one reward rule that the environment and the relabelling share.

A goal is a set of landmarks to be occupied at once: `{a}` is individual, `{a, b}` needs two bodies. Goals are numbered by size, then in
lexicographic order: for L = 3, 0..2 are {0}, {1}, {2} and 3..5 are {0,1}, {0,2}, {1,2}.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from protocols.spaces.layout import GoalSpaceInfo

Bits = NDArray[np.uint8]


@dataclass(frozen=True)
class GoalSpace:
    """All sets of `smallest` to `largest` of `landmarks` landmarks, with the reward rule of `dec_imsap`.

    Let h_j(t) in {0,1}^L be what body j touches and c(t) = OR_j h_j(t). An agent i with goal z earns
    - cooperative (two or more landmarks): 1 iff c(t) = z;
    - individual, scheme `consistent`: 1 / premium iff h_j(t) = z for some body j; scheme `original`: iff h_i(t) = z.
    Source: Nisioti et al., arXiv 2211.06082, as their public code plays it.
    """

    landmarks: int
    largest: int = 2
    premium: float = 2.0
    scheme: Literal["consistent", "original"] = "consistent"
    smallest: int = 1

    @classmethod
    def from_info(cls, info: GoalSpaceInfo) -> GoalSpace:
        """From its wire form."""
        return cls(info.landmarks, info.largest, info.premium, info.scheme, info.smallest)

    def info(self) -> GoalSpaceInfo:
        """Its wire form."""
        return GoalSpaceInfo(
            landmarks=self.landmarks, largest=self.largest, premium=self.premium, scheme=self.scheme, smallest=self.smallest
        )

    @cached_property
    def sets(self) -> tuple[tuple[int, ...], ...]:
        """The landmarks of every goal."""
        sizes = range(self.smallest, self.largest + 1)
        return tuple(chosen for size in sizes for chosen in combinations(range(self.landmarks), size))

    @property
    def count(self) -> int:
        """Number of goals |G|."""
        return len(self.sets)

    @cached_property
    def encodings(self) -> Bits:
        """z_g of every goal as rows `[|G|, L]`, multi-hot."""
        table = np.zeros((self.count, self.landmarks), np.uint8)
        for goal, chosen in enumerate(self.sets):
            table[goal, list(chosen)] = 1
        return table

    @cached_property
    def cooperative(self) -> NDArray[np.bool_]:
        """Whether a goal needs more than one body, `[|G|]`."""
        return np.array([len(chosen) > 1 for chosen in self.sets])

    @cached_property
    def rewards(self) -> NDArray[np.float32]:
        """What reaching each goal pays, `[|G|]`: 1 if cooperative, 1 / premium if individual."""
        return np.where(self.cooperative, 1.0, 1.0 / self.premium).astype(np.float32)

    def best_return(self, members: int = 2) -> float:
        """R*: what `members` agents with one common goal earn together if they reach it, mean over all goals,

            R* = members (|G_ind| / |G| / premium + |G_coop| / |G|).

        By it returns are divided. Members with different goals can earn more: one with an individual goal helps a partner to a cooperative
        one, which pays more.
        """
        return members * float(np.mean(np.where(self.cooperative, 1.0, 1.0 / self.premium)))

    def index(self, chosen: tuple[int, ...]) -> int:
        """Number of the goal that is this set of landmarks; `ValueError` if there is none."""
        return self.sets.index(tuple(sorted(chosen)))

    def reached(self, own: Bits, others: Bits) -> NDArray[np.bool_]:
        """Whether each goal is reached, `[..., |G|]`, for an agent whose body touches `own[..., L]`, the other bodies
        `others[..., B, L]` (B >= 0)."""
        bodies = np.concatenate([own[..., None, :], others], axis=-2)
        joint: NDArray[np.bool_] = np.any(bodies, axis=-2)
        z = self.encodings.astype(bool)
        together = np.all(joint[..., None, :] == z, axis=-1)
        credited = bodies if self.scheme == "consistent" else bodies[..., :1, :]
        alone = np.any(np.all(credited[..., None, :].astype(bool) == z, axis=-1), axis=-2)
        reached: NDArray[np.bool_] = (self.cooperative & together) | (~self.cooperative & alone)
        return reached

    def name(self, goal: int) -> str:
        """`{0,2}`."""
        return "{" + ",".join(map(str, self.sets[goal])) + "}"

    def label(self, goal: int) -> str:
        """`0-2`: a name of landmarks alone, as part of the names of figures."""
        return "-".join(map(str, self.sets[goal]))
