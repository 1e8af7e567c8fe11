"""Curves of several runs on common steps, with the interquartile mean and its band at each; and the performance profile, the share of runs
above every score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np
from numpy.typing import ArrayLike

from orchestrator.results.statistics.estimate import CONFIDENCE, LEAST, REPEATS, estimate, resampled
from orchestrator.results.statistics.runs_table import Curve, Floats, RunCurves, ScoreSample

POINTS = 200
"""of a common curve, at most"""


@dataclass(frozen=True, eq=False)
class Band:
    """A group's curve: at `steps[k]` the `value` over the `n[k]` runs that have got so far, between `low` and `high`; NaN where there is no
    run, or too few for an interval. `runs`: each run at the common steps, (runs, steps), NaN where it has no value, for plots of single
    runs."""

    steps: Floats
    value: Floats
    low: Floats
    high: Floats
    n: Floats
    runs: dict[str, Floats]
    missing: tuple[str, ...] = ()


def at_steps(curve: Curve, steps: ArrayLike) -> Floats:
    """Values at given steps by linear interpolation; NaN before the first and after the last step of the curve: what a run has not
    measured is not made up."""
    wanted = np.asarray(steps, float)
    return np.asarray(np.interp(wanted, curve.steps, curve.values, left=np.nan, right=np.nan))


def stretch(curves: Sequence[Curve], share: float) -> tuple[float, float] | None:
    """The first and the last step at which at least `share` of the curves have a value; None without any."""
    starts, ends = np.array([curve.steps[0] for curve in curves], float), np.array([curve.end for curve in curves], float)
    # A curve has both its ends, so that the number of curves is greatest at ends of curves.
    there = [step for step in (*starts, *ends) if ((starts <= step) & (step <= ends)).sum() >= share * len(curves)]
    return (float(min(there)), float(max(there))) if there else None


def common_steps(curves: Sequence[Curve], points: int = POINTS, share: float = 0.0) -> Floats:
    """Steps for a group of curves: all that occur in any of them, within the stretch of at least `share` of them; if these are more than
    `points`, so many evenly spaced ones in their place."""
    reach = stretch(curves, share)
    if reach is None:
        return np.empty(0)
    found = np.unique(np.concatenate([curve.steps for curve in curves]))
    found = found[(found >= reach[0]) & (found <= reach[1])]
    return found if found.size <= points else np.linspace(*reach, points)


def band(runs: RunCurves, steps: ArrayLike | None = None, *, points: int = POINTS, repeats: int = REPEATS, share: float = 0.0) -> Band:
    """The interquartile mean of several curves and its percentile interval at each common step (pointwise: 95 % at each step, not for the
    whole curve). The number of runs may fall along the curve where some ended early; `n` shows where. There is no value where less than
    `share` of the curves have one: it would jump to those of the few that are left."""
    common = _steps(list(runs.curves.values()), points, share) if steps is None else np.asarray(steps, float)
    table = {name: at_steps(curve, common) for name, curve in runs.curves.items()}
    grid = np.stack(list(table.values())) if table else np.empty((0, common.size))
    value, low, high = (np.full(common.size, np.nan) for _ in range(3))
    for number in range(common.size):
        column = grid[:, number][~np.isnan(grid[:, number])]
        if column.size < share * len(grid):
            continue
        here = estimate(ScoreSample.of(column), repeats=repeats)
        if here.value is not None:
            value[number] = here.value
        if here.interval is not None:
            low[number], high[number] = here.interval
    return Band(common, value, low, high, (~np.isnan(grid)).sum(axis=0).astype(float), table, runs.missing)


def _steps(curves: Sequence[Curve], points: int, share: float) -> Floats:
    """Those of the stretch that `share` of the curves have, however short it is, and around it those of the others."""
    inside, every = common_steps(curves, points, share), common_steps(curves, points)
    return np.union1d(inside, every[(every < inside[0]) | (every > inside[-1])]) if inside.size else every


@dataclass(frozen=True, eq=False)
class Profile:
    """`share[k]`: of runs above `scores[k]`. `low`, `high`: pointwise band, None where there are too few runs for one."""

    scores: Floats
    share: Floats
    low: Floats | None
    high: Floats | None
    n: int
    missing: tuple[str, ...] = ()


def profile(sample: ScoreSample, scores: ArrayLike | None = None, *, repeats: int = REPEATS) -> Profile:
    """Score distribution over runs and tasks (Agarwal et al. 2021, section 4.2):

        P(score > tau) = mean over tasks m of 1 / N_m * sum over runs i of [x_mi > tau],

    with the pointwise percentile band of the stratified bootstrap. A method is better everywhere if its profile is above another's; the
    score at which profiles cross shows where it isn't. `scores`: thresholds tau, ascending; by default each finite value that occurs, where
    the steps are. `ValueError` without any run that has one.
    """
    if not any(isfinite(point) for point in sample.points):
        raise ValueError("a profile needs at least one run with a figure")
    tau = np.asarray(sorted(point for point in set(sample.points) if isfinite(point)) if scores is None else scores, float)
    tasks = sample.strata
    share = np.mean([_above(values, tau) for values in tasks], axis=0)
    low = high = None
    if sample.fewest >= LEAST:
        drawn = np.concatenate([np.mean([_above(values, tau) for values in portion], axis=0) for portion in resampled(tasks, repeats)])
        low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    return Profile(tau, share, low, high, sample.n, sample.missing)


def _above(values: Floats, scores: Floats) -> Floats:
    """Share of values (..., N) above each score (K,): (..., K)."""
    if values.ndim == 1:
        return 1.0 - np.searchsorted(np.sort(values), scores, side="right") / values.size
    # One score at a time: all at once would need memory for repeats * runs * scores.
    return np.stack([(values > score).mean(axis=-1) for score in scores], axis=-1)
