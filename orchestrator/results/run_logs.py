"""Logs of a run: every process's file read as records, merged by time, and followed while they grow."""

from __future__ import annotations

import fnmatch
import heapq
import io
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from orchestrator.results import run_directories
from orchestrator.results.run_files import last_lines, read_lines
from protocols.runtime.logs import LogLine, parse

Keep = Callable[["LogEntry"], bool]

_BLOCK = 64 * 1024
_EPOCH = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True)
class LogEntry:
    """One log record of one process."""

    source: str
    line: LogLine

    @property
    def time(self) -> datetime:
        """When it was written (UTC)."""
        return self.line.time


def sources(directory: Path, nodes: Iterable[str] = ()) -> dict[str, Path]:
    """Log files of a run by the process that writes them: `server`, the hosts, the nodes; only those that match a name or glob."""
    found = {"server": directory / "server.log"}
    found |= {path.stem: path for path in sorted(directory.glob("hosts/*.log"))}
    found |= {path.parent.name: path for path in sorted(directory.glob("nodes/*/log.txt"))}
    wanted = list(nodes)
    return {
        name: path for name, path in found.items() if path.is_file() and (not wanted or any(fnmatch.fnmatchcase(name, w) for w in wanted))
    }


class _Assembler:
    """Puts lines together to records: lines without a time go with the record before them."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._open: LogLine | None = None

    def feed(self, lines: Iterable[str]) -> list[LogEntry]:
        """Records that are complete, because another has begun."""
        done = []
        for line in lines:
            line = line.rstrip("\r\n")
            if (begun := parse(line)) is not None:
                done += self.flush()
                self._open = begun
            elif self._open is not None:
                self._open = replace(self._open, text=f"{self._open.text}\n{line}")
            elif line.strip():
                self._open = LogLine(_EPOCH, "INFO", "-", line)
        return done

    def flush(self) -> list[LogEntry]:
        """The record under way, taken as complete."""
        done = [LogEntry(self._source, self._open)] if self._open is not None else []
        self._open = None
        return done


def read_last(source: str, path: Path, count: int, keep: Keep = lambda record: True) -> list[LogEntry]:
    """The newest `count` records of a file that `keep` accepts, oldest first; the file is read from its end, in growing blocks."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, io.SEEK_END)
            block = _BLOCK
            while True:
                start = max(0, size - block)
                file.seek(start)
                text = file.read(size - start)
                if start:  # the first line may be torn
                    text = text.partition(b"\n")[2]
                records = [record for record in _records(source, text) if start == 0 or record.time > _EPOCH]
                kept = [record for record in records if keep(record)]
                if len(kept) >= count or start == 0:
                    return kept[len(kept) - min(count, len(kept)) :]
                block *= 4
    except OSError:
        return []


def _records(source: str, text: bytes) -> list[LogEntry]:
    assembler = _Assembler(source)
    return assembler.feed(text.decode("utf-8", "replace").splitlines()) + assembler.flush()


def merge(files: dict[str, Path], count: int | None = None, keep: Keep = lambda record: True) -> list[LogEntry]:
    """Records of all files in order of time; with `count` only the newest."""
    wanted = count if count is not None else 2**62
    streams = [read_last(source, path, wanted, keep) for source, path in files.items()]
    merged = list(heapq.merge(*streams, key=lambda record: record.time))
    return merged[len(merged) - min(wanted, len(merged)) :]


class Tail:
    """The growing end of one file. Survives its renaming (rotation) and its truncation."""

    def __init__(self, source: str, path: Path, from_start: bool = False) -> None:
        self.path = path
        self._file: BinaryIO | None = None
        self._assembler = _Assembler(source)
        self._rest = b""
        self._from_start = from_start
        self._open()

    def _open(self) -> None:
        try:
            file = self.path.open("rb")
        except OSError:
            self._from_start = True  # what will appear here is new
            return
        self._file = file
        if not self._from_start:
            file.seek(0, io.SEEK_END)
        self._from_start = True

    def poll(self) -> list[LogEntry]:
        """Records written since the last call. The newest is given out when nothing more came: its last line may have continuations."""
        lines = self._read()
        try:
            there = self.path.stat()
        except OSError:
            there = None
        if self._file is not None and there is not None:
            here = os.fstat(self._file.fileno())
            if (here.st_ino, here.st_dev) != (there.st_ino, there.st_dev):
                lines += self._read()  # what came between the last read and the renaming
                self.close()
        if self._file is None and there is not None:
            self._open()
            lines += self._read()
        if lines:
            return self._assembler.feed(lines)
        return self._assembler.flush()

    def _read(self) -> list[str]:
        if self._file is None:
            return []
        if os.fstat(self._file.fileno()).st_size < self._file.tell():
            self._file.seek(0)
            self._rest = b""
        data = self._rest + self._file.read()
        whole, newline, self._rest = data.rpartition(b"\n")
        return (whole + newline).decode("utf-8", "replace").split("\n")[:-1] if newline else []

    def close(self) -> None:
        """Close the file and drop an incomplete line."""
        if self._file is not None:
            self._file.close()
        self._file = None
        self._rest = b""


class Follower:
    """All logs of a run as they grow; files that appear later are followed from their beginning."""

    def __init__(self, directory: Path, nodes: Iterable[str] = (), keep: Keep = lambda record: True) -> None:
        self._directory = directory
        self._nodes = list(nodes)
        self._keep = keep
        self._tails = {source: Tail(source, path) for source, path in sources(directory, self._nodes).items()}

    def poll(self) -> Iterator[LogEntry]:
        """New records of all files in order of time."""
        for source, path in sources(self._directory, self._nodes).items():
            if source not in self._tails:
                self._tails[source] = Tail(source, path, from_start=True)
        new = [record for tail in self._tails.values() for record in tail.poll() if self._keep(record)]
        return iter(sorted(new, key=lambda record: record.time))

    def drain(self) -> Iterator[LogEntry]:
        """What is left when the writers have ended."""
        return iter(sorted([*self.poll(), *self.poll()], key=lambda record: record.time))

    def close(self) -> None:
        """Close all files."""
        for tail in self._tails.values():
            tail.close()


def failure_tail(directory: Path, lines: int = 12) -> str:
    """Where a run failed: the last log lines of the node that its reason or its first error event names, or of the run server."""
    sources = {path.parent.name: path for path in directory.glob("nodes/*/log.txt")}
    errors = (str(event.get("node")) for event in read_lines(directory / "events.jsonl") if event.get("severity") == "error")
    culprit = next((node for node in errors if node in sources), "")
    reason = run_directories.read(directory).reason
    named = next((node for node in sorted(sources, reverse=True) if node in reason), culprit)
    return log_end(sources.get(named, directory / "server.log"), lines)


def log_end(path: Path, lines: int = 12) -> str:
    """The last lines of a log under a heading that names it; empty where it has no lines."""
    text = last_lines(path, lines)
    return "\n".join([f"the end of {path}:", *(f"  {line}" for line in text)]) if text else ""
