"""Metrics and traffic of a node: written to its own files; a copy of the metrics is sent to the run server."""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.conversations.control.control_messages import Metrics
from protocols.faults.node_faults.disk import disk
from protocols.faults.node_faults.process_faults import ActivitySlowdown
from protocols.runtime.atomic_files import sweep_orphans
from protocols.runtime.clock import Clock, WallClock, unix_time
from protocols.runtime.waits import smoothed
from protocols.transport import Transport

logger = logging.getLogger(__name__)
NAMES_PER_MESSAGE = 512
_LINKS_PER_LINE = 16
"""links of which a line is written at every report; with n times as many, at every nth"""
_LINKS, _WIRE = "links", "wire"
_OF_A_LINK = ("channel", "peer")


class Telemetry:
    """Writes `metrics.jsonl`, one `write` per row of metrics, so that a reader finds complete lines even if the writer is killed.

    Metrics of the machine (`usage`: speeds, shares of time) have a file of their own, `usage.jsonl`: under both clocks nothing in
    `metrics.jsonl` but its time stamps depends on how fast the machine was. With them goes the traffic so far (`write_links`), for a
    process that is killed has no other chance.
    """

    def __init__(
        self,
        directory: Path,
        transport: Transport,
        report: Callable[[Metrics, Mapping[str, NDArray[Any]]], None],
        clock: Clock = WallClock(),
    ) -> None:
        """`report` sends a row of metrics to the run server (`protocols.runtime.node_control.NodeControl.report`)."""
        directory.mkdir(parents=True, exist_ok=True)
        sweep_orphans(directory)
        self._directory = directory
        self._files: dict[str, int] = {}
        self._calls = 0
        for name in ("metrics.jsonl", "usage.jsonl"):
            self._opened(name)
        self._transport = transport
        self._report = report
        self._clock = clock
        self._failed = False

    def write(
        self,
        step: int,
        episode: int,
        values: Mapping[str, float],
        arrays: Mapping[str, NDArray[Any]] | None = None,
        usage: Mapping[str, float] | None = None,
    ) -> None:
        """Record metrics (those that are not finite are left out); `arrays` go to the run server only."""
        stamp = self._clock.stamp()
        finite = self._append_values("metrics.jsonl", stamp, step, episode, values)
        finite |= self._append_values("usage.jsonl", unix_time(), step, episode, usage or {})
        if usage is not None:
            self.traffic()
        if not finite:
            return
        names = list(finite)[:NAMES_PER_MESSAGE]
        frames = {"values": np.array([finite[name] for name in names]), **(arrays or {})}
        self._report(Metrics(step=step, episode=episode, names=names, stamp=stamp), frames)

    def write_goals(self, step: int, episode: int, goals: Mapping[str, Any]) -> None:
        """Append a line to `goals.jsonl` (environment servers whose agents have goals)."""
        row = {"t": self._clock.stamp(), "step": step, "episode": episode, **goals}
        self._append("goals.jsonl", [json.dumps(row, separators=(",", ":"))])

    def traffic(self) -> None:
        """Write down what went over the links so far: `links.json`, and a line of `links.jsonl`, with many links not every time."""
        self._trying(lambda: write_links(self._directory, self._transport))
        links = link_totals(self._transport)
        if links and self._calls % math.ceil(len(links) / _LINKS_PER_LINE) == 0:
            row = {"t": unix_time(), "incarnation": self._transport.identity.incarnation, "links": links}
            self._append("links.jsonl", [json.dumps(row, separators=(",", ":"))])
        self._calls += 1

    def _append_values(self, file: str, now: float, step: int, episode: int, values: Mapping[str, float]) -> dict[str, float]:
        finite = {name: float(value) for name, value in values.items() if math.isfinite(value)}
        lines = [json.dumps({"t": now, "step": step, "episode": episode, "name": name, "value": value}) for name, value in finite.items()]
        if lines:
            self._append(file, lines)
        return finite

    def _append(self, file: str, lines: Sequence[str]) -> None:
        self._trying(lambda: disk.append(self._opened(file), ("\n".join(lines) + "\n").encode()))

    def _opened(self, name: str) -> int:
        file = self._files.get(name)
        if file is None:
            file = self._files[name] = os.open(self._directory / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        return file

    def _trying(self, write: Callable[[], None]) -> None:
        try:
            write()
        except OSError as error:
            # Metrics must not end an agent. The run server still gets its copy.
            if not self._failed:
                logger.warning("metrics cannot be written: %s", error.strerror)
            self._failed = True
        else:
            self._failed = False

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            os.close(file)
        self._files.clear()


class TimeShares:
    """Where the time of one thread goes, by named activity. `pace` makes activities slow (faults)."""

    def __init__(self, pace: ActivitySlowdown | None = None) -> None:
        self.pace = pace or ActivitySlowdown()
        self._seconds: dict[str, float] = defaultdict(float)
        self._usual: dict[str, float] = {}
        self._current: tuple[str, float] | None = None
        self._since = time.perf_counter()

    def current(self) -> tuple[str, float, float] | None:
        """The activity that is under way, its seconds so far, and the seconds that it usually takes; None outside of all blocks. May be
        called by any thread."""
        if (current := self._current) is None:
            return None
        return current[0], time.perf_counter() - current[1], self._usual.get(current[0], 0.0)

    @contextmanager
    def spent(self, activity: str) -> Iterator[None]:
        """Count the time of this block. Blocks must not be nested."""
        start = time.perf_counter()
        self._current = activity, start
        try:
            yield
        finally:
            self.pace.stretch(activity, time.perf_counter() - start)
            self._current = None
            elapsed = time.perf_counter() - start
            self._seconds[activity] += elapsed
            self._usual[activity] = smoothed(self._usual.get(activity), elapsed)

    def take(self) -> dict[str, float]:
        """Shares since the last call as `time.ACTIVITY`, and what no block claimed as `time.other`."""
        now = time.perf_counter()
        total = max(now - self._since, 1e-9)
        shares = {f"time.{activity}": seconds / total for activity, seconds in self._seconds.items()}
        shares["time.other"] = max(0.0, 1.0 - sum(shares.values()))
        self._seconds.clear()
        self._since = now
        return shares


# --- traffic --------------------------------------------------------------------------------------------------------------------------
# Counters are of one process, and a process that is killed writes nothing more. So each incarnation of a node has files of its own
# (`links.json` the first, `links.2.json` the second, ...; `wire.json` likewise), and a reader adds them up: only what an incarnation sent
# between its last row of metrics and being killed is missing.


def write_links(directory: Path, transport: Transport) -> None:
    """`links.json` of this incarnation: a list of {channel, peer, sent_messages, sent_bytes, received_messages, received_bytes, delay_us};
    and `wire.json`. `OSError` where the disk is full; what was written before stays."""
    rows = [{"channel": channel, "peer": peer, **asdict(link)} for (channel, peer), link in sorted(transport.link_counters.items())]
    _write(directory, _LINKS, transport, rows)
    write_wire(directory, transport)


def link_totals(transport: Transport) -> dict[str, list[int]]:
    """`CHANNEL PEER` (channels of agents and the environment) -> bytes sent, messages received and missing, and the sum of their delays
    in microseconds, since this incarnation began."""
    return {
        f"{channel} {peer}": [link.sent_bytes, link.received_messages, transport.guard.missing[channel, peer], link.delay_us]
        for (channel, peer), link in sorted(transport.link_counters.items())
        if channel in ("peer", "env")
    }


def write_wire(directory: Path, transport: Transport) -> None:
    """`wire.json` of this incarnation: counters of messages: `rx.bad.CODE`, `rx.stale`, `rx.dup`, `rx.quarantined`,
    `tx...`."""
    _write(directory, _WIRE, transport, dict(sorted(transport.counters.items())))


def read_links(directory: Path) -> list[dict[str, Any]]:
    """The rows of a node's directory, added up over its incarnations; files that are not whole are left out."""
    total: dict[tuple[str, str], Counter[str]] = {}
    for rows in _read(directory, _LINKS):
        for row in rows if isinstance(rows, list) else []:
            if isinstance(row, dict):
                _add(total.setdefault((str(row.get("channel")), str(row.get("peer"))), Counter()), row)
    return [{**dict(zip(_OF_A_LINK, link, strict=True)), **counts} for link, counts in sorted(total.items())]


def read_wire(directory: Path) -> dict[str, int]:
    """The counters of a node's directory, added up over its incarnations; files that are not whole are left out."""
    total: Counter[str] = Counter()
    for counters in _read(directory, _WIRE):
        _add(total, counters if isinstance(counters, dict) else {})
    return dict(sorted(total.items()))


def _add(total: Counter[str], counts: dict[str, Any]) -> None:
    for name, count in counts.items():
        if name not in _OF_A_LINK and isinstance(count, int):
            total[name] += count


def _write(directory: Path, kind: str, transport: Transport, content: object) -> None:
    """Written completely or not, without forcing it to the disk: it is written every few seconds."""
    incarnation = transport.identity.incarnation
    path = directory / (f"{kind}.json" if incarnation == 1 else f"{kind}.{incarnation}.json")
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        disk.write(file, (json.dumps(content, indent=1) + "\n").encode())
    temporary.replace(path)


def _read(directory: Path, kind: str) -> Iterator[Any]:
    for path in sorted([*directory.glob(f"{kind}.json"), *directory.glob(f"{kind}.*.json")]):
        try:
            yield json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
