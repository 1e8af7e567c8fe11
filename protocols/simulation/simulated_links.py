"""What a simulated link may do to a message, and links without faults; a run's configured links have the same method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from protocols.wire.messages import Channel


class AnyLinkOutcome(Protocol):
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
    """The links of one node to all others. An outcome may depend only on its arguments and those of earlier calls."""

    def link_outcome(self, dst: str, channel: Channel, kind: str, seq: int, size: int, now: float) -> AnyLinkOutcome:
        """Outcome of the message number `seq` (from 1 on) to `dst` over `channel`: `kind` is its tag, `size` its bytes on the wire."""
        ...


class DrawnOutcome(NamedTuple):
    """An outcome of the models in this module."""

    copies: Sequence[float]
    corrupt: bool = False
    cause: str = ""


@dataclass(frozen=True)
class PerfectLinks:
    """Every message arrives once, undamaged, after the same time: links on which all rounds run in step."""

    delay: float = 0.01

    def link_outcome(self, dst: str, channel: Channel, kind: str, seq: int, size: int, now: float) -> DrawnOutcome:
        """One copy after `delay`."""
        return DrawnOutcome((self.delay,))
