"""Performance profile: the share of runs above a score, for every score."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

import numpy as np
from numpy.typing import ArrayLike

from orchestrator.results.statistics.bootstrap import REPEATS, SEED, resampled
from orchestrator.results.statistics.estimate import CONFIDENCE, LEAST
from orchestrator.results.statistics.runs_table import Floats, ScoreSample


@dataclass(frozen=True, eq=False)
class Profile:
    """`share[k]`: of runs above `scores[k]`. `low`, `high`: pointwise band, None where there are too few runs for one."""

    scores: Floats
    share: Floats
    low: Floats | None
    high: Floats | None
    n: int
    missing: tuple[str, ...] = ()


def profile(
    sample: ScoreSample,
    scores: ArrayLike | None = None,
    *,
    repeats: int = REPEATS,
    confidence: float = CONFIDENCE,
    seed: int = SEED,
    least: int = LEAST,
) -> Profile:
    """Score distribution over runs and tasks (Agarwal et al. 2021, section 4.2):

        P(score > tau) = mean over tasks m of 1 / N_m * sum over runs i of [x_mi > tau],

    with the pointwise percentile band of the stratified bootstrap. A method is better everywhere if its profile is above another's; the
    score at which profiles cross says where it isn't. `scores`: thresholds tau, ascending; by default each finite value that occurs, where
    the steps are. `ValueError` without any run that has one.
    """
    if not any(isfinite(point) for point in sample.points):
        raise ValueError("a profile needs at least one run with a figure")
    tau = np.asarray(sorted(point for point in set(sample.points) if isfinite(point)) if scores is None else scores, float)
    tasks = sample.strata
    share = np.mean([_above(values, tau) for values in tasks], axis=0)
    low = high = None
    if sample.fewest >= max(2, least):
        drawn = np.concatenate(
            [np.mean([_above(values, tau) for values in portion], axis=0) for portion in resampled(tasks, repeats, seed)]
        )
        low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
    return Profile(tau, share, low, high, sample.n, sample.missing)


def _above(values: Floats, scores: Floats) -> Floats:
    """Share of values (..., N) above each score (K,): (..., K)."""
    if values.ndim == 1:
        return 1.0 - np.searchsorted(np.sort(values), scores, side="right") / values.size
    # One score at a time: all at once would need memory for repeats * runs * scores.
    return np.stack([(values > score).mean(axis=-1) for score in scores], axis=-1)
