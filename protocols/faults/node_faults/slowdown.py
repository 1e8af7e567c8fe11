"""Slow processes and wrong clocks."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

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

    def __init__(self, source: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time) -> None:
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
