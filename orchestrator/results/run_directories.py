"""Finding runs and their state from their files alone: `run.json` and the lock that a living run server holds."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from orchestrator.results.kept_outcome import ATTEMPT, restore_outcome
from orchestrator.results.run_files import KEYS, RunLock, read_json, utc_now, write_json
from protocols.runtime.errors import ResourceError, UsageError
from protocols.runtime.suggestions import hint

FINAL = frozenset({"DONE", "FAILED", "STOPPED"})
"""states after which nothing of a run is left"""
SIMULATION = "simulation.json"
"""file that marks the directory of a simulated cell of an experiment"""
STARTUP = 10.0
"""seconds in which a new run may be without a run server"""


@dataclass(frozen=True)
class Run:
    """A run as its directory records it. `state` is that of `run.json`, or LOST when a run has not ended and has no run server."""

    directory: Path
    state: str
    alive: bool
    """a run server holds the lock"""
    record: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        """Name of the run: that of its directory."""
        return self.directory.name

    @property
    def over(self) -> bool:
        """The run has ended, or its run server is gone."""
        return not self.alive and self.state != "STARTING"

    @property
    def exit_code(self) -> int | None:
        """Exit code that `run.json` records; None before the end."""
        code = self.record.get("exit_code")
        return code if isinstance(code, int) else None

    @property
    def reason(self) -> str:
        """Why it ended, in words; empty while it runs."""
        return str(self.record.get("reason") or "")

    @property
    def attempt(self) -> dict[str, Any] | None:
        """How the last attempt to extend the run ended (`state`, `exit_code`, `reason`, `ended`), where it did no more than is recorded."""
        found = self.record.get(ATTEMPT)
        return found if isinstance(found, dict) else None

    @property
    def engine(self) -> str:
        """Name of the launch engine."""
        return str(self.record.get("engine") or "local")

    @property
    def started(self) -> datetime | None:
        """When it began (UTC)."""
        return parse_time(self.record.get("started"))

    @property
    def ended(self) -> datetime | None:
        """When it ended (UTC), or None."""
        return parse_time(self.record.get("ended"))

    @property
    def elapsed(self) -> float | None:
        """Seconds from start to end, or to now while it runs; None when that is unknown."""
        if self.started is None or (self.ended is None and not self.alive):
            return None
        return ((self.ended or datetime.now(UTC)) - self.started).total_seconds()


def parse_time(value: Any) -> datetime | None:
    """A time as run files hold it, ISO 8601 or seconds since 1970; None for anything else."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return datetime.fromtimestamp(value, UTC)
    if not isinstance(value, str):
        return None
    try:
        time_ = datetime.fromisoformat(value)
    except ValueError:
        return None
    return time_ if time_.tzinfo else time_.replace(tzinfo=UTC)


