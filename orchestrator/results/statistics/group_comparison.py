"""Two groups of runs against each other. Runs of both are taken as independent: the same seed in both makes no pair.

In each result `n` counts the runs of both groups; an interval needs at least `LEAST` runs in every task of either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import comb, prod
from typing import Literal

import numpy as np
from scipy import stats

from orchestrator.results.statistics.estimate import LEAST, REPEATS, Aggregate, Estimate, distribution, interquartile_mean, percentiles
from orchestrator.results.statistics.runs_table import Floats, ScoreSample

SIGNIFICANCE = 0.05
"""probability of a difference among all that are reported, where none exists"""
PERMUTATIONS = 20_000
"""shuffles in the place of all orders, where there are several tasks"""
_ROUNDING = 1e-9
_SEEDS = (0, 1), (0, 2)
"""so that both groups are drawn with generators of their own"""


def probability_of_improvement(first: ScoreSample, second: ScoreSample, *, higher: bool = True, repeats: int = REPEATS) -> Estimate:
    """How probably a run of the first group is better than one of the second, averaged over the tasks that both have:

        P(X > Y) = mean over tasks m of 1 / (N_m K_m) * sum over i, j of [x_mi > y_mj] + [x_mi = y_mj] / 2,

    the Mann-Whitney statistic over its maximum (Agarwal et al. 2021, section 4.3). Measures how often, not by how much; unchanged by any
    strictly increasing transformation of the scores. `higher`: whether more is better. Interval: both groups resampled, each within its
    tasks.
    """
    names = [name for name in first.tasks if name in second.tasks]
    # Where a group has no runs, its own words have the reason.
    lonely = first.tasks.keys() ^ second.tasks if first.tasks and second.tasks else ()
    missing = (*first.missing, *second.missing, *(f"{name}: only one group has runs of this task" for name in lonely))
    if not names:
        return Estimate(None, None, 0, missing=missing)
    sign = 1.0 if higher else -1.0
    # In an order that depends on the values alone; tasks of both groups in the same.
    pairs = sorted(
        ((first.tasks[name] * sign, second.tasks[name] * sign) for name in names), key=lambda pair: [part.tolist() for part in pair]
    )
    points = tuple(float(_wins(one, two).mean()) for one, two in pairs)
    interval = None
    if min(part.size for pair in pairs for part in pair) >= LEAST:
        draws = np.zeros(repeats)
        one, two = map(np.random.default_rng, _SEEDS)
        for x, y in pairs:
            # Which of its runs a resampled group holds, and how often, is all that matters: counts, and one table of who beats whom.
            wins = _wins(x, y)
            held_x = one.multinomial(x.size, np.full(x.size, 1 / x.size), size=repeats) / x.size
            held_y = two.multinomial(y.size, np.full(y.size, 1 / y.size), size=repeats) / y.size
            draws += np.einsum("ri,ij,rj->r", held_x, wins, held_y, optimize=True)
        interval = percentiles(draws / len(pairs))
    count = sum(part.size for pair in pairs for part in pair)
    return Estimate(float(np.mean(points)), interval, count, tuple(sorted(points)), missing)


def _wins(x: Floats, y: Floats) -> Floats:
    """Who beats whom; two that never came to it (both infinite) are equal."""
    return np.asarray((x[:, None] > y[None, :]) + (x[:, None] == y[None, :]) / 2)


def rank_test(first: ScoreSample, second: ScoreSample) -> float:
    """Probability of ranks as uneven as these, or more, if within each task the runs of both groups were drawn from one distribution
    (two-sided).

    One task: the test of Mann and Whitney (1947), exact where there are no ties and one group has at most 8 runs, otherwise the normal
    approximation. Several: the test of van Elteren (1960), whose statistic is, R_m being the sum of the first group's ranks among the N_m
    runs of task m,

        T = sum over tasks m of R_m / (N_m + 1),

    against `PERMUTATIONS` shuffles of the ranks within their tasks. Only tasks that both groups have count; 1 without any.
    """
    names = sorted(first.tasks.keys() & second.tasks.keys())
    # Ranks in the place of values: those that are infinite are equal.
    ranks = [stats.rankdata(np.concatenate([first.tasks[name], second.tasks[name]])) for name in names]
    if not any(np.ptp(of_task) for of_task in ranks):
        return 1.0
    sizes = [first.tasks[name].size for name in names]
    if len(names) == 1:
        return float(stats.mannwhitneyu(ranks[0][: sizes[0]], ranks[0][sizes[0] :]).pvalue)
    generator = np.random.default_rng(0)
    found, shuffled = 0.0, np.zeros(PERMUTATIONS)
    for of_task, size in zip(ranks, sizes, strict=True):
        found += of_task[:size].sum() / (of_task.size + 1)
        orders = generator.permuted(np.tile(of_task, (PERMUTATIONS, 1)), axis=1)
        shuffled += orders[:, :size].sum(axis=1) / (of_task.size + 1)
    even = sum(sizes) / 2
    return float((1 + np.count_nonzero(np.abs(shuffled - even) >= abs(found - even) - _ROUNDING)) / (1 + PERMUTATIONS))


def least_p(first: ScoreSample, second: ScoreSample) -> float:
    """The least value that `rank_test` can have for so many runs: 2 of all orders are as uneven as can be."""
    names = first.tasks.keys() & second.tasks.keys()
    orders = prod(comb(first.tasks[name].size + second.tasks[name].size, first.tasks[name].size) for name in names)
    return min(1.0, 2 / orders) if len(names) < 2 else max(2 / orders, 1 / (1 + PERMUTATIONS))


def holm(p_values: Sequence[float]) -> list[float]:
    """What to hold against a level in the place of p_1 <= p_2 <= ... <= p_m, in the order given, so that among all m no false difference is
    found with more than that probability (Holm 1979): the greatest of (m - j + 1) p_j, j <= k."""
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, number in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[number]))
        adjusted[number] = highest
    return adjusted


def contrast(
    first: ScoreSample,
    second: ScoreSample,
    aggregate: Aggregate = interquartile_mean,
    kind: Literal["difference", "ratio"] = "difference",
    *,
    repeats: int = REPEATS,
) -> Estimate:
    """Aggregate of the first group minus (or over) that of the second, the baseline; interval: both groups resampled.

    A ratio has no interval where the baseline's resampled aggregate takes both signs or zero: then any ratio is possible. Of two
    infinite aggregates neither has a meaning.
    """
    unknown = Estimate(None, None, first.n + second.n, missing=(*first.missing, *second.missing))
    if not first.n or not second.n:
        return unknown
    one, two = float(aggregate(first.strata)), float(aggregate(second.strata))
    if not np.isfinite(one) and not np.isfinite(two):
        return unknown
    interval = None
    if min(first.fewest, second.fewest) >= LEAST:
        above, below = (distribution(each.strata, aggregate, repeats, seed) for each, seed in zip((first, second), _SEEDS, strict=True))
        with np.errstate(invalid="ignore"):
            if kind == "difference":
                drawn = above - below
            else:
                drawn = above / below if (below > 0).all() or (below < 0).all() else np.full(1, np.nan)
        interval = None if np.isnan(drawn).any() else percentiles(drawn)
    value = one - two if kind == "difference" else one / two if two else None
    return replace(unknown, value=value, interval=interval)
