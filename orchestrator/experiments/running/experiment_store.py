"""Which cells an experiment has and what has become of each: `experiment.sqlite` in the experiment's directory.

A process that is killed at any instruction leaves a state from which the next one continues: every change is one transaction (SQLite with a
write-ahead log), a cell's directory is entered before it is made, and a cell is DONE only when its `summary.json` is in place. Cells stay
permanently; the *plan* lists those of which the experiment consists now, so that a file to which seeds were added, or code that has
changed, neither loses nor mixes anything.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from protocols.runtime.errors import ResourceError, SchemaError, UsageError

FILE = "experiment.sqlite"
LOCK = "experiment.lock"
_VERSION = 1
_BUSY = 10.0
"""seconds that a reader or writer waits for another"""

State = Literal["WAITING", "RUNNING", "DONE", "FAILED"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS cells (
    identity TEXT PRIMARY KEY, code TEXT NOT NULL, state TEXT NOT NULL, directory TEXT, attempts INTEGER NOT NULL DEFAULT 0,
    failures INTEGER NOT NULL DEFAULT 0, seconds REAL, cpu_seconds REAL, memory INTEGER, failure TEXT NOT NULL DEFAULT ''
);
CREATE TABLE IF NOT EXISTS plan (
    position INTEGER PRIMARY KEY, identity TEXT NOT NULL, factors TEXT NOT NULL, seed INTEGER NOT NULL, command TEXT NOT NULL
);
"""


@dataclass(frozen=True)
class CellRecord:
    """A cell as it is stored. `directory` is relative to the experiment's; `failures` are attempts that failed."""

    identity: str
    code: str
    state: State = "WAITING"
    directory: str | None = None
    attempts: int = 0
    failures: int = 0
    seconds: float | None = None
    cpu_seconds: float | None = None
    memory: int | None = None
    failure: str = ""


@dataclass(frozen=True)
class PlannedCell:
    """A cell of the experiment as it is now."""

    identity: str
    factors: Mapping[str, str]
    seed: int
    command: str


class Lock:
    """Held by the process that drives the experiment. The system lets go of it when that process ends, however it ends."""

    def __init__(self, directory: Path) -> None:
        """`ResourceError` where another process has it."""
        self._descriptor = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(self._descriptor)
            who = f" (process {holder})" if holder else ""
            raise ResourceError(f"another process{who} works on {directory}; wait for it, or interrupt it with Ctrl-C") from None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, str(os.getpid()).encode(), 0)

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


class Store:
    """The SQLite file of one experiment: its plan, its cells and facts about the whole. Close it, or use it as a context manager."""

    def __init__(self, directory: Path, create: bool = False) -> None:
        """`UsageError` when there is no experiment in `directory` (unless it is to be made), `SchemaError` for one of another version."""
        path = directory / FILE
        if not create and not path.is_file():
            raise UsageError(f"there is no experiment in {directory}; make one with: orchestrate experiment FILE")
        self.directory = directory
        try:
            self._sql = sqlite3.connect(path, timeout=_BUSY, isolation_level=None)
            if create:
                self._sql.execute("PRAGMA journal_mode=WAL")
                self._sql.executescript(_SCHEMA)
            self._sql.execute("PRAGMA synchronous=FULL")
            version = self.meta("version")
        except sqlite3.Error as error:
            raise ResourceError(f"{path} can't be used: {error}; it belongs to no experiment, or is damaged") from None
        if version is None and create:
            self.set_meta(version=_VERSION)
        elif version != _VERSION:
            self.close()
            raise SchemaError(
                f"{path} has the version {version}, and this program reads {_VERSION}; make the experiment under another name"
            )

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._sql.close()

    def meta(self, key: str) -> Any:
        """A fact of the whole experiment (a JSON value) by its key; None where it was never set."""
        row = self._sql.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return json.loads(row[0]) if row is not None else None

    def set_meta(self, **facts: Any) -> None:
        """Set facts of the whole experiment."""
        rows = [(key, json.dumps(value)) for key, value in facts.items()]
        self._sql.execute("BEGIN IMMEDIATE")
        self._sql.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", rows)
        self._sql.execute("COMMIT")

    def plan(self) -> list[PlannedCell]:
        """The cells that the experiment consists of, in order."""
        rows = self._sql.execute("SELECT identity, factors, seed, command FROM plan ORDER BY position")
        return [PlannedCell(identity, json.loads(factors), seed, command) for identity, factors, seed, command in rows]

    def set_plan(self, cells: Sequence[tuple[PlannedCell, str]], **facts: Any) -> None:
        """From now on the experiment consists of these cells, each with its code version; those that are new are WAITING. `facts` change
        in the same transaction."""
        rows = [(key, json.dumps(value)) for key, value in facts.items()]
        self._sql.execute("BEGIN IMMEDIATE")
        self._sql.execute("DELETE FROM plan")
        self._sql.executemany(
            "INSERT INTO plan (identity, factors, seed, command) VALUES (?, ?, ?, ?)",
            [(one.identity, json.dumps(dict(one.factors)), one.seed, one.command) for one, _ in cells],
        )
        self._sql.executemany(
            "INSERT OR IGNORE INTO cells (identity, code, state) VALUES (?, ?, 'WAITING')", [(one.identity, code) for one, code in cells]
        )
        self._sql.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", rows)
        self._sql.execute("COMMIT")

    def records(self) -> dict[str, CellRecord]:
        """All cells that were ever planned, by identity."""
        names = ", ".join(CellRecord.__dataclass_fields__)
        return {row[0]: CellRecord(*row) for row in self._sql.execute(f"SELECT {names} FROM cells")}

    def record(self, identity: str) -> CellRecord:
        """The record of one cell; `KeyError` for a cell that was never planned."""
        return self.records()[identity]

    def update(self, identity: str, **fields: Any) -> None:
        """Change a cell, in one transaction. What is DONE stays as it is."""
        changes = ", ".join(f"{name} = ?" for name in fields)
        self._sql.execute(f"UPDATE cells SET {changes} WHERE identity = ? AND state != 'DONE'", (*fields.values(), identity))

    def forget_failures(self, identities: Iterable[str]) -> None:
        """Cells that have failed wait again, with all their attempts before them."""
        again = "state = 'WAITING', failures = 0, directory = NULL"
        self._sql.executemany(f"UPDATE cells SET {again} WHERE identity = ? AND state = 'FAILED'", [(one,) for one in identities])

    def forget_done(self, identity: str) -> None:
        """A cell whose run directory is gone was for nothing, and waits again."""
        self._sql.execute("UPDATE cells SET state = 'WAITING', directory = NULL WHERE identity = ? AND state = 'DONE'", (identity,))
