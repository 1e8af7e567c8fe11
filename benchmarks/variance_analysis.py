"""Analysis of variance between methods, and Tukey's test of which pairs differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import stats

from orchestrator.results.statistics.estimate import CONFIDENCE
from orchestrator.results.statistics.runs_table import ScoreSample


@dataclass(frozen=True)
class Pair:
    """Mean of the `first` group minus that of the `second`, Tukey's simultaneous interval, and its p-value."""

    first: str
    second: str
    difference: float
    interval: tuple[float, float]
    p: float


@dataclass(frozen=True)
class Variance:
    """`statistic`: F with `between` and `within` degrees of freedom; `p`: its p-value. `n`: runs of each group that took part; `left_out`:
    groups with fewer than two runs. Where all values are equal there is nothing to test: F and p are None, and no pair is listed."""

    statistic: float | None
    p: float | None
    between: int
    within: int
    n: Mapping[str, int]
    pairs: tuple[Pair, ...]
    left_out: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    def apart(self, level: float = 1 - CONFIDENCE) -> list[Pair]:
        """Pairs that differ by Tukey's test at this level."""
        return [pair for pair in self.pairs if pair.p < level]


def analysis_of_variance(groups: Mapping[str, ScoreSample], confidence: float = CONFIDENCE) -> Variance | None:
    """One-way analysis of variance (Fisher 1925),

        F = [sum over groups of n_g (mean_g - mean)^2 / (k - 1)] / [sum over groups and runs of (x_gi - mean_g)^2 / (N - k)],

    and Tukey's honestly significant differences between all pairs (Tukey-Kramer where groups have different numbers of runs), which hold
    for all pairs together. Both suppose normal values of equal variance: near the bounds of a rate read them with care. Tasks of a sample
    are pooled. None where fewer than two groups have two runs.
    """
    values = {name: np.asarray(sample.points) for name, sample in groups.items()}
    kept = {name: found for name, found in values.items() if found.size > 1}
    if len(kept) < 2:
        return None
    names, arrays = list(kept), list(kept.values())
    left_out = tuple(name for name in groups if name not in kept)
    missing = tuple(reason for sample in groups.values() for reason in sample.missing)
    n = {name: int(found.size) for name, found in kept.items()}
    between, within = len(names) - 1, sum(n.values()) - len(names)
    if np.ptp(np.concatenate(arrays)) == 0:
        return Variance(None, None, between, within, n, (), left_out, missing)
    with np.errstate(divide="ignore", invalid="ignore"):
        whole = stats.f_oneway(*arrays)
        tukey = stats.tukey_hsd(*arrays)
        ends = tukey.confidence_interval(confidence)
    pairs = tuple(
        Pair(names[i], names[j], float(tukey.statistic[i, j]), (float(ends.low[i, j]), float(ends.high[i, j])), float(tukey.pvalue[i, j]))
        for i, j in combinations(range(len(names)), 2)
    )
    return Variance(float(whole.statistic), float(whole.pvalue), between, within, n, pairs, left_out, missing)
