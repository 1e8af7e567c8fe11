"""What a process can do to itself: die, end, stop, hang, run out of memory, be slow, have a wrong clock.

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
from collections.abc import Callable, Mapping
from types import FrameType
from typing import NoReturn

import psutil

from protocols.runtime.clock import unix_time

logger = logging.getLogger(__name__)

MEMORY = 256 * 2**20
"""bytes that `run_out_of_memory` may take at most before the system refuses"""
SIGNALS = {"kill": signal.SIGKILL, "term": signal.SIGTERM, "pause": signal.SIGSTOP}
"""kill: nothing of the process runs after it; term: a node takes it as the wish to leave in order; pause: all threads stop until SIGCONT"""
_BLOCK = 8 * 2**20
_LOOK = 0.02


def signal_itself(action: str) -> None:
    """Send this process the signal of `SIGNALS`."""
    os.kill(os.getpid(), SIGNALS[action])


def end(code: int) -> NoReturn:
    """End with an exit code of its own choice."""
    logger.error("this process ends with exit code %d by the fault schedule", code)
    raise SystemExit(code)


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


def run_out_of_memory(limit: int = MEMORY) -> NoReturn:
    """Allocate until the system refuses: raises `MemoryError`, which is not caught, so that the process ends as a crash.

    The limit on the address space is set to what is in use plus `limit` bytes, at most a quarter of the memory that the machine has left.
    """
    room = max(_BLOCK, min(limit, psutil.virtual_memory().available // 4))
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


ACTIVITIES: Mapping[str, tuple[str, ...]] = {
    "update": ("sample", "learn", "model"),
    "act": ("act", "step"),
    "comm": ("exchange", "send"),
}
"""where a straggler is slow: activities of `protocols.runtime.telemetry.TimeShares` of an agent and of an environment server"""


class ActivitySlowdown:
    """How many times longer each activity takes; several stragglers of one process multiply."""

    def __init__(self, wait: Callable[[float], None] = time.sleep) -> None:
        self._active: dict[str, tuple[str, float]] = {}
        self._factors: dict[str, float] = {}
        self._wait = wait

    def slow(self, fault: str, where: str, factor: float) -> None:
        """Let the work at `where` (update, act, comm) take `factor` times as long, until `recover(fault)`."""
        self._active[fault] = (where, factor)
        self._compute()

    def recover(self, fault: str) -> None:
        """End one straggler."""
        self._active.pop(fault, None)
        self._compute()

    def stretch(self, activity: str, seconds: float) -> None:
        """The activity has taken `seconds`: wait (factor - 1) times as long."""
        factor = self._factors.get(activity)
        if factor is not None and factor > 1:
            self._wait((factor - 1) * seconds)

    def _compute(self) -> None:
        self._factors = {}
        for where, factor in self._active.values():
            for activity in ACTIVITIES[where]:
                self._factors[activity] = self._factors.get(activity, 1.0) * factor


class SkewedClock:
    """The clock of one process: `source()` plus, for every fault of it, `offset + drift * (source() - since)`. That of its conversations
    never goes back.

    A clock that is set back stands still until the true one has caught up, as a monotonic clock does.
    """

    def __init__(self, source: Callable[[], float] = time.monotonic, wall: Callable[[], float] = unix_time) -> None:
        self._source = source
        self._wall = wall
        self._active: dict[str, tuple[float, float, float]] = {}
        """offset, drift and beginning of what each fault does to it"""
        self._last = float("-inf")

    def skew(self, fault: str, offset: float = 0.0, drift: float = 0.0) -> None:
        """Go `offset` seconds further ahead (behind where negative), and gain `drift` seconds a second (1e-6: a part per million), until
        `recover(fault)`. What several faults do adds up."""
        self._last = self.now()
        self._active[fault] = offset, drift, self._source()

    def recover(self, fault: str) -> None:
        """End what one fault does."""
        self._last = self.now()
        self._active.pop(fault, None)

    @property
    def error(self) -> float:
        """Seconds that the clock is ahead of the true one."""
        now = self._source()
        return sum((offset + drift * (now - since) for offset, drift, since in self._active.values()), 0.0)

    def now(self) -> float:
        """Monotonic seconds for conversations."""
        if not self._active and self._last == float("-inf"):
            return self._source()
        self._last = max(self._last, self._source() + self.error)
        return self._last

    def stamp(self) -> float:
        """Unix seconds of metrics: the true time, so that metrics of different nodes can be compared."""
        return self._wall()

    def wall(self) -> float:
        """Unix seconds for people, in headers; may go back."""
        return self._wall() + self.error
