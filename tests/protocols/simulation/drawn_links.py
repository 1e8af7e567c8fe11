"""Links with faults that are drawn independently for each message."""

from __future__ import annotations

from hashlib import blake2b
from struct import Struct

from protocols.faults.link_effects.faulty_links import LinkOutcome
from protocols.wire.messages import Channel

_NUMBERS = Struct("<5I")


class DrawnLinks:
    """Independent loss, repetition and damage, and a uniform delay, from which reordering comes by itself.

    Each decision is the keyed hash BLAKE2b(key = seed; src, dst, channel, seq): it depends on no other message.
    """

    def __init__(
        self,
        seed: int,
        src: str,
        delay: tuple[float, float] = (0.001, 0.05),
        loss: float = 0.0,
        duplicate: float = 0.0,
        corrupt: float = 0.0,
        until: float = float("inf"),
    ) -> None:
        """`delay`: least and most, in seconds. After the moment `until` nothing is lost, repeated or damaged any more."""
        self._key = seed.to_bytes(16, "little", signed=True)
        self._src = src
        self._least, self._range = delay[0], (delay[1] - delay[0]) / 2**32
        self._loss, self._duplicate, self._corrupt = loss * 2**32, duplicate * 2**32, corrupt * 2**32
        self._until = until

    def link_outcome(self, dst: str, channel: Channel, kind: str, seq: int, size: int, now: float) -> LinkOutcome:
        """Drawn from five numbers of 32 bits of one hash."""
        digest = blake2b(f"{self._src}\0{dst}\0{channel}\0{seq}".encode(), key=self._key, digest_size=20).digest()
        lost, first, repeated, second, damaged = _NUMBERS.unpack(digest)
        delay = self._least + self._range * first
        if now >= self._until:
            return LinkOutcome((delay,))
        if lost < self._loss:
            return LinkOutcome((), cause="loss")
        copies = (delay, self._least + self._range * second) if repeated < self._duplicate else (delay,)
        return LinkOutcome(copies, "payload" if damaged < self._corrupt else None)
