"""How much of something a figure bears: the amount (of delay, of loss) at which a given share of the figure is lost.

From groups of runs at amounts x_0 < x_1 < ..., with aggregates y_k of n_k runs. More of a disturbance does not help, so the y_k, which
chance has moved up and down, are replaced by the falling sequence nearest to them (isotonic regression, Barlow et al. 1972),

    g_k = min over i <= k of max over j >= k of (sum of n_l y_l, l = i..j) / (sum of n_l, l = i..j),

and the amount is the least x at which the line through the points (x_k, g_k) has fallen to (1 - share) g_0. Without that step the first
dip by chance would count, and more amounts would mean less tolerance. For metrics of which less is better everything is turned round: the
line rises, to (1 + share) g_0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from math import inf

import numpy as np

from orchestrator.results.statistics.estimate import LEAST, REPEATS, Estimate, distribution, interquartile_mean, percentiles
from orchestrator.results.statistics.runs_table import Floats, ScoreSample


def tolerance(
    amounts: Sequence[float], samples: Sequence[ScoreSample], share: float, *, higher: bool = True, repeats: int = REPEATS
) -> Estimate:
    """The amount at which `share` (0 < share < 1) of the figure at the least amount is lost; `inf` where no amount that was tried costs so
    much.

    `samples`: the runs at each of the `amounts`, which ascend. The interval is between quantiles of the amounts found in resampled groups;
    no interval where a group has fewer than `LEAST` runs. No value where the least amount has no runs, or no positive figure of which a
    share could be lost. `ValueError` for amounts that do not ascend.
    """
    if len(amounts) != len(samples) or any(after <= before for before, after in pairwise(amounts)):
        raise ValueError("give one sample for each amount, and amounts that ascend")
    missing = tuple(reason for sample in samples for reason in sample.missing)
    unknown = Estimate(None, None, sum(sample.n for sample in samples), missing=missing)
    kept = [(amount, sample) for amount, sample in zip(amounts, samples, strict=True) if sample.n]
    if len(kept) < 2 or not samples[0].n:
        return unknown
    at = np.array([amount for amount, _ in kept], float)
    weights = np.array([sample.n for _, sample in kept], float)
    scores = np.array([[float(interquartile_mean(sample.strata))] for _, sample in kept])
    value = _amount(at, scores, weights, share, higher)[0] if np.isfinite(scores).all() else np.nan
    if np.isnan(value):
        return unknown
    interval = None
    if min(sample.fewest for _, sample in kept) >= LEAST:
        drawn = np.stack([distribution(sample.strata, interquartile_mean, repeats, (0, n)) for n, (_, sample) in enumerate(kept)])
        found = _amount(at, drawn, weights, share, higher) if np.isfinite(drawn).all() else np.full(1, np.nan)
        if not np.isnan(found).any():
            interval = percentiles(found)
    return replace(unknown, value=float(value), interval=interval)


def _amount(at: Floats, scores: Floats, weights: Floats, share: float, higher: bool) -> Floats:
    """For each column of `scores`, `[amounts, repeats]`, the amount at which the share is lost; nan where the first is not positive."""
    line = monotone(scores if higher else -scores, weights) * (1.0 if higher else -1.0)
    first = line[0]
    lost = (first - line) * (1.0 if higher else -1.0) - share * first
    over = lost >= 0
    number = np.where(over.any(axis=0), over.argmax(axis=0), 0)
    columns = np.arange(scores.shape[1])
    after, before = lost[number, columns], lost[number - 1, columns]
    with np.errstate(divide="ignore", invalid="ignore"):
        part = -before / (after - before)
        crossed = at[number - 1] + part * (at[number] - at[number - 1])
    return np.where(first > 0, np.where(number > 0, crossed, inf), np.nan)


def monotone(scores: Floats, weights: Floats) -> Floats:
    """The falling sequence nearest to each column of `scores`, `[amounts, repeats]`, in weighted least squares."""
    amounts = len(scores)
    totals = np.concatenate([np.zeros((1, scores.shape[1])), np.cumsum(scores * weights[:, None], axis=0)])
    sums = np.concatenate([[0.0], np.cumsum(weights)])
    fitted = np.empty_like(scores)
    for k in range(amounts):
        least = [np.max([(totals[j + 1] - totals[i]) / (sums[j + 1] - sums[i]) for j in range(k, amounts)], axis=0) for i in range(k + 1)]
        fitted[k] = np.min(least, axis=0)
    return fitted
