"""Removing runs that are over: which of them, how much room they take, and the removal itself.

What is removed is certainly the directory of a run that has ended: not a link, with the files that every ended run has, in a final state,
led by nobody (its lock is taken while it is removed), and without any process. A removal that is cut short leaves the files by which the
run is known until the last, so that it can be finished.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from orchestrator.results.run_directories import FINAL, Run, lock_held, read, read_json
from protocols.runtime.errors import ResourceError

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
    from orchestrator.launch.leftover_processes import remains
    from orchestrator.results.run_files import RunLock

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
