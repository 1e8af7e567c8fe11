"""Time to threshold: how many steps (or seconds) runs need to a level, where some never reach it.

A run that has not reached the level by its end is *censored*: all that is known is that it needs longer. Leaving such runs out, or putting
their end in the place of the time, makes bad methods look good; so the distribution of times is estimated with them (Kaplan and Meier
1958):

    S(t) = product over times t_i <= t of (1 - d_i / n_i),

the share that needs longer than t, where at t_i there are n_i runs that have neither reached the level nor ended before, and d_i reach it.
Runs must end for reasons that have nothing to do with how near they are to the level.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import numpy as np
from scipy import stats

from orchestrator.results.statistics.estimate import CONFIDENCE, LEAST, Estimate
from orchestrator.results.statistics.runs_table import Curve, Floats, RunCurves

_ROUNDING = 1e-12


@dataclass(frozen=True)
class ThresholdTime:
    """`reached`: the level was first reached at step `at`; otherwise the run ended there without."""

    at: float
    reached: bool


@dataclass(frozen=True, eq=False)
class ThresholdSummary:
    """Times of a group of runs.

    `median`: the least t with S(t) <= 1/2; infinite where more than half of the runs have not reached the level; the interval's upper end
    may be infinite too. `horizon`: the last step at which any run was observed.
    """

    median: Estimate
    horizon: float
    reached: int


def first_reached(curve: Curve, level: float, *, higher: bool = True) -> ThresholdTime:
    """When a curve first is at least `level` (at most, unless `higher`); otherwise its end, as censored.

    No time is made up between two points: the level counts as reached at the point that shows it.
    """
    good = curve.steps[curve.values >= level if higher else curve.values <= level]
    return ThresholdTime(float(good[0]), True) if good.size else ThresholdTime(curve.end, False)


def survival(times: Sequence[ThresholdTime]) -> tuple[Floats, Floats, Floats]:
    """Kaplan-Meier estimate: times at which the level was reached, ascending; S there; and Greenwood's sum of d / (n (n - d)) up to there,
    infinite where no run is left."""
    at = np.array([time.at for time in times], float)
    reached = np.array([time.reached for time in times], bool)
    events, deaths = np.unique(at[reached], return_counts=True)
    # Who is censored at t was still there at t.
    risk = np.array([(at >= event).sum() for event in events], float)
    with np.errstate(divide="ignore"):
        greenwood = np.cumsum(deaths / (risk * (risk - deaths)))
    return events, np.cumprod(1 - deaths / risk), greenwood


def time_to_threshold(runs: RunCurves, level: float, *, higher: bool = True) -> ThresholdSummary:
    """Times of a group of runs to a level. Runs without a curve are named as missing."""
    return waiting([first_reached(curve, level, higher=higher) for curve in runs.curves.values()], runs.missing)


def waiting(times: Sequence[ThresholdTime], missing: tuple[str, ...] = ()) -> ThresholdSummary:
    """Median of censored times, with its interval.

    The interval: all t at which the log-log interval of S (Kalbfleisch and Prentice), S^exp(± z sqrt(G) / ln S) with Greenwood's sum G,
    contains 1/2 (Brookmeyer and Crowley 1982), as R's `survfit(conf.type = "log-log")`. Its lower end is the last time observed where even
    that is not long enough.
    """
    if not times:
        return ThresholdSummary(Estimate(None, None, 0, missing=missing), 0.0, 0)
    last = max(time.at for time in times)
    points = tuple(sorted(time.at for time in times if time.reached))
    events, share, greenwood = survival(times)
    interval = _median_interval(events, share, greenwood, last) if len(times) >= LEAST else None
    return ThresholdSummary(Estimate(_first_below(events, share), interval, len(times), points, missing), last, len(points))


def _first_below(events: Floats, curve: Floats) -> float:
    below = events[curve <= 0.5 + _ROUNDING]
    return float(below[0]) if below.size else inf


def _median_interval(events: Floats, share: Floats, greenwood: Floats, last: float) -> tuple[float, float]:
    z = float(stats.norm.ppf((1 + CONFIDENCE) / 2))
    lower, upper = np.ones_like(share), np.ones_like(share)
    known = share > _ROUNDING
    spread = np.exp(z * np.sqrt(greenwood[known]) / -np.log(share[known]))
    lower[known], upper[known] = share[known] ** spread, share[known] ** (1 / spread)
    # Where no run is left there is no variance: the lower curve has come down, the upper one is unknown and stays.
    lower[~known] = 0.0
    low = _first_below(events, lower)
    return (low if low < inf else last), _first_below(events, upper)
