"""Processes of a run on this machine: limits, lifetimes, and the removal of what is left of a run whose run server was killed.

A process belongs to a run only if its number *and* its start time are those recorded, or if its environment names the run directory
(every process of a run is started with that mark). Numbers alone are reused by the system.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec
import psutil

from orchestrator.results.run_files import write_json

HOST_MODULE = "orchestrator.launch.host.host_process"
"""the host program, for `python -m`"""
WITH_PARENT = "--with-parent"
"""its argument by which it does not outlive the process that has started it: Ray's actors end without a word when their driver or their
node is gone"""
_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int | None = None) -> None:
    """Ask the system to kill this process when its parent ends (Linux; elsewhere nothing happens, and orphan time-outs must do).

    `parent` is the parent's number where it is known: a parent that ended before this call is then noticed, and this process ends at
    once with the code of a crash.
    """
    if not sys.platform.startswith("linux"):
        return
    before = os.getppid() if parent is None else parent
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != before:
        os._exit(10)


def available_cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


MARK = "MURMURATION_RUN_DIRECTORY"
"""environment variable by which every process of a run can be found"""
_SAME_START = 0.02
_KILL_WAIT = 5.0


@dataclass(frozen=True)
class ProcessRecord:
    """One process as it was started: seconds since 1970 for `started`, as the system counts them."""

    name: str
    pid: int
    started: float


def identify(name: str, pid: int) -> ProcessRecord | None:
    """The record of a living process, or None when it is gone."""
    try:
        return ProcessRecord(name, pid, psutil.Process(pid).create_time())
    except psutil.Error:
        return None


def is_running(record: ProcessRecord) -> bool:
    """Whether exactly that process is running (a zombie is not)."""
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(record.pid)
        return bool(abs(process.create_time() - record.started) < _SAME_START and process.status() != psutil.STATUS_ZOMBIE)
    return False


def write_records(directory: Path, records: list[ProcessRecord]) -> None:
    """Replace `processes.json`."""
    write_json(directory / "processes.json", [asdict(record) for record in records])


def read_records(directory: Path) -> list[ProcessRecord]:
    """The records of `processes.json`; none when it is absent or broken."""
    try:
        return msgspec.json.decode((directory / "processes.json").read_bytes(), type=list[ProcessRecord])
    except (OSError, msgspec.DecodeError):
        return []


def living(belongs: Callable[[psutil.Process], bool]) -> list[psutil.Process]:
    """Processes that live (zombies don't) and for which `belongs` is true, without the caller."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE and belongs(process):
                found.append(process)
    return found


def marked(mark: str) -> list[psutil.Process]:
    """Living processes whose environment has that mark."""
    return living(lambda process: process.environ().get(MARK) == mark)


def remains(directory: Path) -> list[psutil.Process]:
    """Processes of this run that live, without the caller."""
    recorded = {record.pid: record.started for record in read_records(directory)}
    mark = str(directory.resolve())

    def belongs(process: psutil.Process) -> bool:
        started = recorded.get(process.pid)
        same = started is not None and abs(process.create_time() - started) < _SAME_START
        return same or bool(process.environ().get(MARK) == mark)

    return living(belongs)


def kill_all(find: Callable[[], list[psutil.Process]]) -> list[int]:
    """Kill what `find` returns, again until it finds nothing, since a process may start another while it dies. The numbers of the processes
    that were killed; those that were the caller's own children are collected, too."""
    killed: set[int] = set()
    deadline = time.monotonic() + _KILL_WAIT
    while (processes := find()) and time.monotonic() < deadline:
        for process in processes:
            # psutil refuses to signal a process whose number was reused meanwhile.
            with contextlib.suppress(psutil.Error):
                process.send_signal(signal.SIGKILL)
                killed.add(process.pid)
        psutil.wait_procs(processes, timeout=0.5)
    return sorted(killed)


def sweep(directory: Path) -> list[int]:
    """Kill what is left of a run, and return the numbers of the processes that were killed."""
    return kill_all(lambda: remains(directory))
