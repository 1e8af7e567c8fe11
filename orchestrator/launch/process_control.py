"""Small things about processes that the standard library does not offer."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

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


def exists(pid: int) -> bool:
    """Whether a process of that number exists, ours or anybody's."""
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
