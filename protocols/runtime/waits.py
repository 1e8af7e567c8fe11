"""What a process waits for now, by name, with its peers and its deadline: the answer to `orchestrate why`.

The main loop calls the registry in every turn, and gives it every `PERIOD` seconds what its state machines wait for. Any other thread
reads the newest list. Where the main loop has not turned for `AWAY` seconds, the report has the activity that it is in, and its stack.
"""

from __future__ import annotations

import re
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from types import FrameType

PERIOD = 0.2
"""seconds between two lists of waits: between them a turn of the main loop costs a comparison"""
AWAY = 0.5
"""seconds without a turn of the main loop after which its activity and its stack are reported"""
MOST_WAITS, MOST_PEERS, MOST_FRAMES, LONGEST_TEXT = 8, 16, 20, 160
_NUMBER = re.compile(r"\d+")
_WEIGHT = 0.2


@dataclass(frozen=True, slots=True)
class PendingWait:
    """One wait. `since` and `deadline`: seconds of monotonic time. Without `since` it counts from when the registry first received it."""

    operation: str
    """what is waited for: `the actions of tick 12`"""
    peers: tuple[str, ...] = ()
    """nodes that have to act"""
    since: float | None = None
    deadline: float | None = None

    def shifted(self, seconds: float) -> PendingWait:
        """The same wait by a clock that is so much further."""
        times = (None if value is None else value + seconds for value in (self.since, self.deadline))
        return PendingWait(self.operation, self.peers, *times)


@dataclass(frozen=True, slots=True)
class CurrentWait:
    """A wait as it is reported. `left`: seconds to the deadline, negative where it has passed, None without a deadline; `usual`: seconds
    that waits of this kind take, 0 where none has been observed; `own`: the main thread works or stands still, and no peer has to act."""

    operation: str
    peers: tuple[str, ...]
    seconds: float
    left: float | None
    usual: float = 0.0
    own: bool = False


@dataclass(frozen=True)
class WaitReport:
    """What a process waits for, the longest wait first; `stack`: of its main thread, innermost frame first, where that is away."""

    waits: tuple[CurrentWait, ...]
    stack: tuple[str, ...] = ()


def no_activity() -> tuple[str, float, float] | None:
    """No activity is known."""
    return None


class WaitRegistry:
    """The waits of one process. Make it on the main thread. `activity`: name, seconds so far and usual seconds of what the main thread
    does, if that is known."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.activity: Callable[[], tuple[str, float, float] | None] = no_activity
        self._clock = clock
        self._main = threading.get_ident()
        self._turned, self._due = clock(), 0.0
        # Replaced as a whole, so that another thread reads one list or the next.
        self._pending: dict[tuple[str, tuple[str, ...]], PendingWait] = {}
        self._usual: dict[str, float] = {}

    def turn(self, found: Callable[[], Iterable[PendingWait]]) -> None:
        """The main loop turns; `found` is called where the list is due."""
        now = self._turned = self._clock()
        if now >= self._due:
            self._due = now + PERIOD
            self._publish(found(), now)

    def _publish(self, found: Iterable[PendingWait], now: float) -> None:
        before, pending = self._pending, {}
        for wait in found:
            key = wait.operation, wait.peers
            if wait.since is None:
                known = before.get(key)
                wait = replace(wait, since=now if known is None else known.since)
            pending[key] = wait
        for (operation, peers), wait in before.items():
            if (operation, peers) not in pending and wait.since is not None:
                kind, seconds = _kind(operation), now - wait.since
                self._usual[kind] = smoothed(self._usual.get(kind), seconds)
        self._pending = pending

    def report(self) -> WaitReport:
        """What this process waits for now; may be called by any thread."""
        now, waits = self._clock(), []
        for wait in self._pending.values():
            left = None if wait.deadline is None else wait.deadline - now
            since = now if wait.since is None else wait.since
            waits.append(CurrentWait(wait.operation, wait.peers, max(0.0, now - since), left, self._usual.get(_kind(wait.operation), 0.0)))
        waits.sort(key=lambda wait: -wait.seconds)
        away = now - self._turned
        if away < AWAY:
            return WaitReport(tuple(waits[:MOST_WAITS]))
        name, seconds, usual = self.activity() or ("", away, 0.0)
        own = CurrentWait(name, (), max(0.0, seconds if name else away), None, usual, own=True)
        return WaitReport((own, *waits[: MOST_WAITS - 1]), stack_of(sys._current_frames().get(self._main)))


def _kind(operation: str) -> str:
    return _NUMBER.sub("#", operation)


def smoothed(known: float | None, seconds: float) -> float:
    """A moving average of durations."""
    return seconds if known is None else known + _WEIGHT * (seconds - known)


def stack_of(frame: FrameType | None) -> tuple[str, ...]:
    """`function in file:line` of a frame and of those that called it, innermost first."""
    lines: list[str] = []
    while frame is not None and len(lines) < MOST_FRAMES:
        lines.append(frame_text(frame.f_code.co_qualname, frame.f_code.co_filename, frame.f_lineno))
        frame = frame.f_back
    return tuple(lines)


def frame_text(function: str, file: str, line: int) -> str:
    """`function in file:line`, at most `LONGEST_TEXT` characters: the end of a long path is kept."""
    head, tail = f"{function[-60:]} in ", f"{file}:{line}"
    return head + tail[-(LONGEST_TEXT - len(head)) :]
