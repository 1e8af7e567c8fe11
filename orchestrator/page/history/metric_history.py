"""All metrics of a run in memory, in compact columns, with a bound: the values of each metric and node by time."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

MOST_POINTS = 1_000_000
"""points of all series together (32 bytes each); beyond it every series is thinned"""
_THINNEST = 64
"""points that a series keeps in any case"""


class Downsampled(NamedTuple):
    """A part of a series: equally long columns."""

    t: list[float]
    step: list[int]
    v: list[float]


class MetricLine(msgspec.Struct):
    """A line of a file of metrics."""

    t: float
    step: int
    episode: int
    name: str
    value: float


class NodeMetric:
    """The values of one metric of one node in order of time. Columns: seconds of the run, step, episode, value. Steps may go back, where
    the node went on from a checkpoint."""

    __slots__ = ("episode", "step", "t", "v")

    def __init__(self) -> None:
        self.t, self.v = array("d"), array("d")
        self.step, self.episode = array("q"), array("q")

    def add(self, t: float, step: int, episode: int, value: float) -> None:
        """Insert a value at its time; most come in order."""
        if not self.t or t >= self.t[-1]:
            self.t.append(t)
            self.step.append(step)
            self.episode.append(episode)
            self.v.append(value)
            return
        place = bisect_right(self.t, t)
        self.t.insert(place, t)
        self.step.insert(place, step)
        self.episode.insert(place, episode)
        self.v.insert(place, value)

    def index(self, at: float | None) -> int:
        """Index of the newest value at time `at` (None: the last); -1 before the first."""
        return len(self.t) - 1 if at is None else bisect_right(self.t, at) - 1

    def value(self, at: float | None = None) -> float | None:
        """The newest value at that time, or None."""
        index = self.index(at)
        return self.v[index] if index >= 0 else None

    def window(self, since: float, points: int) -> Downsampled:
        """The values after `since`, at most about `points` of them: of each of points / 2 spans of equally many values the least and the
        largest, in their order."""
        first = bisect_right(self.t, since)
        chosen = list(extremes(self.v, first, len(self.v), max(1, points // 2)))
        return Downsampled([self.t[i] for i in chosen], [self.step[i] for i in chosen], [self.v[i] for i in chosen])

    def thin(self) -> int:
        """Keep half of the values: least and largest of each four. Returns the number that is left."""
        if len(self.v) > _THINNEST:
            chosen = list(extremes(self.v, 0, len(self.v), len(self.v) // 4))
            for name in self.__slots__:
                column = getattr(self, name)
                setattr(self, name, array(column.typecode, [column[i] for i in chosen]))
        return len(self.v)


def extremes(values: Sequence[float], first: int, end: int, spans: int) -> Iterator[int]:
    """Indices of the least and the largest value of each of `spans` spans of values[first:end], ascending; all where they are few. The
    first and the last index are always among them."""
    count = end - first
    if count <= 2 * spans:
        yield from range(first, end)
        return
    for span in range(spans):
        start, stop = first + span * count // spans, first + (span + 1) * count // spans
        low = min(range(start, stop), key=values.__getitem__)
        high = max(range(start, stop), key=values.__getitem__)
        kept = {low, high}
        if span == 0:
            kept.add(first)
        if span == spans - 1:
            kept.add(end - 1)
        yield from sorted(kept)


class MetricHistory:
    """The values of all metrics of all nodes. The number of points is bounded: see `MOST_POINTS`."""

    def __init__(self, most: int = MOST_POINTS) -> None:
        self.nodes: dict[str, dict[str, NodeMetric]] = {}
        """node -> metric name -> values"""
        self._most = most
        self._points = 0

    def extend(self, node: str, lines: Sequence[MetricLine], zero: float) -> None:
        """Append the values of these lines, with times counted from `zero`."""
        metrics = self.nodes.setdefault(node, {})
        for line in lines:
            metric = metrics.get(line.name)
            if metric is None:
                metric = metrics[line.name] = NodeMetric()
            metric.add(line.t - zero, line.step, line.episode, line.value)
        self._count(len(lines))

    def add(self, node: str, name: str, t: float, step: int, episode: int, value: float) -> None:
        """Append one value."""
        self.extend(node, [MetricLine(t, step, episode, name, value)], 0.0)

    def _count(self, more: int) -> None:
        self._points += more
        if self._points > self._most:
            self._points = sum(one.thin() for metrics in self.nodes.values() for one in metrics.values())
            self._most = max(self._most, 2 * self._points)

    def forget(self, node: str) -> None:
        """Drop the values of a node, whose file starts anew."""
        self._points -= sum(len(metric.v) for metric in self.nodes.pop(node, {}).values())

    def get(self, name: str, node: str) -> NodeMetric | None:
        """The values of one metric of one node, or None."""
        return self.nodes.get(node, {}).get(name)

    def of_node(self, node: str) -> dict[str, NodeMetric]:
        """Name -> values of all metrics of a node."""
        return self.nodes.get(node, {})

    def of_name(self, name: str) -> dict[str, NodeMetric]:
        """Node -> values of one metric."""
        return {node: metrics[name] for node, metrics in sorted(self.nodes.items()) if name in metrics}

    def value(self, names: Sequence[str], node: str, at: float | None = None) -> float | None:
        """The newest value at that time of the first of these metrics that the node has, or None."""
        metrics = self.nodes.get(node, {})
        for name in names:
            metric = metrics.get(name)
            if metric is not None and (found := metric.value(at)) is not None:
                return found
        return None

    def names(self) -> dict[str, list[str]]:
        """Node -> sorted names of its metrics."""
        return {node: sorted(metrics) for node, metrics in sorted(self.nodes.items())}
