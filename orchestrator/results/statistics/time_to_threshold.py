"""Time to threshold: how many steps (or seconds) runs need to a level, where some never reach it.

A run that has not reached the level by its end is *censored*: all that is known is that it needs longer. Leaving such runs out, or putting
their end in the place of the time, makes bad methods look good; so the distribution of times is estimated with them (Kaplan and Meier
1958):

    S(t) = product over times t_i <= t of (1 - d_i / n_i),

the share that needs longer than t, where at t_i there are n_i runs that have neither reached the level nor ended before, and d_i reach it.
Runs must end for reasons that have nothing to do with how near they are to the level. Where runs die *because* of what is compared, give
`never`.
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
    may be infinite too. `restricted_mean`: mean of min(time, `horizon`). `times`, `survival`: steps of S.
    """

    median: Estimate
    restricted_mean: Estimate
    horizon: float
    reached: int
    times: Floats
    survival: Floats

    def text(self, form: str = ",.0f") -> str:
        """`1,200 [900, inf] n=8, 6 reached it`."""
        return f"{self.median.text(form)}, {self.reached} reached it"


def first_reached(curve: Curve, level: float, *, higher: bool = True, hold: int = 1) -> ThresholdTime:
    """When a curve first is at least `level` (at most, unless `higher`) for `hold` points in a row; otherwise its end, as censored.

    No time is made up between two points: the level counts as reached at the point that shows it.
    """
    good = curve.values >= level if higher else curve.values <= level
    streak = 0
    for number, fine in enumerate(good.tolist()):
        streak = streak + 1 if fine else 0
        if streak >= hold:
            return ThresholdTime(float(curve.steps[number - hold + 1]), True)
    return ThresholdTime(curve.end, False)


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


def time_to_threshold(
    runs: RunCurves,
    level: float,
    *,
    higher: bool = True,
    hold: int = 1,
    horizon: float | None = None,
    never: float | None = None,
    confidence: float = CONFIDENCE,
    least: int = LEAST,
) -> ThresholdSummary:
    """Times of a group of runs to a level. `horizon`: of the restricted mean; must be the same for groups that are compared; by default as
    far as any run went. `never`: runs without a curve count as not having reached the level by this step; without it they are only named as
    missing."""
    times = [first_reached(curve, level, higher=higher, hold=hold) for curve in runs.curves.values()]
    if never is not None:
        times += [ThresholdTime(never, False)] * len(runs.missing)
    return waiting(times, missing=runs.missing, horizon=horizon, confidence=confidence, least=least, known=runs.n)


def waiting(
    times: Sequence[ThresholdTime],
    *,
    missing: tuple[str, ...] = (),
    horizon: float | None = None,
    confidence: float = CONFIDENCE,
    least: int = LEAST,
    known: int | None = None,
) -> ThresholdSummary:
    """Median and restricted mean of censored times, with intervals.

    Interval of the median: all t at which the log-log interval of S (Kalbfleisch and Prentice), S^exp(± z sqrt(G) / ln S) with Greenwood's
    sum G, contains 1/2 (Brookmeyer and Crowley 1982), as R's `survfit(conf.type = "log-log")`. Its lower end is the last time observed
    where even that is not long enough. Interval of the restricted mean: normal, with variance sum of A_i^2 d_i / (n_i (n_i - d_i)), where
    A_i is the area under S from t_i to the horizon. `ValueError` for a horizon beyond all observation: S is unknown there unless it is 0.
    """
    count = len(times) if known is None else known
    last = max((time.at for time in times), default=0.0)
    points = tuple(sorted(time.at for time in times if time.reached))
    events, share, greenwood = survival(times)
    limit = last if horizon is None else horizon
    if limit > last and times and (not share.size or share[-1] > _ROUNDING):
        raise ValueError(
            f"the horizon {limit:g} is beyond the last observation at {last:g}: what would have happened until then is unknown"
        )
    if not times:
        nothing = Estimate(None, None, count, missing=missing, confidence=confidence)
        return ThresholdSummary(nothing, nothing, limit, 0, events, share)
    z = float(stats.norm.ppf((1 + confidence) / 2))
    enough = len(times) >= max(2, least)
    median = Estimate(
        _first_below(events, share),
        _median_interval(events, share, greenwood, z, last) if enough else None,
        count,
        points,
        missing,
        confidence,
    )
    mean, error = _restricted_mean(events, share, greenwood, limit)
    interval = (max(0.0, mean - z * error), min(limit, mean + z * error)) if enough else None
    return ThresholdSummary(median, Estimate(mean, interval, count, points, missing, confidence), limit, len(points), events, share)


def _first_below(events: Floats, curve: Floats) -> float:
    below = events[curve <= 0.5 + _ROUNDING]
    return float(below[0]) if below.size else inf


def _median_interval(events: Floats, share: Floats, greenwood: Floats, z: float, last: float) -> tuple[float, float]:
    lower, upper = np.ones_like(share), np.ones_like(share)
    known = share > _ROUNDING
    spread = np.exp(z * np.sqrt(greenwood[known]) / -np.log(share[known]))
    lower[known], upper[known] = share[known] ** spread, share[known] ** (1 / spread)
    # Where no run is left there is no variance: the lower curve has come down, the upper one is unknown and stays.
    lower[~known] = 0.0
    low = _first_below(events, lower)
    return (low if low < inf else last), _first_below(events, upper)


def _restricted_mean(events: Floats, share: Floats, greenwood: Floats, horizon: float) -> tuple[float, float]:
    inside = events < horizon
    edges = np.concatenate([[0.0], events[inside], [horizon]])
    heights = np.concatenate([[1.0], share[inside]])
    pieces = np.diff(edges) * heights
    after = np.cumsum(pieces[::-1])[::-1][1:]
    terms = np.diff(greenwood[inside], prepend=0.0)
    # Behind the last time with S = 0 there is no area, however unsure that S is.
    known = after > 0
    return float(pieces.sum()), float(np.sqrt((after[known] ** 2 * terms[known]).sum()))
