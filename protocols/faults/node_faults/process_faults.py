"""What a process can do to itself: die, end, stop, hang, run out of memory.

Each is real for the rest of the run: a kill is SIGKILL, a pause is SIGSTOP (which stops the communication thread
too, where a hang leaves it beating), and out of memory is an allocation that the system refuses. None endangers the machine: the limit
on memory is one that the process sets for itself.
"""

from __future__ import annotations

import logging
import os
import resource
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

import psutil

logger = logging.getLogger(__name__)

MEMORY = 256 * 2**20
"""bytes that `run_out_of_memory` may take at most before the system refuses"""
_BLOCK = 8 * 2**20
_LOOK = 0.02


def kill() -> None:
    """SIGKILL: nothing of this process runs after it."""
    os.kill(os.getpid(), signal.SIGKILL)


def terminate() -> None:
    """SIGTERM, which a node takes as the wish to leave in order."""
    os.kill(os.getpid(), signal.SIGTERM)


def end(code: int) -> NoReturn:
    """End with an exit code of its own choice."""
    logger.error("this process ends with exit code %d by the fault schedule", code)
    raise SystemExit(code)


def pause() -> None:
    """SIGSTOP: all threads stop until a SIGCONT."""
    os.kill(os.getpid(), signal.SIGSTOP)


class Hang:
    """The main thread stands still while all others go on, for `seconds` or until this process gets SIGCONT. Make it on the main thread,
    before it is needed."""

    def __init__(self) -> None:
        self._released = threading.Event()
        signal.signal(signal.SIGCONT, self._release)

    def _release(self, _: int, __: FrameType | None) -> None:
        self._released.set()

    def get_ready(self) -> None:
        """Signals that came before this do not count. To be called before the hang is reported."""
        self._released.clear()

    def hang(self, seconds: float) -> float:
        """Block the caller for `seconds` seconds or until it is released; returns the seconds that have passed."""
        began = time.monotonic()
        # In slices: a signal's handler runs between two of them, but never inside one wait of the main thread on some platforms.
        while (left := began + seconds - time.monotonic()) > 0 and not self._released.wait(min(left, _LOOK)):
            pass
        return time.monotonic() - began


def run_out_of_memory(limit: int = MEMORY, available: Callable[[], int] = lambda: int(psutil.virtual_memory().available)) -> NoReturn:
    """Allocate until the system refuses: raises `MemoryError`, which is not caught, so that the process ends as a crash.

    The limit on the address space is set to what is in use plus `limit` bytes, at most a quarter of the memory that the machine has left.
    """
    room = max(_BLOCK, min(limit, available() // 4))
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = psutil.Process().memory_info().vms + room
    resource.setrlimit(resource.RLIMIT_AS, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))
    blocks = []
    try:
        while True:
            blocks.append(bytearray(_BLOCK))
    finally:
        taken = len(blocks)
        blocks.clear()
        logger.error("out of memory after %d MiB, by the fault schedule", taken * _BLOCK // 2**20)
