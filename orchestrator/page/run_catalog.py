"""Which runs the page can show: those of a folder of runs, of an experiment, and single run directories."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from orchestrator.page.followed_run import FollowedRun
from orchestrator.results import run_directories as runs
from protocols.runtime.errors import UsageError

_KEPT = 16
"""runs whose history is kept in memory"""


class RunCatalog:
    """The runs in some folders, newest first. A run is opened when it is first asked for; the least recently used ones are closed."""

    def __init__(self, folders: list[tuple[Path, str | None]], single: list[Path]) -> None:
        """`folders`: a folder of runs, and the name of the experiment that it belongs to; `single`: run directories beside them."""
        self._folders = folders
        self._single = single
        self._open: dict[str, FollowedRun] = {}
        self._lock = threading.Lock()

    def listed(self) -> list[tuple[runs.Run, str | None]]:
        """All runs with the name of their experiment, newest first, each name once."""
        found: dict[str, tuple[runs.Run, str | None]] = {}
        for directory in self._single:
            if runs.is_run(directory):
                found[directory.name] = (runs.read(directory), None)
        for folder, experiment in self._folders:
            for run in runs.all_runs(folder):
                found.setdefault(run.name, (run, experiment))
        return sorted(found.values(), key=lambda one: -(one[0].started.timestamp() if one[0].started else 0.0))

    def rows(self) -> list[dict[str, Any]]:
        """The runs as `/api/runs` lists them."""
        return [
            {
                "id": run.name,
                "name": run.name,
                "state": run.state,
                "started": run.record.get("started"),
                "live": run.alive,
                "experiment": experiment,
            }
            for run, experiment in self.listed()
        ]

    def directory(self, name: str) -> Path:
        """Directory of the run of that name; `UsageError` for an unknown name."""
        if "/" not in name and name not in ("", ".", ".."):
            candidates = [one for one in self._single if one.name == name] + [folder / name for folder, _ in self._folders]
            for directory in candidates:
                if directory.is_dir() and runs.is_run(directory):
                    return directory
        raise UsageError(f'there is no run "{name}" here; /api/runs lists all runs')

    def experiment(self, name: str) -> tuple[str, Path] | None:
        """Name and directory of the experiment that a run belongs to, if it belongs to one."""
        folder = self.directory(name).parent
        return next(((experiment, one.parent) for one, experiment in self._folders if experiment is not None and one == folder), None)

    def get(self, name: str) -> FollowedRun:
        """The run of that name, opened."""
        directory = self.directory(name)
        with self._lock:
            found = self._open.pop(name, None) or FollowedRun(directory)
            self._open[name] = found
            idle = [one for one, run in self._open.items() if not run.following and one != name]
            closed = [self._open.pop(one) for one in idle[: max(0, len(self._open) - _KEPT)]]
        for run in closed:
            run.close()
        return found

    def opened(self) -> list[FollowedRun]:
        """The runs that are open."""
        with self._lock:
            return list(self._open.values())

    def close(self) -> None:
        """Close all runs."""
        for run in self.opened():
            run.close()
