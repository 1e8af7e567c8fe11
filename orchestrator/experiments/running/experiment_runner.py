"""Drives an experiment: starts cells by the schedule, looks after them, writes what has become of each, and stops in order.

What happens when this process is killed: the run servers of cells that were playing notice that their leash is torn, and stop within
seconds, with checkpoints; simulations end with it. The next process finds in the store which cells were playing, waits for run servers that
still live, ends whatever else is left of them, and goes on: finished cells are taken as they are, interrupted ones resumed.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import psutil

from orchestrator.experiments.design.cell_generation import slug
from orchestrator.experiments.design.experiment_design import ExperimentLimits
from orchestrator.experiments.running.cell_runners import CellEnd, CellRunner, player
from orchestrator.experiments.running.cell_schedule import Capacity, CellSchedule, CellTask
from orchestrator.experiments.running.experiment_store import CellStatus, Store
from orchestrator.launch.engine import clean_up
from orchestrator.launch.process_control import available_cores
from orchestrator.results import run_directories as runs
from orchestrator.results.software_versions import code_version
from orchestrator.terminal.interrupts import Interrupts
from protocols.runtime.errors import ExitCode

POLL = 0.2
_SHARE = 0.9
"""of the free memory, for cells"""
_STOPPING = 20.0
"""seconds for a stray run to end"""


@dataclass(frozen=True)
class ExperimentProgress:
    """How far it is. `left`: seconds, None while unknown."""

    total: int
    done: int
    failed: int
    waiting: int
    running: tuple[str, ...]
    left: float | None


class ExperimentView(Protocol):
    """What is shown of an experiment while it runs."""

    def begin(self, progress: ExperimentProgress) -> None:
        """Called once, before the first cell starts."""
        ...

    def finished(self, playing: CellStatus, ended: CellEnd, again: bool, progress: ExperimentProgress) -> None:
        """A cell has ended; `again`: it failed, and is tried again."""
        ...

    def show(self, progress: ExperimentProgress) -> None:
        """Called several times a second with the newest progress; it must not block."""
        ...

    def notice(self, text: str) -> None:
        """Print one line of text from the runner."""
        ...


def machine_capacity(jobs: int | None) -> Capacity:
    """Cores and free memory of this machine."""
    return Capacity(available_cores(), int(psutil.virtual_memory().available * _SHARE), jobs)


def make_schedule(chosen: Sequence[CellStatus], capacity: Capacity, limits: ExperimentLimits) -> CellSchedule:
    """The schedule of the cells among `chosen` that are neither done nor failed permanently."""
    ranks = {seed: rank for rank, seed in enumerate(dict.fromkeys(playing.cell.seed for playing in chosen))}
    tasks = []
    for position, (cell, record) in enumerate((playing.cell, playing.record) for playing in chosen):
        if record.state in ("WAITING", "RUNNING"):
            order = ranks[cell.seed], position
            tasks.append(CellTask(record.identity, order, cell.cores, cell.nodes, cell.memory, record.failures))
    memory = max((playing.record.memory for playing in chosen if playing.record.memory is not None), default=None)
    return CellSchedule(tasks, capacity, limits.retries, limits.stop_after_failures, memory)


class ExperimentRunner:
    """Plays the cells of one experiment. The caller holds its lock."""

    def __init__(
        self,
        store: Store,
        chosen: Sequence[CellStatus],
        limits: ExperimentLimits,
        capacity: Capacity,
        view: ExperimentView,
        interrupts: Interrupts,
    ) -> None:
        self._store = store
        self._chosen = {playing.identity: playing for playing in chosen}
        self._limits = limits
        self._view = view
        self._interrupts = interrupts
        records = [playing.record for playing in chosen]
        self._times = [record.seconds for record in records if record.state == "DONE" and record.seconds is not None]
        self._before = {state: sum(record.state == state for record in records) for state in ("DONE", "FAILED")}
        self.schedule = make_schedule(chosen, capacity, limits)
        self._players: dict[str, CellRunner] = {}
        self._begun: dict[str, float] = {}
        self._signals = 0
        self.reason = ""
        """why it ended before its end"""

    @property
    def progress(self) -> ExperimentProgress:
        """How far it is."""
        schedule = self.schedule
        return ExperimentProgress(
            total=len(self._chosen),
            done=self._before["DONE"] + len(schedule.done),
            failed=self._before["FAILED"] + len(schedule.failed),
            waiting=schedule.waiting,
            running=tuple(self._chosen[identity].cell.label for identity in schedule.running),
            left=self._left(),
        )

    def _left(self) -> float | None:
        if not self._times:
            return None
        each, now = sum(self._times) / len(self._times), time.monotonic()
        under_way = sum(max(0.0, each - (now - self._begun.get(identity, now))) for identity in self.schedule.running)
        side_by_side = max(1, len(self.schedule.running) or self.schedule.side_by_side())
        return (self.schedule.waiting * each + under_way) / side_by_side

    def run(self) -> ExitCode:
        """Play until all cells are done or have failed, too many have, or it is interrupted. OK, ABORTED, INTERRUPTED, or RESOURCES when
        the code was changed meanwhile; expectations are not this one's business."""
        schedule = self.schedule
        release_strays(self._store, set(self._chosen), self._view.notice)
        self._view.begin(self.progress)
        try:
            while not schedule.over:
                self._obey()
                self._start()
                for identity in list(self._players):
                    ended = self._players[identity].poll()
                    if ended is not None:
                        self._finish(identity, ended)
                self._view.show(self.progress)
                if self._players:
                    self._interrupts.wait(POLL)
        finally:
            for one in self._players.values():
                one.close()
        return self._code()

    # --- parts ----------------------------------------------------------------------------------------------------------------------

    def _code(self) -> ExitCode:
        schedule = self.schedule
        if self._signals:
            return ExitCode.INTERRUPTED
        if self.reason:
            return ExitCode.RESOURCES
        if schedule.held:
            self.reason = f"{len(schedule.held)} cells were stopped from outside; start the experiment again to go on with them"
            return ExitCode.INTERRUPTED
        if schedule.gave_up and schedule.waiting:
            count = len(schedule.failed)
            have = "has" if count == 1 else "have"
            self.reason = f"no further cell was started: {count} {have} failed (limits.stop_after_failures)"
        return ExitCode.ABORTED if schedule.failed or self._before["FAILED"] else ExitCode.OK

    def _obey(self) -> None:
        """First signal: ordered stop of what plays, and nothing new; further ones: at once."""
        count = self._interrupts.count
        if count <= self._signals:
            return
        first, self._signals = self._signals == 0, count
        self.schedule.stopped = True
        if first and self._players:
            running = "1 running cell" if len(self._players) == 1 else f"{len(self._players)} running cells"
            self._view.notice(f"stopping {running}: checkpoints ... Press again to stop at once.")
        for one in self._players.values():
            one.stop(now=count > 1)

    def _start(self) -> None:
        while not self.schedule.stopped and (task := self.schedule.next()) is not None:
            playing = self._chosen[task.identity]
            if (now := code_version()) != playing.code:
                self.schedule.hold(task.identity)
                self.schedule.stopped = True
                self.reason = f"the code was changed while the experiment ran: from {playing.code} to {now}. Cells of both are never mixed"
                self._view.notice(self.reason)
                return
            self._players[task.identity] = self._play(playing)
            self._begun[task.identity] = time.monotonic()
            self._obey()

    def _play(self, playing: CellStatus) -> CellRunner:
        record = self._store.record(playing.identity)
        directory, attempts = record.directory, record.attempts
        if directory is None:
            attempts += 1
            directory = f"runs/{directory_name(playing, attempts)}"
        # Entered before it is made: a process that is killed in between leaves nothing untracked.
        self._store.update(playing.identity, state="RUNNING", directory=directory, attempts=attempts)
        path = self._store.directory / directory
        path.parent.mkdir(parents=True, exist_ok=True)
        return player(playing.cell, path, playing.code, self._limits)

    def _finish(self, identity: str, ended: CellEnd) -> None:
        self._players.pop(identity).close()
        again = False
        facts = {"seconds": ended.seconds, "cpu_seconds": ended.cpu_seconds, "memory": ended.memory}
        if ended.state == "DONE":
            self._store.update(identity, state="DONE", failure="", **facts)
            self.schedule.finished(identity)
            if ended.seconds is not None:
                self._times.append(ended.seconds)
            if ended.memory is not None:
                self.schedule.measured_memory = max(ended.memory, self.schedule.measured_memory or 0)
        elif ended.state == "HELD":
            self._store.update(identity, state="WAITING")
            self.schedule.hold(identity)
        else:
            again = self.schedule.failure(identity)
            failures = self._store.record(identity).failures + 1
            # The next attempt gets a directory of its own; this one stays for inspection.
            where = {"directory": None} if again else {}
            state = "WAITING" if again else "FAILED"
            self._store.update(identity, state=state, failures=failures, failure=ended.failure, **where, **facts)
        self._view.finished(self._chosen[identity], ended, again, self.progress)


