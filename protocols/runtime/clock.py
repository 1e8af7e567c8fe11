"""The time that conversations and reports go by: the machine's, or that of lock-step ticks."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Monotonic seconds, and the time stamp of a row of metrics."""

    def now(self) -> float:
        """Seconds since an arbitrary origin; differences are meaningful, and it never falls."""
        ...

    def stamp(self) -> float:
        """What is written down as the time of a figure."""
        ...


class WallClock:
    """Real time: `now` is monotonic, `stamp` is Unix time."""

    def now(self) -> float:
        """Monotonic seconds."""
        return time.monotonic()

    def stamp(self) -> float:
        """Unix time in seconds."""
        return time.time()


class LogicalClock:
    """Virtual time: every tick of the environment lasts `length` seconds, however long it really takes. Two runs that do the same at the
    same ticks therefore read the same times, and everything that hangs on time happens in both alike."""

    def __init__(self, length: float) -> None:
        self.length = length
        self.tick = 0
        """the tick that is being worked on"""

    def now(self) -> float:
        """tick * length, in seconds."""
        return self.tick * self.length

    def stamp(self) -> float:
        """The same, rounded to a microsecond."""
        return round(self.now(), 6)
