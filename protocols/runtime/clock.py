"""The time that conversations and reports go by: the machine's, or that of lock-step ticks, by which training ends too."""

from __future__ import annotations

import time
from collections.abc import Mapping
from math import ceil
from typing import Any, Protocol

from protocols.runtime.settings_types import parse_duration

_ORIGIN = time.time() - time.monotonic()


def unix_time() -> float:
    """Unix time in seconds by the monotonic clock: it never falls or jumps when the clock of the machine is set. The processes of a host
    are forked and have one origin, also those that are started after the clock was set."""
    return _ORIGIN + time.monotonic()


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
        """`unix_time`."""
        return unix_time()


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


def in_ticks(seconds: float, length: float) -> int:
    """Ticks of `length` seconds that a duration lasts: whole ones, at least one."""
    return max(1, ceil(seconds / length - 1e-9))


class TrainingLimits:
    """When training ends, by what the run has done: `until` of the configuration. Under the logical clock its time (as text or in
    seconds) is counted in ticks of `length` virtual seconds.

    A run that has ended may be continued with larger limits: the end recorded in a checkpoint is compared with the current limits.
    """

    def __init__(self, until: Mapping[str, Any], length: float) -> None:
        self._episodes, self._steps = until.get("episodes"), until.get("steps")
        time = until.get("time")
        seconds = parse_duration(time) if isinstance(time, str) else time
        self._ticks = None if seconds is None else in_ticks(seconds, length)

    def reached(self, tick: int, steps: int, episodes: int) -> str | None:
        """Which limit is reached, in words, or None."""
        if self._episodes is not None and episodes >= self._episodes:
            return f"{episodes} episodes"
        if self._steps is not None and steps >= self._steps:
            return f"{steps} steps"
        if self._ticks is not None and tick >= self._ticks:
            return f"{tick} ticks"
        return None

    def still_over(self, checkpoint: Mapping[str, Any], tick: int) -> str | None:
        """Why training was over at a checkpoint of the environment server, where it still is; None where there is training left.

        What counts is where training ended: episodes that were under way then have been played to their end, and counted."""
        course, numbers = checkpoint["course"], checkpoint["numbers"]
        if course["training"]:
            return None
        # Earlier versions did not write down where it ended.
        return self.reached(*(course.get("end") or (tick, numbers["steps"], numbers["episodes"])))
