"""Forms of the metrics besides the nodes' own files: TensorBoard event files while the run goes on, `metrics.csv` at its end.

A sink never holds up the run: rows go through a bounded queue to a thread of their own, the newest are dropped when it is full. A sink
that fails is switched off, and reports why once.
"""

from __future__ import annotations

import csv
import heapq
import logging
import queue
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import Any

from orchestrator.results.metric_series import VIRTUAL, metric_files, read_points

logger = logging.getLogger(__name__)

_QUEUE = 4096
_CLOSE_WAIT = 10.0


@dataclass(frozen=True)
class MetricRow:
    """Metrics of one node at one moment (seconds since 1970)."""

    node: str
    t: float
    step: int
    values: Mapping[str, float]


class TensorBoardSink:
    """Event files `tensorboard/NODE/...`, one writer per node, tag = name of the metric."""

    name = "tensorboard"

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._rows: queue.Queue[MetricRow | None] = queue.Queue(_QUEUE)
        self.failure: str | None = None
        """why it was switched off"""
        self.dropped = 0
        self._thread = threading.Thread(target=self._run, name="tensorboard", daemon=True)
        self._thread.start()

    def write(self, row: MetricRow) -> None:
        """Take a row, or drop it when the thread is far behind."""
        if self.failure is not None:
            return
        try:
            self._rows.put_nowait(row)
        except queue.Full:
            self.dropped += 1

    def close(self) -> None:
        """Write what waits, for at most ten seconds."""
        try:
            self._rows.put(None, timeout=1.0)
        except queue.Full:
            return
        self._thread.join(_CLOSE_WAIT)

    def _run(self) -> None:
        writers: dict[str, Any] = {}
        try:
            summary_writer = _summary_writer()
            while (row := self._rows.get()) is not None:
                writer = writers.get(row.node)
                if writer is None:
                    writer = writers[row.node] = summary_writer(str(self._directory / row.node), flush_secs=5)
                for name, value in row.values.items():
                    writer.add_scalar(name, value, row.step, row.t)
            for writer in writers.values():
                writer.close()
        except Exception as error:
            logger.exception("the tensorboard sink failed")
            self.failure = f"{type(error).__name__}: {error}"


def _summary_writer() -> Any:
    """The writer class of tensorboardX, imported as if torch were absent: it would load it, two seconds and 200 MB, for pictures that we
    don't write."""
    hidden = "torch" not in sys.modules
    if hidden:
        sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        from tensorboardX import SummaryWriter
    finally:
        if hidden:
            del sys.modules["torch"]
    return SummaryWriter


def _rows(path: Path, started: float, least: float, below: float) -> Iterator[tuple[float, str, int, int, str, float]]:
    """Metrics of a node that are stamped with a time from `least` to `below`, as seconds since `started`."""
    node = path.parent.name
    for name, point in read_points(path):
        if least <= point.time < below:
            yield point.time - started, node, point.episode, point.step, name, point.value


def _wall_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def write_metrics_csv(directory: Path, started: float, virtual: bool = False) -> int:
    """Join all metrics of the nodes into `metrics.csv`, in order of time, and return the number of rows.

    Columns: `t` seconds since `started`, `wall_time` UTC, `node`, `episode`, `step`, `name`, `value`. Under the logical clock (`virtual`)
    metrics of learning have virtual times, and no `wall_time`; those of the machine (and, in runs that an earlier version began, those of
    node `run`) have times of day, and come after them.
    """
    parts = [(0.0, -inf, VIRTUAL), (started, VIRTUAL, inf)] if virtual else [(started, -inf, inf)]
    temporary = directory / ".metrics.csv.tmp"
    count = 0
    with temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("t", "wall_time", "node", "episode", "step", "name", "value"))
        for since, least, below in parts:
            files = [_rows(path, since, least, below) for path in metric_files(directory)]
            for t, node, episode, step, name, value in heapq.merge(*files, key=lambda row: row[0]):
                writer.writerow((f"{t:.3f}", _wall_time(since + t) if since else "", node, episode, step, name, repr(value)))
                count += 1
    temporary.replace(directory / "metrics.csv")
    return count
