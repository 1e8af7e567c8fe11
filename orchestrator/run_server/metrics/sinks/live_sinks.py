"""What sinks are, and how those that take rows while the run goes on are driven: each by a thread of its own, behind a bounded queue.

A sink never delays the run. When its queue is full the newest rows are dropped, and the nodes' own files still have them. A sink that
raises is switched off; the first exception is kept as the reason.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from orchestrator.run_server.metrics.sinks.settings import ROOM, SinkSettings
from protocols.runtime.component_registry import create

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


@dataclass(frozen=True)
class SinkContext:
    """The run that a sink writes about; every sink is made of its settings and this."""

    directory: Path
    """run directory; its name is that of the run"""
    configuration: Mapping[str, Any]
    """the resolved configuration as plain values"""
    started: float
    """when the run began, its first segment if it was resumed, in seconds since 1970"""

    @property
    def virtual(self) -> bool:
        """Whether metrics of learning have virtual times, in seconds from 0 (`clock: logical`)."""
        return self.configuration.get("clock") == "logical"


class LiveSink(Protocol):
    """A sink that takes rows while the run goes on. It is made, fed and closed in one thread, not the main one."""

    def write(self, row: MetricRow) -> None:
        """Take the next row; rows of one node come in order of time."""
        ...

    def close(self) -> None:
        """Write what is not yet on disk. No row follows."""
        ...


class TableSink(Protocol):
    """A sink that is written once, when the nodes' files are complete."""

    def export(self) -> None:
        """Write the table into the run directory; an existing one is replaced."""
        ...


class SinkThread:
    """Feeds one live sink. The sink is made at the first row: what it starts then belongs to this segment of the run."""

    def __init__(self, settings: SinkSettings, context: SinkContext) -> None:
        self.name = settings.kind
        self.failure: str | None = None
        """why it was switched off"""
        self.dropped = 0
        """rows that found the queue full"""
        self._settings = settings
        self._context = context
        self._rows: queue.Queue[MetricRow | None] = queue.Queue(_QUEUE)
        self._thread: threading.Thread | None = None

    def write(self, row: MetricRow) -> None:
        """Take a row, or drop it when the queue is full."""
        if self.failure is not None:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=f"sink {self.name}", daemon=True)
            self._thread.start()
        try:
            self._rows.put_nowait(row)
        except queue.Full:
            self.dropped += 1

    def close(self) -> None:
        """Wait until the sink has written what is in the queue, for at most ten seconds; then it counts as failed."""
        if self._thread is None or self.failure is not None:
            return
        try:
            self._rows.put(None, timeout=1.0)
        except queue.Full:
            return
        self._thread.join(_CLOSE_WAIT)
        if self._thread.is_alive():
            self.failure = f"it was not done {_CLOSE_WAIT:g} s after the end of the run"

    def _run(self) -> None:
        try:
            sink: LiveSink = create(ROOM, self._settings)(self._settings, self._context)
            while (row := self._rows.get()) is not None:
                sink.write(row)
            sink.close()
        except Exception as error:
            logger.exception("the sink %s failed", self.name)
            self.failure = f"{type(error).__name__}: {error}"


def live_sinks(sinks: Sequence[SinkSettings], context: SinkContext) -> list[SinkThread]:
    """Threads for those of the configured sinks that take rows while the run goes on."""
    return [SinkThread(settings, context) for settings in sinks if "live" in settings.capabilities]


def export_tables(sinks: Sequence[SinkSettings], context: SinkContext) -> dict[str, str]:
    """Write every configured table; kind -> why it could not be written, of those that failed."""
    failures = {}
    for settings in sinks:
        if "table" in settings.capabilities:
            try:
                table: TableSink = create(ROOM, settings)(settings, context)
                table.export()
            except Exception as error:
                logger.exception("the sink %s failed", settings.kind)
                failures[settings.kind] = f"{type(error).__name__}: {error}"
    return failures
