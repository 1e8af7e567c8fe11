"""Takes the metrics that nodes send: keeps the newest for the live table, feeds the sinks, and computes what no node can see alone.

The nodes' own files are the truth; what arrives here may have lost rows. Work per message is bounded and nothing blocks.
"""

from __future__ import annotations

import json
import logging
import os
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.results.run_files import last_lines
from orchestrator.run_server.metrics.disagreement_tracker import (
    ConventionTracker,
    DisagreementTracker,
    ModelTracker,
    RoundDisagreement,
    SimultaneousReports,
)
from orchestrator.run_server.metrics.sinks.live_sinks import MetricRow, SinkThread
from protocols.conversations.control.control_messages import Metrics
from protocols.runtime.clock import unix_time

logger = logging.getLogger(__name__)

RUN_NODE = "run"
"""the node under whose name metrics of the whole run are kept"""
AVERAGED = ("consensus", "statistics")
"""what is averaged in rounds, parameters and sums of statistics: the metric `NAME.round` comes with the frame `sketch[2, s] f8`"""
ROUNDING = 1e-12
"""disagreement, as a share of the mean, below which its fall is due to rounding and not to the graph"""
STEPS, EPISODES = "environment.steps", "environment.episodes"
"""metrics that come with the frames `models[s] f8` of agents that average their models, and `leading[|G|] i4` and `reading[|M|] i4` of such
that negotiate"""
HISTORY = 30
_NAMES = 1024
_KNOWN = 512
"""lines of metrics of the run that are compared with what nodes send again"""


