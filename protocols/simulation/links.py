"""What a simulated link may do to a message, and a small model that does it; a run's configured links have the same method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from struct import Struct
from typing import NamedTuple, Protocol

from protocols.messages import Channel

_NUMBERS = Struct("<5I")


class Fated(Protocol):
    """What happens to one message."""

    @property
    def copies(self) -> Sequence[float]:
        """Delay of each copy that arrives, in seconds; none when the message is lost."""
        ...

    @property
    def corrupt(self) -> object:
        """Whether (or how) the copies are damaged."""
        ...

    @property
    def cause(self) -> str:
        """Why nothing arrives; empty otherwise."""
        ...


class LinkModel(Protocol):
    """The links of one node to all others. A fate may depend on nothing but its arguments and those of earlier calls."""

    def fate(self, dst: str, channel: Channel, kind: str, seq: int, size: int, now: float) -> Fated:
        """Fate of the message number `seq` (from 1 on) to `dst` over `channel`: `kind` is its tag, `size` its bytes on the wire."""
        ...


class Outcome(NamedTuple):
    """A fate, as this module's own models say it."""

    copies: Sequence[float]
    corrupt: bool = False
    cause: str = ""


@dataclass(frozen=True)
class Perfect:
    """Every message arrives once, undamaged, after the same time: links on which all rounds run in step."""

    delay: float = 0.01

    def fate(self, dst: str, channel: Channel, kind: str, seq: int, size: int, now: float) -> Outcome:
        """One copy after `delay`."""
        return Outcome((self.delay,))


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

    def fate(self, dst: str, channel: Channel, kind: str, seq: int, size: int, now: float) -> Outcome:
        """Drawn from five numbers of 32 bits of one hash."""
        digest = blake2b(f"{self._src}\0{dst}\0{channel}\0{seq}".encode(), key=self._key, digest_size=20).digest()
        lost, first, repeated, second, damaged = _NUMBERS.unpack(digest)
        delay = self._least + self._range * first
        if now >= self._until:
            return Outcome((delay,))
        if lost < self._loss:
            return Outcome((), cause="loss")
        copies = (delay, self._least + self._range * second) if repeated < self._duplicate else (delay,)
        return Outcome(copies, damaged < self._corrupt)
