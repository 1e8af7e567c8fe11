"""One cell under way: a run of processes, or a simulation in a process of its own.

A cell runner takes a directory in whatever state a former process left it, and brings the cell to its end. Runs are on the leash of this
process: when it is gone, however it ended, their run servers stop them in order within seconds, with checkpoints. It waits for a run under
way, continues an interrupted one, and begins one that never began. Simulations end with this process, and begin anew.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any, Literal, Protocol

from orchestrator.experiments.design.experiment_cell import Cell
from orchestrator.experiments.design.experiment_design import ExperimentLimits
from orchestrator.experiments.running.experiment_store import SUMMARY
from orchestrator.launch.engine import clean_up
from orchestrator.launch.process_control import MARK, sweep
from orchestrator.results import run_directories as runs
from orchestrator.results.run_files import read_json, write_json
from orchestrator.results.run_logs import failure_tail, log_end
from orchestrator.run_server.resume_request import prepare_resume
from orchestrator.run_server.run_client import RunClient
from orchestrator.run_server.run_start import prepare_run, start_detached
from protocols.runtime.errors import ExitCode, MurmurationError

LEASH = 1.0
"""seconds between two heartbeats to a run server"""
ANSWER = 2.0
GRACE = 30.0
"""seconds from asking a run to end to ending its processes"""
NOW_GRACE = 10.0


@dataclass(frozen=True)
class CellEnd:
    """How a cell's play ended. HELD: it was interrupted, and goes on another time."""

    state: Literal["DONE", "FAILED", "HELD"]
    failure: str = ""
    seconds: float | None = None
    cpu_seconds: float | None = None
    memory: int | None = None


class CellRunner(Protocol):
    """A cell that is running, as a run or a simulation."""

    def poll(self) -> CellEnd | None:
        """Look after it; how it ended, or None while it goes on."""
        ...

    def stop(self, now: bool) -> None:
        """Ask it to end: in order, or at once."""
        ...

    def close(self) -> None:
        """Release processes and files of this object without ending the cell."""
        ...


def player(cell: Cell, directory: Path, code: str, limits: ExperimentLimits) -> CellRunner:
    """Begin to play a cell in `directory`, or go on with it."""
    if cell.simulated is not None:
        return SimulationCellRunner(cell, directory, code, limits.cell_time)
    return RunCellRunner(cell, directory, code, limits)


_PLAYED = ("training", "evaluation")
"""phases of a run in which steps are made"""


class ProgressWatch:
    """Whether a run makes progress: its steps, episodes, phase or episodes of an evaluation change. `progress_timeout`: the longest time in
    seconds without, while it trains or is evaluated; None: any. A run server that does not answer changes nothing."""

    def __init__(self, progress_timeout: float | None) -> None:
        self._timeout = progress_timeout
        self._newest: tuple[object, ...] | None = None
        self._since = 0.0

    def saw(self, snapshot: Mapping[str, Any], now: float) -> None:
        """A snapshot of the run arrived at `now`, in seconds."""
        evaluation = snapshot.get("evaluation") or {}
        newest = (snapshot.get("phase"), snapshot.get("steps"), snapshot.get("episodes"), evaluation.get("done"))
        if newest != self._newest:
            self._newest, self._since = newest, now

    def over(self, now: float) -> bool:
        """Whether it stands still for too long at `now`."""
        watched = self._timeout is not None and self._newest is not None and self._newest[0] in _PLAYED
        return watched and now - self._since > (self._timeout or 0.0)


