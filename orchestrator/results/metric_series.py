"""Metrics of a run over time, as its nodes wrote them: means over nodes, bins, final values, and the time of training that they are of.

Under `clock: logical` times are virtual. Metrics of the machine, such as speeds (`usage.jsonl`), have no virtual time. `metric_rows` gives
all metrics as the rows of one table, in order of time: what `metrics.csv`, `metrics.parquet` and the Python interface hold.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from math import inf, isfinite
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from orchestrator.results.run_directories import parse_time
from orchestrator.results.run_files import read_lines

EVALUATION = "eval."
"""prefix of metrics of greedy episodes"""
GOAL = ".goal."
"""between the name of a metric of one goal and the goal's landmarks: `eval.own.success.goal.0-2`"""
ENVIRONMENT, RUN = "env-0", "run"
"""nodes whose value of a metric is that of the run: the environment server, and the run server"""
BINS = 20
"""values of a training metric that are shown"""
FINAL = 0.1
"""share of a run, counted from its end, over which final values are means"""
LOWER_IS_BETTER = ("error", "loss", "disagreement")
HIGHER_IS_BETTER = ("return", "success", "aligned", "accuracy", "agreed", "diversity", "covered", "visited")
"""words in the names of metrics; those with none of either, such as lengths of episodes, have no best value"""


@dataclass(frozen=True, slots=True)
class MetricPoint:
    """One measured value of one node."""

    time: float
    step: int
    episode: int
    value: float


NodeSeries = Mapping[str, Sequence[MetricPoint]]
"""node -> points in order of writing"""
Series = dict[str, dict[str, list[MetricPoint]]]
"""metric name -> node -> points in order of writing"""


@dataclass(frozen=True)
class MetricCurve:
    """A metric over a run: mean over the nodes that measured it, at the first, best and last time. `best` and its place are None where
    neither a lower nor a higher value is better."""

    name: str
    first: float
    best: float | None
    last: float
    best_episode: int | None
    points: int
    values: list[float] = field(default_factory=list, repr=False)
    best_step: int | None = None


def metric_files(directory: Path) -> list[Path]:
    """The files of a run in which its nodes write metrics: `metrics.jsonl` and `usage.jsonl` of each."""
    return sorted(path for name in ("metrics.jsonl", "usage.jsonl") for path in directory.glob(f"nodes/*/{name}"))


def read_points(path: Path) -> Iterator[tuple[str, MetricPoint]]:
    """Name and point of each line of a file of metrics, in order of writing; lines without a finite value are left out."""
    for line in read_lines(path):
        name, value = line.get("name"), line.get("value")
        if isinstance(name, str) and isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value):
            yield name, MetricPoint(float(line.get("t") or 0), int(line.get("step") or 0), int(line.get("episode") or 0), float(value))


def read_series(directory: Path) -> Series:
    """All metrics of all nodes of the run in `directory`: metric name -> node -> points in order of writing. Values that are not finite
    are left out."""
    series: Series = defaultdict(lambda: defaultdict(list))
    for path in metric_files(directory):
        for name, point in read_points(path):
            series[name][path.parent.name].append(point)
    return series


def mean_curve(name: str, nodes: NodeSeries) -> MetricCurve:
    """The curve of one metric: value k is the mean over nodes of their k-th points, which are the same evaluation or report at all
    nodes. Shorter series stop early. The best value is the least where a lower metric is better, and None where no direction is.
    `ValueError` without points."""
    length = max(len(points) for points in nodes.values())
    columns = [[points[k] for points in nodes.values() if k < len(points)] for k in range(length)]
    values = [sum(point.value for point in column) / len(column) for column in columns]
    lower = any(word in name for word in LOWER_IS_BETTER)
    if not lower and not any(word in name for word in HIGHER_IS_BETTER):
        return MetricCurve(name, values[0], None, values[-1], None, length, values)
    best = values.index(min(values) if lower else max(values))
    episode, step = max(point.episode for point in columns[best]), max(point.step for point in columns[best])
    return MetricCurve(name, values[0], values[best], values[-1], episode, length, values, step)


