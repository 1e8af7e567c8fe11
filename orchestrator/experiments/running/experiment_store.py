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
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from protocols.runtime.errors import ResourceError, SchemaError, UsageError

if TYPE_CHECKING:
    from orchestrator.experiments.design.experiment_cell import Cell
    from orchestrator.experiments.design.experiment_reader import ExperimentFile

FILE = "experiment.sqlite"
ORIGIN = "experiment.origin.yaml"
"""the file as given, in the experiment's directory"""
SUMMARY = "summary.json"
"""in the directory of a cell that has come to its end"""
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


@dataclass(frozen=True)
class CellStatus:
    """A cell of the plan, and its record in the store."""

    cell: Cell
    identity: str
    code: str
    record: CellRecord


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

    def begin_anew(self, records: Iterable[CellRecord]) -> None:
        """These cells wait again, whatever they were: those that have failed, and those whose run directory is gone."""
        rows = [(record.failures, record.identity) for record in records]
        self._sql.executemany("UPDATE cells SET state = 'WAITING', failures = ?, directory = NULL WHERE identity = ?", rows)


# --- which cells of the store an experiment consists of: those of the present code, and of other code where that is accepted ----------


def known(directory: Path) -> dict[str, CellRecord]:
    """What would be known of all cells if the experiment were started now. Nothing where there is no store yet; nothing is written."""
    if not (directory / FILE).is_file():
        return {}
    with Store(directory) as store:
        return _known(store)


def _known(store: Store) -> dict[str, CellRecord]:
    """All records. Finished cells of which nothing is left to measure, since their directories are gone, wait again."""
    found = store.records()
    for identity, record in found.items():
        if record.state == "DONE" and (record.directory is None or not (store.directory / record.directory / SUMMARY).is_file()):
            found[identity] = replace(record, state="WAITING", directory=None)
    return found


def chosen(
    cells: Sequence[Cell], records: Mapping[str, CellRecord], code: str, accepted: Sequence[str] = (), retry_failed: bool = False
) -> list[CellStatus]:
    """Each cell with its record: of this code, or, where it is done with code that is accepted, of that. With `retry_failed` those that
    have failed wait again."""
    codes = {record.code for record in records.values()}
    if wrong := [one for one in accepted if one not in codes]:
        raise UsageError(
            f'--accept-code: no cell was made with "{wrong[0]}"; there are cells of {", ".join(sorted(codes)) or "no code yet"}'
        )
    found = []
    for cell in cells:
        identities = [(cell.identity(one), one) for one in (code, *accepted)]
        done = [pair for pair in identities if pair[0] in records and records[pair[0]].state == "DONE"]
        identity, made_with = (done or identities)[0]
        record = records.get(identity) or CellRecord(identity, made_with)
        if retry_failed and record.state == "FAILED":
            record = replace(record, state="WAITING", failures=0, directory=None)
        found.append(CellStatus(cell, identity, made_with, record))
    return found


def other_codes(cells: Sequence[Cell], records: Mapping[str, CellRecord], playing: Sequence[CellStatus]) -> dict[str, int]:
    """Version of other code -> how many of these cells are done with it, and not done here."""
    codes = {record.code for record in records.values() if record.state == "DONE"}
    missing = [one for one in playing if one.record.state != "DONE"]
    pairs = [(code, records.get(one.cell.identity(code))) for code in codes for one in missing]
    counts = Counter(code for code, record in pairs if record is not None and record.state == "DONE")
    return dict(sorted(counts.items()))


def enter(
    store: Store, read: ExperimentFile, cells: Sequence[Cell], code: str, accepted: Sequence[str], retry_failed: bool
) -> list[CellStatus]:
    """Write the plan into the store; the cells with their records. Finished cells whose directories are gone wait again, and with
    `retry_failed` those that have failed."""
    stored, records = store.records(), _known(store)
    playing = chosen(cells, records, code, accepted, retry_failed)
    records |= {one.identity: one.record for one in playing}
    store.begin_anew(record for identity, record in records.items() if stored.get(identity, record) != record)
    plan = [(PlannedCell(one.identity, one.cell.factors, one.cell.seed, one.cell.command), one.code) for one in playing]
    design = read.design.model_dump(mode="json")
    store.set_plan(plan, design=design, code=code, accepted=list(accepted), small=read.small, file=str(read.path.resolve()))
    (store.directory / ORIGIN).write_text(read.source, encoding="utf-8")
    return playing