class MetricsCollector:
    """The newest metrics of all nodes, passed on to `sinks`. `warn` is called once for each kind of failure."""

    def __init__(self, directory: Path, sinks: Sequence[SinkThread], warn: Callable[[str], None], known: bool = False) -> None:
        """`known`: nodes send again what an earlier run server may have had; metrics of the run that it has written are left out."""
        self.newest: dict[str, dict[str, float]] = {}
        self.history: dict[str, dict[str, deque[float]]] = {}
        self.episodes: dict[str, int] = {}
        self._warn = warn
        self._warned: set[str] = set()
        self._sinks = sinks
        self._disagreement = {name: DisagreementTracker() for name in AVERAGED}
        self._models, self._convention = ModelTracker(), ConventionTracker()
        self._moments: dict[str, SimultaneousReports[Any]] = {"convention.accuracy": self._convention, "models.disagreement": self._models}
        own = directory / "nodes" / RUN_NODE
        own.mkdir(parents=True, exist_ok=True)
        self._known = _written(own / "metrics.jsonl") if known else set()
        self._file = os.open(own / "metrics.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)

    def receive(self, node: str, message: Metrics, arrays: Mapping[str, NDArray[Any]], living: Collection[str]) -> None:
        """Take one message; `living` are the agents whose reports the metrics of the whole run wait for. Malformed ones are dropped."""
        values = arrays.get("values")
        if values is None or values.dtype != np.float64 or values.shape != (len(message.names),):
            self._warn_once(f"{node}.values", f"{node} sends metrics whose values do not fit their names; they are dropped")
            return
        self.episodes[node] = message.episode  # as the node counts: after a restart it goes on from its checkpoint, and so does its file
        metrics = dict(zip(message.names, values.tolist(), strict=True))
        self._take(node, message.step, message.ts, metrics)
        for name in AVERAGED if "sketch" in arrays else ():
            if f"{name}.round" not in metrics:
                continue
            with self._refused(node, "a sketch that does"):
                self._disagreement[name].add(node, int(metrics[f"{name}.round"]), arrays["sketch"], message.stamp)
            self.close_rounds(living, message.episode)
        if {STEPS, EPISODES} <= metrics.keys():
            steps, episodes = int(metrics[STEPS]), int(metrics[EPISODES])
            if "models" in arrays:
                with self._refused(node, "a sketch that does"):
                    self._models.add(node, steps, episodes, arrays["models"].copy(), message.stamp)
            if "leading" in arrays and "reading" in arrays:
                with self._refused(node, "choices that do"):
                    self._convention.add(node, steps, episodes, (arrays["leading"].copy(), arrays["reading"].copy()), message.stamp)
            self._close_reports(living)

    @contextmanager
    def _refused(self, node: str, what: str) -> Iterator[None]:
        """Drop a report that its tracker refuses, with one warning for each kind."""
        try:
            yield
        except ValueError as error:
            self._warn_once(f"{node}: {what}", f"{node} sends {what} not fit: {error}")

    def close_rounds(self, living: Collection[str], episode: int = 0) -> None:
        """Write the metrics of the whole run for which all living agents have reported."""
        self._close_reports(living)
        for done in self._disagreement["consensus"].complete(living):
            metrics = {"consensus.disagreement_before": done.before, "consensus.disagreement": done.after}
            if done.contraction is not None:
                metrics["consensus.contraction"] = done.contraction
            self._record(done.at, done.round, episode, metrics)
        for done in self._disagreement["statistics"].complete(living):
            if done.length > 0:
                self._record(done.at, done.round, episode, _of_sums(done))

    def _close_reports(self, living: Collection[str]) -> None:
        for name, tracker in self._moments.items():
            for done in tracker.complete(living):
                self._record(done.at, done.steps, done.episodes, {name: done.value})

    def forget(self, node: str) -> None:
        """A node starts anew: its open reports are withdrawn."""
        for rounds in self._disagreement.values():
            rounds.forget(node)
        for moments in self._moments.values():
            moments.forget(node)

    def _record(self, at: float, step: int, episode: int, metrics: Mapping[str, float]) -> None:
        """Write metrics of the whole run, as node `run`, with the time of the agents' metrics that they are made of."""
        lines = [
            json.dumps({"t": at, "step": step, "episode": episode, "name": name, "value": value}, separators=(",", ":"))
            for name, value in metrics.items()
            if (name, step) not in self._known
        ]
        try:
            for line in lines:
                os.write(self._file, line.encode() + b"\n")
        except OSError as error:
            self._warn_once("run.file", f"metrics of the run can't be written: {error.strerror}")
        self._take(RUN_NODE, step, unix_time(), metrics)

    def check(self) -> None:
        """Report sinks that failed or dropped rows, each once."""
        for sink in self._sinks:
            if sink.failure is not None:
                self._warn_once(sink.name, f"the sink {sink.name} is switched off: {sink.failure}")
            elif sink.dropped:
                self._warn_once(f"{sink.name}.dropped", f"the sink {sink.name} is too slow and dropped rows; metrics.jsonl has them all")

    def close(self) -> None:
        """Let the sinks finish. May be called twice."""
        for sink in self._sinks:
            sink.close()
        self.check()
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _take(self, node: str, step: int, t: float, metrics: Mapping[str, float]) -> None:
        newest = self.newest.setdefault(node, {})
        history = self.history.setdefault(node, {})
        for name, value in metrics.items():
            if name in newest or len(newest) < _NAMES:
                newest[name] = value
                history.setdefault(name, deque(maxlen=HISTORY)).append(value)
        for sink in self._sinks:
            sink.write(MetricRow(node, t, step, dict(metrics)))

    def _warn_once(self, key: str, text: str) -> None:
        if key not in self._warned:
            self._warned.add(key)
            self._warn(text)


def _written(path: Path) -> set[tuple[str, int]]:
    """Name and step of the newest metrics in a file."""
    found = set()
    for line in last_lines(path, _KNOWN):
        with suppress(ValueError, TypeError, KeyError):
            metric = json.loads(line)
            found.add((str(metric["name"]), int(metric["step"])))
    return found


def _of_sums(done: RoundDisagreement) -> dict[str, float]:
    """Metrics of a round in which sums of statistics were averaged: distances as shares of the mean's length."""
    metrics = {
        "statistics.disagreement_before": done.before / done.length,
        "statistics.disagreement": done.after / done.length,
        "statistics.disagreement_min": done.least / done.length,
    }
    if done.contraction is not None and metrics["statistics.disagreement"] > ROUNDING:
        metrics["statistics.contraction"] = done.contraction
    return metrics
