"""The files of a run directory that the run server writes: state, lock, control address, events, incarnations, processes.

A file that is replaced is whole or absent (temporary file beside it, then an atomic rename); a file that grows gets one `write` per
line, and its readers cut at the last newline. See `docs/reference/run_directory.md` for the list.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from protocols.runtime.clock import unix_time
from protocols.runtime.errors import ConfigurationError, ResourceError
from protocols.runtime.logs import parse

logger = logging.getLogger(__name__)

KEYS = ".keys"
"""directory of a run with secret keys: mode 0700, removed at the end"""
CLIENT_KEYS = "client.json"
"""in it, the pair of command lines"""
KEPT_EVENTS = 1000
"""newest events that a client that comes late can still ask for"""
_LONG_LINE = 8192
"""bytes that are read for each line at the end of a log"""


def utc_now() -> str:
    """The time in UTC, ISO 8601 with milliseconds."""
    return datetime.fromtimestamp(unix_time(), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def write_json(path: Path, value: Any, private: bool = False) -> None:
    """Replace a file by `value` as JSON; `private` files can be read by their owner only, from their first byte on."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600 if private else 0o644)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(value, file, indent=1)
            file.write("\n")
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty when the file is absent or not (yet) a whole object."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Objects of a file of JSON lines, up to its last newline; lines that are no JSON object are left out. Absent files are empty."""
    with suppress(FileNotFoundError), path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                return
            with suppress(ValueError):
                value = json.loads(line)
                if isinstance(value, dict):
                    yield value


def last_lines(path: Path, count: int) -> list[str]:
    """The newest lines of a log; none where it can't be read."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - count * _LONG_LINE))
            return file.read().decode("utf-8", "replace").splitlines()[-count:]
    except OSError:
        return []


def append_line(path: Path, value: dict[str, Any], durable: bool = False) -> None:
    """Append one line with one `write`; a torn line of a killed writer is closed first. `durable` waits until the disk has it."""
    line = json.dumps(value, separators=(",", ":")).encode() + b"\n"
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            line = b"\n" + line
        os.write(descriptor, line)
        if durable:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


class RunLock:
    """The exclusive lock on `run.lock` that a living run server holds."""

    def __init__(self, directory: Path, timeout: float = 1.0) -> None:
        """Take it. Readers hold it shared for an instant, hence the `timeout`; `ResourceError` when another run server has it."""
        self._descriptor = os.open(directory / "run.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        deadline = time.monotonic() + timeout
        while True:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    os.close(self._descriptor)
                    raise ResourceError(f"another run server leads {directory}; stop it first: orchestrate down {directory.name}") from None
                time.sleep(0.02)

    def release(self) -> None:
        """Release the lock; further calls do nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class RunFiles:
    """The run directory as the run server writes it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.resolve()
        self.state = read_json(self.directory / "run.json")

    @property
    def control(self) -> Path:
        """`control.json`: endpoint, telemetry endpoint, run and token."""
        return self.directory / "control.json"

    @property
    def keys(self) -> Path:
        """`.keys/`: the pair of command lines, while the run is led and its connections are encrypted."""
        return self.directory / KEYS

    def configuration_json(self) -> bytes:
        """The resolved configuration; `ConfigurationError` when it is missing."""
        try:
            return (self.directory / "config.json").read_bytes()
        except OSError as error:
            raise ConfigurationError(f"{self.directory} is no run directory: config.json can't be read ({error.strerror})") from None

    def update(self, **fields: Any) -> None:
        """Set fields of `run.json`."""
        self.state.update(fields)
        write_json(self.directory / "run.json", self.state)

    def node(self, name: str) -> Path:
        """The directory of a node, made if it is absent."""
        path = self.directory / "nodes" / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def next_incarnation(self, name: str) -> int:
        """One more than any incarnation of that node so far; on disk before it is returned."""
        path = self.node(name) / "incarnations.jsonl"
        known = [line["incarnation"] for line in read_lines(path) if isinstance(line.get("incarnation"), int)]
        incarnation = max(known, default=0) + 1
        append_line(path, {"incarnation": incarnation, "t": utc_now()}, durable=True)
        return incarnation

    def log_tail(self, name: str, lines: int = 12) -> str:
        """The last lines of a node's log, for the reason of a failure."""
        return "\n".join(last_lines(self.directory / "nodes" / name / "log.txt", lines))

    def last_words(self, name: str) -> str:
        """The last line that a node wrote, without time and logger: after a crash, the exception."""
        tail = self.log_tail(name, 1)
        record = parse(tail)
        return (tail if record is None else record.text).strip()[:300]


class EventLog:
    """`events.jsonl`, and the newest events in memory for the snapshot. Numbers (`id`) go on over the segments of a resumed run."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "events.jsonl"
        self._newest: deque[dict[str, Any]] = deque(maxlen=KEPT_EVENTS)
        self.last_id = max((line["id"] for line in read_lines(self._path) if isinstance(line.get("id"), int)), default=0)

    def record(self, severity: str, code: str, text: str, node: str = "run", **fields: Any) -> dict[str, Any]:
        """Append an event and return it."""
        self.last_id += 1
        event = {"id": self.last_id, "t": utc_now(), "severity": severity, "code": code, "node": node, "text": text, **fields}
        try:
            append_line(self._path, event)
        except OSError as error:
            # A full disk must not end the run: the event is in the server's log and in the snapshot.
            logger.error("events.jsonl can't be written: %s", error.strerror)
        self._newest.append(event)
        return event

    def after(self, event_id: int) -> list[dict[str, Any]]:
        """Events with a larger number, oldest first, at most the `KEPT_EVENTS` newest."""
        return [event for event in self._newest if event["id"] > event_id]