def lock_held(directory: Path) -> bool:
    """Whether a run server holds `run.lock`. The lock is asked for in shared mode and given back at once."""
    try:
        descriptor = os.open(directory / "run.lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


def read(directory: Path) -> Run:
    """The run that `directory` records, by its `run.json` and its lock. Missing or incomplete files raise no error: the state is then
    STARTING, or LOST where no run server has held the lock for some time."""
    alive = lock_held(directory)
    record = read_json(directory / "run.json")
    state = str(record.get("state") or "STARTING")
    if not alive and state not in FINAL:
        # The last word is written before the lock is let go: look again before calling a run lost.
        record = read_json(directory / "run.json")
        state = str(record.get("state") or "STARTING")
        if state not in FINAL:
            try:
                age = time.time() - max(p.stat().st_mtime for p in (directory, *directory.glob("run.json")))
            except OSError:
                age = 0.0
            # A run server writes its number with the lock held: one that did and holds it no more is gone, however young the run is.
            young = abs(age) < STARTUP and record.get("pid") is None
            state = "STARTING" if state == "STARTING" and young else "LOST"
    return Run(directory, state, alive, record)


def is_run(directory: Path) -> bool:
    """Whether this is a run directory."""
    return any((directory / name).is_file() for name in ("run.json", "run.lock", "config.json"))


def all_runs(runs_dir: Path) -> list[Run]:
    """Every run in a folder, newest first; none where there is no folder. A `UsageError` when it can't be looked into."""
    try:
        directories = [entry for entry in runs_dir.iterdir() if entry.is_dir() and is_run(entry)]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UsageError(f"{runs_dir}: runs can't be looked for there: {error.strerror}; name their folder with --runs-dir") from None
    return sorted((read(directory) for directory in directories), key=_age)


def _age(run: Run) -> tuple[float, str]:
    if run.started is not None:
        return -run.started.timestamp(), run.name
    try:
        return -run.directory.stat().st_mtime, run.name
    except OSError:
        return 0.0, run.name


def find(runs_dir: Path, which: str | None = None) -> Run:
    """A run by its directory or its name; without either the newest. `UsageError` names what there is instead."""
    if which is None:
        runs = all_runs(runs_dir)
        if not runs:
            raise UsageError(f"there is no run in {runs_dir}/; start one with: orchestrate up configs/4agents_ring.yaml")
        return runs[0]
    # A name goes first: a folder of the same name may lie in the working directory without being a run.
    for directory in (runs_dir / which, Path(which)):
        if directory.is_dir() and is_run(directory):
            return read(directory)
        if (directory / SIMULATION).is_file():
            raise UsageError(f"{directory} is no run, but a simulation's: its summary.json has the outcome, its experiment a report of all")
    cure = hint(which, [run.name for run in all_runs(runs_dir)], "orchestrate ps -a lists all runs")
    raise UsageError(f'there is no run "{which}" in {runs_dir}/; {cure}')


def close_lost(run: Run, exit_code: int, reason: str) -> Run:
    """Write the end of a run whose run server is gone and could not, and remove its secret; nothing of the run may live any more.

    A reason that the run server itself left behind stays. A run that was done, and was killed before it did more, is done as before.
    """
    from protocols.runtime.key_pairs import remove_keys

    end = {"state": "STOPPED" if exit_code == 130 else "FAILED", "exit_code": exit_code, "reason": run.reason or reason, "ended": utc_now()}
    if not restore_outcome(run.directory, end):
        write_json(run.directory / "run.json", {"name": run.name, **run.record, **end})
    (run.directory / "control.json").unlink(missing_ok=True)
    remove_keys(run.directory / KEYS)
    return read(run.directory)


_LAST = ("config.json", "run.lock", "run.json")
"""by which a directory is known as that of a run: removed last, in this order"""


@dataclass(frozen=True)
class Candidate:
    """A run that may be removed, and the bytes that it takes on the disk."""

    run: Run
    size: int


def finished(run: Run) -> bool:
    """Whether this is the directory of a run that has ended in order, and nothing else."""
    directory = run.directory
    if directory.is_symlink() or not all((directory / name).is_file() for name in ("run.json", "config.json")):
        return False
    record = read_json(directory / "run.json")
    return not run.alive and run.state in FINAL and record.get("state") in FINAL and record.get("name") == directory.name


def chosen(run: Run, states: Iterable[str], older: float, now: datetime | None = None) -> bool:
    """Whether a finished run is meant: its state is one of these (none: all), and it ended at least `older` seconds ago."""
    states = tuple(states)
    if states and run.state not in states:
        return False
    end = run.ended or run.started or datetime.fromtimestamp(run.directory.stat().st_mtime, UTC)
    return ((now or datetime.now(UTC)) - end).total_seconds() >= older


def size_of(directory: Path) -> int:
    """Bytes that the files below a directory take; links count for themselves."""
    total = 0
    for folder, _, files in os.walk(directory):
        for name in files:
            try:
                total += (Path(folder) / name).lstat().st_size
            except OSError:
                continue
    return total


def remove(run: Run) -> None:
    """Remove the directory of a finished run. `ResourceError` where it goes on meanwhile, has processes, or can't be removed."""
    from orchestrator.launch.process_control import remains

    directory = run.directory
    if lock_held(directory) or not finished(read(directory)):
        raise ResourceError(f"{run.name} goes on, and is kept")
    lock = RunLock(directory, timeout=0.2)
    try:
        if processes := remains(directory):
            raise ResourceError(f"{run.name} still has {len(processes)} processes, and is kept; end them: orchestrate down {run.name}")
        for entry in sorted(directory.iterdir()):
            if entry.name in _LAST:
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
        for name in _LAST:
            (directory / name).unlink(missing_ok=True)
        directory.rmdir()
    except OSError as error:
        raise ResourceError(
            f"{directory} could not be removed whole: {error.strerror} ({error.filename}); see who may write there"
        ) from None
    finally:
        lock.release()
