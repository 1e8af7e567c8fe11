"""State of the guard: the sources of messages, their behaviour, and the sequence numbers received from each sender."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from protocols.wire.messages import Channel, Message, Role

_GAPS = 1024
"""ranges of sequence numbers that may still come; the oldest of more are given up"""


@dataclass(frozen=True)
class GuardOptions:
    """Bounds for one source; far above what a healthy run does (some thousand messages a second at most)."""

    messages: float = 20_000.0
    """messages per second, with three seconds' worth at once: messages accumulate for a process that was away"""
    bytes: float = 2.0**30
    """bytes per second, with three seconds' worth at once"""
    burst: float = 3.0
    bad: int = 10
    """bad messages within `window` seconds that lead to quarantine"""
    window: float = 10.0
    share: float = 0.1
    """least share of bad messages that leads to quarantine"""
    foreign: int = 3
    """messages in others' names, with a key of its own, that lead to quarantine"""
    quarantine: float = 60.0
    longest: float = 600.0
    silence: float = 1.0
    """seconds without a message over the old route of a name before a new one is accepted; a broken connection is back in a tenth of it"""
    log_every: float = 5.0
    """seconds between two log lines of one code on one channel"""


@dataclass(eq=False, slots=True)
class MessageSource:
    """A source of messages, and its behaviour."""

    channel: Channel
    key: bytes | str
    fixed: bool
    """the other end of a socket that we connected to an endpoint of our choice: `key` is the only name it may use"""
    user: str = ""
    """the key with which its connection was made; "" where nothing is encrypted"""
    speaker: MessageSender | None = None
    types: frozenset[type[Message]] | None = None
    """messages that it may send; None: all"""
    epoch: int = -1
    """the version of roster and keys at its last full check"""
    vouched: bool = False
    """it showed the run's token"""
    opened: float = 0.0
    """when its first message came"""
    last_received: float = 0.0
    message_time: float = 0.0
    byte_time: float = 0.0
    """when the bucket will be full again (token buckets as in the generic cell rate algorithm)"""
    total: int = 0
    bad: deque[tuple[float, int]] = field(default_factory=deque)
    foreign: int = 0
    quarantined_until: float = 0.0
    quarantine: float = 0.0


@dataclass(eq=False, slots=True)
class MessageSender:
    """One sender name on one channel: its newest incarnation and the sequence numbers that have arrived, for dropping duplicates."""

    name: str
    incarnation: int
    role: Role | None = None
    owner: MessageSource | None = None
    highest: int = 0
    first: int = 0
    """the number before which nothing was sent to this process: the first that arrived, or 0"""
    gaps: list[tuple[int, int]] = field(default_factory=list)
    """ranges below `highest` that have not come, ascending, both ends included"""

    def fresh(self, sequence: int) -> bool:
        """Whether that number has not come yet."""
        highest = self.highest
        if sequence > highest:
            if not highest:
                self.first = sequence
            if sequence > highest + 1:
                self.gaps.append((highest + 1, sequence - 1))
                if len(self.gaps) > _GAPS:
                    del self.gaps[0]
            self.highest = sequence
            return True
        for i in range(len(self.gaps) - 1, -1, -1):
            first, last = self.gaps[i]
            if sequence > last:
                return False
            if sequence >= first:
                self.gaps[i : i + 1] = [(a, b) for a, b in ((first, sequence - 1), (sequence + 1, last)) if a <= b]
                return True
        return False
