"""All metrics of a run as the rows of one table, in order of time: what `metrics.csv`, `metrics.parquet` and the Python interface hold."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import NamedTuple

from orchestrator.results.metric_series import VIRTUAL, metric_files, read_points


class MetricTableRow(NamedTuple):
    """One value of one metric."""

    t: float
    """seconds since the start of the run"""
    wall_time: datetime | None
    """UTC; None for virtual times"""
    node: str
    episode: int
    step: int
    name: str
    value: float


def metric_rows(directory: Path, started: float, virtual: bool = False) -> Iterator[MetricTableRow]:
    """Rows of all nodes. `started` is the start of the run in seconds since 1970.

    Under the logical clock (`virtual`) metrics of learning have virtual times and no `wall_time`. Metrics of the machine (and, in runs
    that an earlier version began, those of node `run`) have times of day, and follow them.
    """
    segments = [(0.0, -inf, VIRTUAL), (started, VIRTUAL, inf)] if virtual else [(started, -inf, inf)]
    for since, least, below in segments:
        files = [_rows_of(path, since, least, below) for path in metric_files(directory)]
        yield from heapq.merge(*files, key=lambda row: row.t)


def _rows_of(path: Path, since: float, least: float, below: float) -> Iterator[MetricTableRow]:
    """Metrics of one file that are stamped with a time from `least` to `below`."""
    node = path.parent.name
    for name, point in read_points(path):
        if least <= point.time < below:
            wall_time = datetime.fromtimestamp(point.time, UTC) if since else None
            yield MetricTableRow(point.time - since, wall_time, node, point.episode, point.step, name, point.value)
