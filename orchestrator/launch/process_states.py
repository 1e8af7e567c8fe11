"""What the system has about a process of this machine: its state and its processor time; and its Python stack, by SIGQUIT."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")
_DUMP_WAIT = 0.4
"""seconds that a process has to write its stacks"""
_FRAME = re.compile(r'  File "(.*)", line (\d+) in (.*)')


@dataclass(frozen=True)
class ProcessState:
    """`state`: the system's letter (R runs, S sleeps, D waits for a device, T is stopped, Z has ended); `cpu`: seconds of processor
    time."""

    state: str
    cpu: float


def process_state(pid: int) -> ProcessState | None:
    """State of a process; None where it has ended, or the system has no /proc."""
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return ProcessState(fields[0].upper(), (int(fields[11]) + int(fields[12])) / _TICKS)


def _dumps_stacks(pid: int) -> bool:
    """Whether the process has a handler of SIGQUIT, which would end it without one."""
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = (_PROC / str(pid) / "status").read_text().splitlines()
        mask = next(line.split()[1] for line in lines if line.startswith("SigCgt:"))
        return bool(int(mask, 16) >> (signal.SIGQUIT - 1) & 1)
    return False


def dumped_stack(pid: int, log: Path) -> tuple[str, ...]:
    """The stack of the process's main thread, innermost frame first, as `function in file:line`: it is asked by SIGQUIT to append it to
    its log. The interpreter need not be free for that. Empty where it can't be had within half a second."""
    if not _dumps_stacks(pid):
        return ()
    try:
        before = log.stat().st_size
        os.kill(pid, signal.SIGQUIT)
        end, text = time.monotonic() + _DUMP_WAIT, ""
        while time.monotonic() < end:
            time.sleep(0.02)
            with log.open("rb") as file:
                file.seek(before)
                newer = file.read().decode("utf-8", "replace")
            if newer and newer == text:
                break
            text = newer
    except OSError:
        return ()
    return main_thread(text)


def main_thread(dump: str) -> tuple[str, ...]:
    """The frames of the main thread, which a dump of all threads has last."""
    frames: list[str] = []
    for line in dump.splitlines():
        if "(most recent call first):" in line:
            frames = []
        elif (match := _FRAME.match(line)) is not None:
            frames.append(f"{match[3]} in {match[1]}:{match[2]}")
    return tuple(frames)