class RunCellRunner:
    """A cell that is a run."""

    def __init__(self, cell: Cell, directory: Path, code: str, limits: ExperimentLimits) -> None:
        self._cell = cell
        self._directory = directory
        self._code = code
        self._client: RunClient | None = None
        self._asked_at = 0.0
        self._deadline = time.monotonic() + limits.cell_time if limits.cell_time is not None else None
        self._progress, self._timeout = ProgressWatch(limits.progress_timeout), limits.progress_timeout
        self._late = ""
        self._stopping: bool | None = None
        """whether it was requested to stop at once"""
        self._requested = False
        self._kill_at = inf
        self._failure = ""
        self._ours = False
        """whether its run server was started by this process: one that was not may be stopping, since its leash is torn"""
        self._begin()

    def poll(self) -> CellEnd | None:
        """See `CellRunner`."""
        if self._failure:
            return CellEnd("FAILED", self._failure)
        run = runs.read(self._directory)
        if run.over:
            self._let_go()
            return self._ended(run)
        now = time.monotonic()
        if now - self._asked_at >= LEASH:
            self._asked_at = now
            if self._stopping is not None:
                self._request_stop()
            else:
                self._asked(lambda client: self._progress.saw(client.status(leash=True, timeout=ANSWER), time.monotonic()))
        if self._stopping is None and self._progress.over(time.monotonic()):
            self._late = f"it made no progress for {self._timeout:g} s (limits.progress_timeout)"
            self.stop(now=False)
        if self._deadline is not None and now > self._deadline and self._stopping is None:
            self._late = "it took longer than limits.cell_time allows"
            self.stop(now=False)
        if now > self._kill_at:
            self._kill_at = inf
            clean_up(self._directory, run.engine)
        return None

    def stop(self, now: bool) -> None:
        """See `CellRunner`."""
        if self._stopping is True or self._stopping is now:
            return
        self._stopping, self._requested = now, False
        self._kill_at = time.monotonic() + (NOW_GRACE if now else GRACE)
        self._request_stop()

    def close(self) -> None:
        """See `CellRunner`."""
        self._let_go()

    # --- parts ----------------------------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        try:
            self._start()
        except MurmurationError as error:
            self._failure = _with_tail(str(error), self._directory)

    def _start(self) -> None:
        directory = self._directory
        if not (directory / "config.json").is_file():
            # Its directory was made, and its maker was killed before it was complete: nothing has begun.
            shutil.rmtree(directory, ignore_errors=True)
            prepare_run(self._cell.loaded, directory.parent, directory.name, self._cell.command)
        else:
            run = runs.read(directory)
            if run.alive or (run.state == "DONE" and (directory / SUMMARY).is_file()):
                return
            clean_up(directory, run.engine)
            if run.record:
                if run.state not in runs.FINAL:
                    runs.close_lost(run, int(ExitCode.INTERRUPTED), "its run server was gone when its experiment went on")
                prepare_resume(directory, [], None)
        start_detached(directory)
        self._ours = True

    def _asked(self, request: Callable[[RunClient], object]) -> bool:
        """Ask the run server for something; whether it has answered."""
        if not (self._directory / "control.json").is_file():
            return False
        try:
            self._client = self._client or RunClient(self._directory, ANSWER)
            request(self._client)
        except MurmurationError:  # it ends, or is busy: what it comes to is in its files
            self._let_go()
            return False
        return True

    def _request_stop(self) -> None:
        """Request the stop until it is acknowledged; without that the run is killed when its time is over."""
        if not self._requested:
            now, reason = bool(self._stopping), self._late or "stopped with its experiment"
            self._requested = self._asked(lambda client: client.stop(now=now, reason=reason, timeout=ANSWER))

    def _let_go(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def _ended(self, run: runs.Run) -> CellEnd | None:
        if run.state == "LOST":
            clean_up(self._directory, run.engine)
            reason = "its run server was killed"
            run = runs.close_lost(run, int(ExitCode.INTERRUPTED if self._stopping is not None else ExitCode.CRASH), reason)
        summary = read_json(self._directory / SUMMARY)
        facts = _facts(summary)
        if self._late:
            return CellEnd("FAILED", _with_tail(self._late, self._directory), **facts)
        if run.state == "DONE" and run.exit_code in (ExitCode.OK, ExitCode.EXPECTATION_FAILED):
            if wrong := _other_code(run.record.get("code_version"), self._code):
                return CellEnd("FAILED", wrong, **facts)
            if not summary:
                return CellEnd("FAILED", f"it came to its end without {SUMMARY}: {run.reason}", **facts)
            return CellEnd("DONE", **facts)
        if run.state == "STOPPED" or run.exit_code == ExitCode.INTERRUPTED:
            if self._stopping is None and not self._ours:
                self._begin()  # it was on the leash of a process that is gone, and has ended by that: now it goes on
                return CellEnd("FAILED", self._failure) if self._failure else None
            return CellEnd("HELD", "" if self._stopping is not None else f"it was stopped from outside: {run.reason}", **facts)
        return CellEnd("FAILED", _with_tail(run.reason or f"it ended with {run.exit_code}", self._directory), **facts)


class SimulationCellRunner:
    """A cell that is a simulation: a child process that ends with this one."""

    def __init__(self, cell: Cell, directory: Path, code: str, cell_time: float | None) -> None:
        self._directory = directory.resolve()
        self._code = code
        self._began = time.monotonic()
        self._deadline = time.monotonic() + cell_time if cell_time is not None else None
        self._held = False
        self._late = False
        self._process: subprocess.Popen[bytes] | None = None
        if (directory / SUMMARY).is_file():
            return
        sweep(self._directory)
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        settings = cell.simulated.model_dump(mode="json") if cell.simulated is not None else {}
        request = {**settings, "seed": cell.seed}
        (directory / "command.txt").write_text(cell.command + "\n", encoding="utf-8")
        task = {"base": str(cell.loaded.path.resolve()), "overrides": cell.overrides, "request": request, "digest": cell.loaded.digest}
        write_json(directory / runs.SIMULATION, task)
        with (directory / "log.txt").open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "orchestrator.experiments.running.simulated_cell", str(directory), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env={**os.environ, MARK: str(self._directory), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            )

    def poll(self) -> CellEnd | None:
        """See `CellRunner`."""
        if self._process is not None and self._process.poll() is None:
            if self._deadline is not None and time.monotonic() > self._deadline:
                self._late = True
                self._end()
            return None
        summary = read_json(self._directory / SUMMARY)
        if summary:
            # With what it takes to begin: that is how long the next one will be.
            seconds = time.monotonic() - self._began if self._process is not None else summary.get("real")
            wrong = _other_code(summary.get("code_version"), self._code)
            return CellEnd("FAILED" if wrong else "DONE", wrong, seconds, summary.get("cpu_seconds"), summary.get("memory"))
        if self._late:
            return CellEnd("FAILED", "it took longer than limits.cell_time allows")
        if self._held:
            return CellEnd("HELD")
        code = self._process.returncode if self._process is not None else None
        return CellEnd("FAILED", _with_tail(f"the simulation ended with {code}", self._directory))

    def stop(self, now: bool) -> None:
        """See `CellRunner`."""
        self._held = True
        self._end()

    def close(self) -> None:
        """See `CellRunner`."""
        self._end()

    def _end(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            self._process.wait(NOW_GRACE)


def _other_code(made: str | None, code: str) -> str:
    return "" if made == code else f"it was made with the code {made}, and the experiment is of {code}"


def _facts(summary: dict[str, Any]) -> dict[str, Any]:
    """Seconds, processor time and memory (what the nodes had to themselves, added up) of a run."""
    usage = [node.get("usage") or {} for node in (summary.get("nodes") or {}).values()]
    if not usage:
        return {}
    cpu = sum(float(one.get("cpu_seconds") or 0.0) for one in usage) + float(summary.get("server_cpu_seconds") or 0.0)
    memory = sum(int(one.get("proportional") or one.get("peak_resident") or 0) for one in usage)
    return {"seconds": summary.get("wall_seconds"), "cpu_seconds": cpu, "memory": memory or None}


def _with_tail(reason: str, directory: Path) -> str:
    """Why it failed, and the end of the log of what failed."""
    log = directory / "log.txt"
    tail = log_end(log) if log.is_file() else failure_tail(directory)
    return f"{reason}\n{tail}" if tail else reason