def directory_name(playing: CellStatus, attempt: int) -> str:
    """`50ms-ring-s3-1a2b3c4d`, with `-2` for a second attempt."""
    cell = playing.cell
    suffix = f"s{cell.seed}-{playing.identity[:8]}" + (f"-{attempt}" if attempt > 1 else "")
    labels = slug(" ".join(cell.factors.values()), 60 - len(suffix)) if cell.factors else "run"
    return f"{labels}-{suffix}"


def release_strays(store: Store, chosen: set[str], notice: Callable[[str], None]) -> None:
    """Cells that played when a former process was killed, and that this one will not play (of other code, or of another selection): wait
    until their leash has ended them, end what is left, and let them wait."""
    for identity, record in store.records().items():
        if record.state != "RUNNING" or identity in chosen:
            continue
        directory = store.directory / record.directory if record.directory is not None else None
        if directory is not None and directory.is_dir():
            notice(f"ending {directory.name}, which a former call left behind")
            deadline = time.monotonic() + _STOPPING
            while runs.read(directory).alive and time.monotonic() < deadline:
                time.sleep(POLL)
            run = runs.read(directory)
            clean_up(directory, run.engine)
            if run.record and run.state not in runs.FINAL:
                runs.close_lost(run, int(ExitCode.INTERRUPTED), "its experiment was killed")
            if not run.record and not (directory / "summary.json").is_file():
                shutil.rmtree(directory, ignore_errors=True)
        store.update(identity, state="WAITING")
