"""Stratified bootstrap: how much an aggregate would differ with other seeds, told from the runs that there are.

Runs are drawn with replacement within each task (stratum), as many as the task has, so that no resampled group lacks a task; the interval
is that between the (1 - c)/2 and (1 + c)/2 quantiles of the aggregate over the resampled groups (percentile bootstrap, Efron 1979;
stratified: Agarwal et al. 2021, section 4.1). The generator begins anew with the same seed in each call and values are sorted before they
are drawn from, so the same runs give the same interval, in whatever order they come.

Percentile intervals are too narrow for few runs. How often that of the interquartile mean of normal values covers the truth, with one task
and the defaults below, measured over 20,000 groups: 5 runs 89 %, 10 and 20 runs 94 % (60 runs 94 %, over 2,000). The slow tests hold it to
that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from orchestrator.results.statistics.aggregates import Aggregate, interquartile_mean
from orchestrator.results.statistics.estimate import CONFIDENCE, LEAST, Estimate
from orchestrator.results.statistics.runs_table import Floats, ScoreSample

REPEATS = 2_000
SEED = 0
_AT_ONCE = 2_000_000
"""values that are drawn at once, for the sake of memory"""


def resampled(tasks: Sequence[Floats], repeats: int = REPEATS, seed: int | Sequence[int] = SEED) -> Iterator[list[Floats]]:
    """Groups drawn from this one, in portions: for each task an array (portion, runs of the task); portions add up to `repeats`."""
    generator = np.random.default_rng(seed)
    portion = max(1, _AT_ONCE // max(1, sum(values.size for values in tasks)))
    for start in range(0, repeats, portion):
        count = min(portion, repeats - start)
        yield [values[generator.integers(values.size, size=(count, values.size))] for values in tasks]


def distribution(tasks: Sequence[Floats], aggregate: Aggregate, repeats: int = REPEATS, seed: int | Sequence[int] = SEED) -> Floats:
    """The aggregate of each resampled group, shape (repeats,)."""
    return np.concatenate([aggregate(portion) for portion in resampled(tasks, repeats, seed)])


def percentiles(values: Floats, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Ends of the percentile interval; where values are infinite, two of the values: there is nothing between a number and infinity."""
    ends = (1 - confidence) / 2, (1 + confidence) / 2
    if not np.isfinite(values).all():
        low, high = np.quantile(values, ends[0], method="lower"), np.quantile(values, ends[1], method="higher")
    else:
        low, high = np.quantile(values, ends)
    return float(low), float(high)


def estimate(
    sample: ScoreSample,
    aggregate: Aggregate = interquartile_mean,
    *,
    repeats: int = REPEATS,
    confidence: float = CONFIDENCE,
    seed: int = SEED,
    least: int = LEAST,
) -> Estimate:
    """The aggregate of a group of runs with its interval; the points alone where a task has fewer than `least` runs (at least 2)."""
    tasks = sample.strata
    if not tasks:
        return Estimate(None, None, 0, missing=sample.missing, confidence=confidence)
    interval = None
    if sample.fewest >= max(2, least):
        interval = percentiles(distribution(tasks, aggregate, repeats, seed), confidence)
    return Estimate(float(aggregate(tasks)), interval, sample.n, sample.points, sample.missing, confidence)
