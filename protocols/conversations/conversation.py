"""What all conversations with peers have in common: what goes in, what comes out, and that nothing a peer sends can throw.

A conversation is a state machine without socket, clock, thread or sleep. Its driver (an agent's main loop, a test, a simulator)

- reports what happened: `receive(src, message, arrays, now)`, `tick(now)`, `peer_dead(peer, now)` and its own verbs,
- takes the messages to send, `outgoing()`, and the events for the agent, `events()`,
- may ask `wake()`, the time before which `tick` would do nothing.

`now` is a monotonic time in seconds that never goes back.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from math import inf
from types import MappingProxyType
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from protocols.runtime.errors import BadMessage
from protocols.wire.messages import Message

Array = NDArray[Any]
EventType = TypeVar("EventType")

ROWS = 65536
"""most rows (episodes) in one batched message"""


class Send(NamedTuple):
    """A message for `dst`, with the arrays that travel as its frames."""

    dst: str
    message: Message
    arrays: Mapping[str, Array] = MappingProxyType({})


class Conversation(ABC, Generic[EventType]):
    """Base of the conversations between agents: a state machine without clock or socket; time is an argument, and messages and events
    are results. `counters`: messages dropped, by the reason."""

    message_types: ClassVar[tuple[type[Message], ...]]
    """the messages that `receive` takes"""

    def __init__(self) -> None:
        self.counters: Counter[str] = Counter()
        self._events: list[EventType] = []
        self._sends: list[Send] = []

    def receive(self, src: str, message: Message, arrays: Mapping[str, Array], now: float) -> None:
        """Process a message from `src`. A message that breaks a rule is dropped and counted under `bad.E_...`; nothing is raised."""
        try:
            self._receive(src, message, arrays, now)
        except BadMessage as error:
            self.counters[f"bad.{error.code}"] += 1

    @abstractmethod
    def _receive(self, src: str, message: Message, arrays: Mapping[str, Array], now: float) -> None:
        """As `receive`; raises `BadMessage` before anything was changed."""

    def concerns(self, message: Message) -> bool:
        """Whether a message of `message_types` belongs to this conversation, where several take its type."""
        return True

    @abstractmethod
    def tick(self, now: float) -> None:
        """Process deadlines and retries that are due at `now`, in seconds of the caller's clock, which only rises."""

    @abstractmethod
    def peer_dead(self, peer: str, now: float) -> None:
        """`peer` is dead, which is final for its incarnation: end what waits for it at once."""

    def wake(self) -> float:
        """Earliest time, in seconds of the same clock, at which `tick` has something to do; infinite when nothing is pending."""
        return inf

    def outgoing(self) -> list[Send]:
        """Remove and return all messages that are to be sent now, in order."""
        sends, self._sends = self._sends, []
        return sends

    def events(self) -> list[EventType]:
        """Remove and return all events since the last call, in order."""
        events, self._events = self._events, []
        return events


class EdgeConversation(Conversation[EventType]):
    """A conversation with the neighbours in the graph, which is notified when a neighbour is available (again)."""

    @abstractmethod
    def peer_alive(self, peer: str, incarnation: int, now: float) -> None:
        """`peer` is alive (again) with this incarnation number: include it from now on."""


def column(arrays: Mapping[str, Array], name: str, dtype: str, rows: int | None = None) -> Array:
    """The frame `name[n]` of a batched message; `BadMessage` unless it is there, of that dtype, rank 1, and of `rows` rows if given."""
    array = arrays.get(name)
    if array is None:
        raise BadMessage("E_FRAME", f"frame {name!r} is missing")
    if array.dtype != np.dtype(dtype) or array.ndim != 1:
        raise BadMessage("E_FRAME", f"{name} is {array.dtype} of rank {array.ndim}, not {dtype} of rank 1")
    if len(array) > ROWS or (rows is not None and len(array) != rows):
        raise BadMessage("E_FRAME", f"{name} has {len(array)} rows, not {f'at most {ROWS}' if rows is None else rows}")
    return array


def episodes(arrays: Mapping[str, Array]) -> Array:
    """The frame `episode[n] i8` of a batched message; `BadMessage` for a missing frame, negative numbers or repeated ones."""
    array = column(arrays, "episode", "i8")
    if len(array) and array.min() < 0:
        raise BadMessage("E_FRAME", "a negative episode")
    if len(np.unique(array)) != len(array):
        raise BadMessage("E_FRAME", "an episode twice in one message")
    return array
