"""Link faults in real time: stands before the queues of the transport, decides on every message, and holds back what is late.

    shim.admit(...)     a message to send: what of it is sent now (nothing, the message, a damaged copy)
    shim.release(now)   delayed messages that are due
    shim.progress(...)  the position in the run, reported by the node

Bytes held back are bounded: what would go beyond is lost, and counted as `tx.held_overflow`. Any thread may call.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections import Counter
from collections.abc import Sequence
from itertools import count
from math import inf
from typing import Generic, TypeVar

from protocols.faults.fault_schedule import ScheduledEvent
from protocols.faults.fault_timeline import FaultChange
from protocols.faults.link_effects.faulty_links import UNTOUCHED, FaultyLinks
from protocols.faults.link_effects.link_trace import LinkTraceWriter
from protocols.runtime.errors import BadMessage
from protocols.wire import codec
from protocols.wire.codec import Buffer

_NEVER = 0xC1
"""a byte that is in no MessagePack document as a marker, and in no UTF-8 text"""


def damaged(parts: Sequence[codec.Buffer], what: str, place: float) -> list[codec.Buffer]:
    """A copy with one thing wrong, at the share `place` of what can be hit. payload: a byte of the frames (of the header,
    without frames); header: a byte of the header; truncate: the last part loses its end."""
    if what == "truncate":
        last = bytes(parts[-1])
        return [*parts[:-1], last[: int(place * len(last))]]
    if what == "payload" and any(len(part) for part in parts[1:]):
        return _flipped(parts, place)
    header = bytes(parts[0])
    first = int(place * len(header))
    for offset in range(len(header)):
        changed = bytearray(header)
        changed[(first + offset) % len(header)] = _NEVER
        candidate: list[codec.Buffer] = [bytes(changed), *parts[1:]]
        if _refused(candidate):  # a byte of a number may come to another number
            return candidate
    return [b"", *parts[1:]]


def _flipped(parts: Sequence[codec.Buffer], place: float) -> list[codec.Buffer]:
    """All bits of one byte of the frames flipped, which their checksum detects."""
    position = int(place * sum(map(len, parts[1:])))
    copies: list[codec.Buffer] = [parts[0]]
    for part in parts[1:]:
        if 0 <= position < len(part):
            changed = bytearray(part)
            changed[position] ^= 0xFF
            copies.append(bytes(changed))
        else:
            copies.append(part)
        position -= len(part)
    return copies


def _refused(parts: Sequence[codec.Buffer]) -> bool:
    try:
        codec.decode(parts)
    except BadMessage:
        return True
    return False


D = TypeVar("D")
HELD = 256 * 2**20
"""bytes that may be held back"""


class Shim(Generic[D]):
    """See the module. `D` is what the transport sends to; `origin` is the monotonic time at which training began, had it never been
    interrupted, and None while it does not go on; `before`: seconds that the run was trained before it was interrupted."""

    def __init__(
        self,
        links: FaultyLinks,
        counters: Counter[str],
        recorder: LinkTraceWriter | None = None,
        origin: float | None = None,
        before: float = 0.0,
    ) -> None:
        self.links = links
        self._counters = counters
        self._recorder = recorder
        self._origin = origin
        self._before = before
        self._lock = threading.Lock()
        self._held: list[tuple[float, int, D, list[Buffer], tuple[str, str], int]] = []
        self.capacity = HELD
        """bytes that may be held back"""
        self._held_bytes = 0
        self._held_on: Counter[tuple[str, str]] = Counter()
        self._order = count()
        self._seqs: Counter[tuple[str, str]] = Counter()
        self._report(links.progress())

    # --- how far the run is -----------------------------------------------------------------------------------------------------------

    def start(self, now: float) -> None:
        """Training begins now, or goes on after an interruption, unless it did already (for a node that came back)."""
        with self._lock:
            if self._origin is None:
                self._origin = now - self._before
                if self._recorder is not None:
                    self._recorder.start()

    def progress(self, now: float, step: int | None = None, episode: int | None = None, round: int | None = None) -> None:
        """Set how far the run is (seconds; steps, episodes and rounds where given), so that due events begin and end."""
        with self._lock:
            self._progress(now, step, episode, round)

    def _progress(self, now: float, step: int | None = None, episode: int | None = None, round: int | None = None) -> None:
        elapsed = None if self._origin is None else now - self._origin
        self._report(self.links.progress(elapsed, step, episode, round))
        if self._recorder is not None:
            self._recorder.tick(int(elapsed or 0.0))

    def _report(self, changes: list[FaultChange]) -> None:
        if changes and self._recorder is not None:
            self._recorder.changed(changes, self.links.reached)

    def begin(self, event: ScheduledEvent, now: float, step: int | None = None, episode: int | None = None) -> None:
        """Something that is in no schedule begins now, where the run has come so far."""
        with self._lock:
            self._progress(now, step, episode)
            self._report(self.links.begin(event))

    def end(self, fault: str, now: float) -> None:
        """End one event permanently, by its id; `now` in seconds."""
        with self._lock:
            self._progress(now)
            self._report(self.links.end(fault))

    def heal(self) -> None:
        """Training is over: nothing is broken any more but what the network itself is like."""
        with self._lock:
            self._report(self.links.heal())

    # --- messages ---------------------------------------------------------------------------------------------------------------------

    def admit(self, destination: D, link: tuple[str, str], kind: str, parts: list[Buffer], now: float) -> tuple[list[list[Buffer]], bool]:
        """Decide on a message for `destination` over `link` (channel, name): the copies that leave now, and whether any is held back."""
        size = sum(map(len, parts))
        with self._lock:
            self._progress(now)
            self._seqs[link] += 1
            seq = self._seqs[link]
            channel, name = link
            link_outcome = self.links.link_outcome(name, channel, kind, seq, size, now)
            leaving: list[list[Buffer]] = []
            holds = False
            if link_outcome is not UNTOUCHED and link_outcome.corrupt is not None:
                parts = damaged(parts, link_outcome.corrupt, link_outcome.place)
            for delay in link_outcome.copies:
                if delay <= 0.0:
                    leaving.append(parts)
                elif self._held_bytes + size > self.capacity:
                    self._counters["tx.held_overflow"] += 1
                else:
                    holds = True
                    heapq.heappush(self._held, (now + delay, next(self._order), destination, parts, link, size))
                    self._held_bytes += size
                    self._held_on[link] += size
            if not link_outcome.copies:
                self._counters["tx.lost"] += 1
            if self._recorder is not None:
                self._recorder.decided(channel, name, kind, seq, size, link_outcome, self._held_on[link])
        return leaving, holds

    def release(self, now: float) -> list[tuple[D, list[Buffer]]]:
        """What was held until `now`, in the order of its time."""
        released = []
        with self._lock:
            while self._held and self._held[0][0] <= now:
                _, _, destination, parts, link, size = heapq.heappop(self._held)
                self._held_bytes -= size
                self._held_on[link] -= size
                released.append((destination, parts))
        return released

    def wait(self, now: float | None = None) -> float:
        """Seconds until something is to be released; infinite when nothing is held."""
        with self._lock:
            return max(0.0, self._held[0][0] - (time.monotonic() if now is None else now)) if self._held else inf

    def close(self) -> int:
        """Write down what has not been written; the number of messages that were still held, which are lost."""
        with self._lock:
            left = len(self._held)
            self._held.clear()
            if self._recorder is not None:
                self._recorder.close()
        return left
