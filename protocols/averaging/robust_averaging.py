"""Averaging with neighbours of whom some may lie: rules that a bounded number of arbitrary vectors can't carry away.

`num_byzantine`, b below, is how many of its neighbours an agent protects itself against. All rules are functions of the differences v_j =
x_j - x_i
(with the own 0 as one of the inputs, except for clip), so that a common shift of all inputs passes through, and equal inputs stay where
they are. A neighbour's vector is admitted only if it is no longer than `LONGEST` times the own one; with fewer admitted vectors than the
rule needs (2 b + 1; Krum 2 b + 2) the agent keeps its own. None of the rules keeps the mean of all agents: that is what they pay.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from protocols.averaging.averager import Neighbourhood
from protocols.averaging.synchronous_gossip import Combination, SynchronousAveraging, Vector

Rows = NDArray[np.float64]
Rule = Callable[[Rows, Rows, int], Rows]
"""(differences `[m, d]`, weights W_ij `[m]`, liars b) -> the move of x_i, `[d]`"""
LONGEST = 100.0
"""norm, in that of the own vector, beyond which a neighbour's vector is refused"""
STEPS = 32
"""of Weiszfeld's iteration"""
FLOOR = 1e-6
"""least distance by which Weiszfeld's iteration divides"""


def clip(differences: Rows, weights: Rows, num_byzantine: int) -> Rows:
    """Self-centred clipping: sum_j W_ij v_j min(1, tau / |v_j|), tau the root mean square of the m - b least |v_j|, so that the move is at
    most sum_j W_ij tau (He, Karimireddy and Jaggi 2022)."""
    lengths = np.linalg.norm(differences, axis=1)
    tau = np.sqrt(np.square(np.sort(lengths)[: len(lengths) - num_byzantine]).mean())
    shares = weights * np.minimum(1.0, tau / np.where(lengths > 0, lengths, 1.0))
    move: Rows = shares @ differences
    return move


def trim(differences: Rows, weights: Rows, num_byzantine: int) -> Rows:
    """Trimmed mean: in each coordinate the mean without the b least and the b greatest inputs (Yin et al. 2018)."""
    inputs = np.sort(_with_own(differences), axis=0)
    mean: Rows = inputs[num_byzantine : len(inputs) - num_byzantine].mean(axis=0)
    return mean


def median(differences: Rows, weights: Rows, num_byzantine: int) -> Rows:
    """The median of each coordinate (Yin et al. 2018)."""
    middle: Rows = np.median(_with_own(differences), axis=0)
    return middle


def geomedian(differences: Rows, weights: Rows, num_byzantine: int) -> Rows:
    """The point y with the least sum of distances to all inputs: `STEPS` steps y <- sum_k u_k / r_k / sum_k 1 / r_k with
    r_k = max(|u_k - y|, `FLOOR`), from the coordinates' medians (Weiszfeld 1937; Pillutla, Kakade and Harchaoui 2022)."""
    inputs = _with_own(differences)
    point: Rows = np.median(inputs, axis=0)
    for _ in range(STEPS):
        near = 1.0 / np.maximum(np.linalg.norm(inputs - point, axis=1), FLOOR)
        point = near @ inputs / near.sum()
    return point


def krum(differences: Rows, weights: Rows, num_byzantine: int) -> Rows:
    """The one of the n inputs with the least sum of squared distances to its n - b - 2 nearest others (Blanchard et al. 2017). Of equally
    good ones it takes the own, else the least in the order of the coordinates."""
    inputs = _with_own(differences)
    squares = np.array([np.square(inputs - row).sum(axis=1) for row in inputs])
    others = np.sort(squares, axis=1)[:, 1 : max(2, len(inputs) - num_byzantine - 1)]
    scores = others.sum(axis=1)
    if scores[0] == scores.min():
        return np.zeros(differences.shape[1])
    best = [inputs[k] for k in np.flatnonzero(scores == scores.min())]
    chosen: Rows = min(best, key=lambda row: tuple(row)) if len(best) > 1 else best[0]
    return chosen


RULES: Mapping[str, Rule] = {"clip": clip, "trim": trim, "median": median, "geomedian": geomedian, "krum": krum}
"""by the names that settings use"""


def min_neighbours(rule: str, num_byzantine: int) -> int:
    """How many neighbours' vectors a rule needs: 2 b + 1, and for Krum, whose proof takes 2 b + 3 inputs with the own one, 2 b + 2."""
    return 2 * num_byzantine + (2 if rule == "krum" else 1)


def _with_own(differences: Rows) -> Rows:
    return np.vstack([np.zeros((1, differences.shape[1])), differences])


class RobustAveraging(SynchronousAveraging):
    """Rounds of one agent that combine what came by a rule of `RULES`; `num_byzantine` is b. As `SynchronousAveraging` otherwise.

    `counters`: `bad.E_NORM` vectors refused for their length, `kept` rounds in which too few were left.
    """

    def __init__(self, neighbourhood: Neighbourhood, layout: str, size: int, rule: str, num_byzantine: int, deadline: float = 2.0) -> None:
        super().__init__(neighbourhood, layout, size, deadline)
        if rule not in RULES:
            raise ValueError(f"{rule!r} is no robust rule: they are {', '.join(RULES)}")
        if num_byzantine < 0:
            raise ValueError(f"the number of liars is {num_byzantine}, not 0 or more")
        self._rule = RULES[rule]
        self._num_byzantine = num_byzantine
        self._least = min_neighbours(rule, num_byzantine)

    @property
    def newest_round(self) -> int:
        """The newest round that b + 1 neighbours have reached, hence an honest one among them: else one liar who claims a round in the far
        future would take everybody there."""
        claims = sorted(self._newest.values(), reverse=True)
        return claims[self._num_byzantine] if len(claims) > self._num_byzantine else -1

    def _combine(self, own: Vector, vectors: Mapping[str, Vector], weights: Mapping[str, float]) -> Combination:
        centre = own.astype(np.float64)
        longest = LONGEST * np.linalg.norm(centre)
        admitted = {}
        for neighbour, vector in vectors.items():
            row = vector.astype(np.float64)
            if np.linalg.norm(row) <= longest:
                admitted[neighbour] = row - centre
            else:
                self.counters["bad.E_NORM"] += 1
        if len(admitted) < self._least:
            self.counters["kept"] += 1
            return Combination(np.zeros(self._size), ())
        mixing = np.array([weights[neighbour] for neighbour in admitted])
        return Combination(self._rule(np.array(list(admitted.values())), mixing, self._num_byzantine), tuple(admitted))
