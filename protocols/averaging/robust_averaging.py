"""Averaging by a function on the vectors of one round, and the robust rules of this kind.

A rule is a function `(own x_i [d], neighbours x_j [n, d], weights W_ij [n], settings) -> update [d]`, all float64; the update is added to
x_i. The robust rules below are functions of the differences v_j = x_j - x_i (with 0, the own one, as one of the inputs, except for clip):
a common shift of all inputs shifts the result, and equal inputs give the update 0. b is `num_byzantine`. None of the robust rules keeps
the mean of all agents.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.averaging.averager import Neighbourhood
from protocols.averaging.rule_settings import RobustRuleSettings, VectorRuleSettings
from protocols.averaging.synchronous_gossip import Combination, SynchronousAveraging, Vector

Rows = NDArray[np.float64]
VectorRule = Callable[[Rows, Rows, Rows, Any], Rows]
"""(x_i `[d]`, x_j `[n, d]`, W_ij `[n]`, settings) -> update of x_i, `[d]`"""
LONGEST = 100.0
"""norm, in units of the norm of the own vector, beyond which a robust rule refuses a neighbour's vector"""
STEPS = 32
"""steps of Weiszfeld's iteration"""
FLOOR = 1e-6
"""least distance by which Weiszfeld's iteration divides"""


def clip(own: Rows, neighbours: Rows, weights: Rows, settings: RobustRuleSettings) -> Rows:
    """Self-centred clipping: sum_j W_ij v_j min(1, tau / |v_j|), tau the root mean square of the m - b least |v_j|, so that the move is at
    most sum_j W_ij tau (He, Karimireddy and Jaggi 2022)."""
    differences = neighbours - own
    lengths = np.linalg.norm(differences, axis=1)
    tau = np.sqrt(np.square(np.sort(lengths)[: len(lengths) - settings.num_byzantine]).mean())
    shares = weights * np.minimum(1.0, tau / np.where(lengths > 0, lengths, 1.0))
    move: Rows = shares @ differences
    return move


def trim(own: Rows, neighbours: Rows, weights: Rows, settings: RobustRuleSettings) -> Rows:
    """Trimmed mean, `[d]`: in each coordinate the mean of the n + 1 differences without the b least and the b greatest (Yin et al.
    2018)."""
    inputs = np.sort(_with_own(own, neighbours), axis=0)
    mean: Rows = inputs[settings.num_byzantine : len(inputs) - settings.num_byzantine].mean(axis=0)
    return mean


def median(own: Rows, neighbours: Rows, weights: Rows, settings: RobustRuleSettings) -> Rows:
    """Median of each coordinate over the n + 1 differences, the own 0 included, `[d]` (Yin et al. 2018)."""
    middle: Rows = np.median(_with_own(own, neighbours), axis=0)
    return middle


def geomedian(own: Rows, neighbours: Rows, weights: Rows, settings: RobustRuleSettings) -> Rows:
    """The point y with the least sum of distances to all inputs: `STEPS` steps y <- sum_k u_k / r_k / sum_k 1 / r_k with
    r_k = max(|u_k - y|, `FLOOR`), from the coordinates' medians (Weiszfeld 1937; Pillutla, Kakade and Harchaoui 2022)."""
    inputs = _with_own(own, neighbours)
    point: Rows = np.median(inputs, axis=0)
    for _ in range(STEPS):
        near = 1.0 / np.maximum(np.linalg.norm(inputs - point, axis=1), FLOOR)
        point = near @ inputs / near.sum()
    return point


def krum(own: Rows, neighbours: Rows, weights: Rows, settings: RobustRuleSettings) -> Rows:
    """The one of the n inputs with the least sum of squared distances to its n - b - 2 nearest others (Blanchard et al. 2017). Of equally
    good ones it takes the own, else the least in the order of the coordinates."""
    inputs = _with_own(own, neighbours)
    squares = np.array([np.square(inputs - row).sum(axis=1) for row in inputs])
    others = np.sort(squares, axis=1)[:, 1 : max(2, len(inputs) - settings.num_byzantine - 1)]
    scores = others.sum(axis=1)
    if scores[0] == scores.min():
        return np.zeros(len(own))
    best = [inputs[k] for k in np.flatnonzero(scores == scores.min())]
    chosen: Rows = min(best, key=lambda row: tuple(row)) if len(best) > 1 else best[0]
    return chosen


def _with_own(own: Rows, neighbours: Rows) -> Rows:
    """The differences v_j, and 0 as the first row: `[n + 1, d]`."""
    return np.vstack([np.zeros((1, len(own))), neighbours - own])


class VectorRuleAveraging(SynchronousAveraging):
    """Rounds of one agent that end with a function on the vectors received (`VectorRule`). As `SynchronousAveraging` otherwise.

    With fewer vectors than `settings.min_neighbours` the agent keeps its own. `counters`: `bad.E_NORM` vectors refused for their length,
    `kept` rounds without a change.
    """

    def __init__(
        self,
        neighbourhood: Neighbourhood,
        layout: str,
        size: int,
        rule: VectorRule,
        settings: VectorRuleSettings,
        deadline: float = 2.0,
    ) -> None:
        super().__init__(neighbourhood, layout, size, deadline)
        self._rule = rule
        self._settings = settings
        self._robust = "robust" in settings.capabilities
        self._num_byzantine = settings.num_byzantine if isinstance(settings, RobustRuleSettings) else 0

    @property
    def newest_round(self) -> int:
        """The newest round that b + 1 neighbours have reached, so that a correct one is among them: a single Byzantine neighbour cannot
        advance the round of all agents."""
        claims = sorted(self._newest.values(), reverse=True)
        return claims[self._num_byzantine] if len(claims) > self._num_byzantine else -1

    def _combine(self, own: Vector, vectors: Mapping[str, Vector], weights: Mapping[str, float]) -> Combination:
        centre = own.astype(np.float64)
        longest = LONGEST * np.linalg.norm(centre) if self._robust else np.inf
        admitted = {}
        for neighbour, vector in vectors.items():
            row = vector.astype(np.float64)
            if np.linalg.norm(row) <= longest:
                admitted[neighbour] = row
            else:
                self.counters["bad.E_NORM"] += 1
        if len(admitted) < self._settings.min_neighbours:
            self.counters["kept"] += 1
            return Combination(np.zeros(self._size), ())
        mixing = np.array([weights[neighbour] for neighbour in admitted])
        update = np.asarray(self._rule(centre, np.array(list(admitted.values())), mixing, self._settings), np.float64)
        if update.shape != (self._size,) or not np.isfinite(update).all():
            text = f"must return {self._size} finite numbers, returned shape {list(update.shape)}"
            raise ValueError(f"averaging rule {self._settings.kind!r} {text}")
        return Combination(update, tuple(admitted))
