"""What was done to a process, written by itself before it is done: `faults.jsonl` in the directory of each node, and of the run server.

One line per fault that begins or ends:

    {"t", "what": "begin" | "end", "id", "kind", "node", "incarnation", "time", "step", "episode", "round", ...}

`t` is Unix time, under the logical clock virtual time.

A line is written with one `write` before the fault is executed, so that the log of a node that kills itself is complete, and its next
incarnation does not repeat the fault.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from protocols.runtime.clock import unix_time

FILE = "faults.jsonl"


class FaultLog:
    """Appends to the log of one node; `begun` are the ids that any of its incarnations has begun."""

    def __init__(self, directory: Path, node: str, incarnation: int, stamp: Callable[[], float] = unix_time) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._path = directory / FILE
        self._node = node
        self._incarnation = incarnation
        self._stamp = stamp
        with contextlib.suppress(OSError), self._path.open("r+b") as file:
            file.seek(0, os.SEEK_END)
            if file.tell() and os.pread(file.fileno(), 1, file.tell() - 1) != b"\n":
                file.write(b"\n")  # the last line of an incarnation that died in it
        self.begun: set[str] = set()
        self.unfinished: dict[str, dict[str, Any]] = {}
        """the line with which each fault began that has not ended yet, when this log was opened"""
        for line in read(self._path):
            if line.get("what") == "begin":
                self.begun.add(str(line.get("id")))
                self.unfinished[str(line.get("id"))] = line
            elif line.get("what") == "end":
                self.unfinished.pop(str(line.get("id")), None)

    def write(self, what: str, fault: str, kind: str, **fields: Any) -> dict[str, Any]:
        """Append a line and return it. A full disk is no reason not to carry out the fault: the line is lost then."""
        line = {"t": self._stamp(), "what": what, "id": fault, "kind": kind, "node": self._node, "incarnation": self._incarnation, **fields}
        if what == "begin":
            self.begun.add(fault)
        with contextlib.suppress(OSError), self._path.open("ab", buffering=0) as file:
            file.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")
        return line


def read(path: Path, offset: int = 0) -> list[dict[str, Any]]:
    """Whole lines of a fault log from byte `offset` on; none where there is no file. Each has, under the key `_end`, the byte after it."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            content = file.read()
    except OSError:
        return []
    lines = []
    for raw in content.splitlines(keepends=True):
        if not raw.endswith(b"\n"):
            break
        offset += len(raw)
        try:
            line = json.loads(raw)
        except ValueError:
            continue
        if isinstance(line, dict):
            lines.append({**line, "_end": offset})
    return lines
