"""One number for a group of runs. Every aggregate takes the values by task, arrays of shape (..., runs of that task), and returns shape
(...), so that thousands of resampled groups are computed at once. Tasks may have different numbers of runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from orchestrator.results.statistics.runs_table import Floats

Aggregate = Callable[[Sequence[Floats]], Floats]
TRIM = 0.25
"""share left out at each end by the interquartile mean"""


def interquartile_mean(tasks: Sequence[Floats]) -> Floats:
    """Mean of the middle half of all runs of all tasks: with the N values sorted and g = floor(N / 4),
    IQM = (x_(g+1) + ... + x_(N-g)) / (N - 2g).

    Bends less to outliers than the mean, and uses more of the runs than the median (Agarwal et al. 2021, section 4.3; trimmed mean, Tukey
    1948). For N < 4 it is the mean. A task with more runs counts more.
    """
    pooled = np.concatenate(list(tasks), axis=-1)
    count = pooled.shape[-1]
    cut = int(TRIM * count)
    if cut:
        # Only who is left out must be known, not the whole order.
        pooled = np.partition(pooled, (cut, count - cut - 1), axis=-1)[..., cut : count - cut]
    return np.asarray(pooled.mean(axis=-1))


def mean(tasks: Sequence[Floats]) -> Floats:
    """Mean over tasks of the mean over each task's runs: tasks count equally."""
    return np.asarray(sum(values.mean(axis=-1) for values in tasks) / len(tasks))


def median(tasks: Sequence[Floats]) -> Floats:
    """Median of all runs of all tasks together."""
    return np.asarray(np.median(np.concatenate(list(tasks), axis=-1), axis=-1))


def within_tasks(aggregate: Aggregate) -> Aggregate:
    """Mean over tasks of the `aggregate` of each task's runs: tasks count equally, however many runs each has, and none of them is trimmed
    away because its values are far from those of the others."""

    def averaged(tasks: Sequence[Floats]) -> Floats:
        return np.asarray(sum(aggregate([values]) for values in tasks) / len(tasks))

    return averaged