def pooled(series: Series, name: str, most: int = BINS) -> list[MetricPoint]:
    """A training metric over at most `most` bins of equally many episodes, at the end of each.

    What the environment server writes are means over windows of time, some of two episodes and some of a thousand. A bin is the mean of
    whole windows, weighted by the number of episodes in each (`episodes.whole`; in runs of versions that did not write it, `episodes`).
    """
    windows = series.get(name, {}).get(ENVIRONMENT, [])
    counts = [series.get(count, {}).get(ENVIRONMENT, []) for count in ("episodes", "episodes.whole")]
    episodes = {point.time: point.value for points in counts for point in points}
    weights = [max(1.0, episodes.get(point.time, 1.0)) for point in windows]
    left = sum(weights)
    enough = left / most * (1 - 1e-9)
    bins, total, held = [], 0.0, 0.0
    for point, weight in zip(windows, weights, strict=True):
        total, held, left = total + weight * point.value, held + weight, left - weight
        if point is windows[-1] or (held >= enough and left >= enough):  # the rest belongs to the last bin
            bins.append(replace(point, value=total / held))
            total = held = 0.0
    return bins


def run_points(nodes: NodeSeries) -> Sequence[MetricPoint]:
    """The values of a metric for the run as a whole: those of the environment server, the run server, or the first agent that has any."""
    return next((nodes[node] for node in (ENVIRONMENT, RUN, *sorted(nodes)) if nodes.get(node)), [])


def without_lost_segments(points: Sequence[MetricPoint]) -> list[MetricPoint]:
    """The points without those that a node wrote and lost: where steps decrease, it continued from a checkpoint."""
    kept: list[MetricPoint] = []
    for point in points:
        while kept and kept[-1].step > point.step:
            kept.pop()
        kept.append(point)
    return kept


def final_value(name: str, nodes: NodeSeries, share: float = FINAL) -> float | None:
    """A metric at the end of a run: the mean of the points with step > (1 - share) * last step, and of an evaluation the last point. The
    value is that of the environment server or the run server, else the mean over the agents; None without any."""
    first = next((node for node in (ENVIRONMENT, RUN) if nodes.get(node)), None)
    chosen = [nodes[first]] if first is not None else [points for points in nodes.values() if points]
    return fmean(_final(name, points, share) for points in chosen) if chosen else None


def _final(name: str, points: Sequence[MetricPoint], share: float) -> float:
    if name.startswith(EVALUATION):
        return points[-1].value
    last = max(point.step for point in points)
    return fmean([point.value for point in points if point.step > (1 - share) * last] or [points[-1].value])


VIRTUAL = 1e9
"""seconds, 31 years: no run lasts as long, and every time stamp of the machine is later"""


@dataclass(frozen=True)
class TrainingTime:
    """Seconds of training, from the times in a run's files. `zero`: Unix seconds at which all nodes were up; 0 under the logical clock,
    whose times begin there. `gaps`: spans in which the run was interrupted, ascending; they don't count."""

    zero: float = 0.0
    gaps: tuple[tuple[float, float], ...] = ()

    def of(self, time: float) -> float:
        """Seconds of training at that time; negative before training."""
        return self.without_gaps(time) - self.zero

    def without_gaps(self, time: float) -> float:
        """The time without interruptions: a time in a gap is moved to the beginning of the gap."""
        return time - sum(min(time, end) - begin for begin, end in self.gaps if time > begin)

    def with_gaps(self, time: float) -> float:
        """The inverse of `without_gaps`: seconds of the run, interruptions included, at a training time in seconds."""
        for begin, end in self.gaps:
            if time > begin:
                time += end - begin
        return time


def training_time(events: Iterable[Mapping[str, Any]]) -> TrainingTime:
    """From the events of a run under the wall clock. An interruption lasts from the end of training, as the run server has kept it, until
    all nodes are up again."""
    zero = began = trained = last = 0.0
    stopped: float | None = None
    gaps: list[tuple[float, float]] = []
    for event in events:
        if (parsed := parse_time(event.get("t"))) is None:
            continue
        code, time = event.get("code"), parsed.timestamp()
        if code == "run.running":
            if not zero:
                zero = time
            elif stopped is not None:
                gaps.append((stopped, time))
            began, stopped = time, None
        elif code == "run.resumed" and zero and stopped is None:
            kept = (event.get("fields") or {}).get("trained")
            # Events of earlier versions have no `trained`: training ended with the last event before the interruption.
            stopped = min(last, began + kept - trained) if isinstance(kept, (int, float)) else last
            trained = kept if isinstance(kept, (int, float)) else trained
        last = time
    return TrainingTime(zero, tuple(gaps))


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
