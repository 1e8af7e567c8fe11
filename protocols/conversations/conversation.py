"""What all conversations with peers have in common: what goes in, what comes out, and that nothing a peer sends can throw.

A conversation is a state machine without socket, clock, thread or sleep. Its driver (an agent's main loop, a test, a simulator)

- reports what happened: `receive(src, message, arrays, now)`, `tick(now)`, `peer_dead(peer, now)` and its own verbs,
- takes the messages to send, `outgoing()`, and the events for the agent, `events()`,
- may ask `wake()`, the time before which `tick` would do nothing.

`now` is a monotonic time in seconds that never goes back.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from types import MappingProxyType
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from protocols.conversations.retries import RetryAttempt, RetryTimers
from protocols.runtime.errors import BadMessage
from protocols.runtime.waits import PendingWait
from protocols.wire.messages import Message

Array = NDArray[Any]
EventType = TypeVar("EventType")
Payload = TypeVar("Payload")

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

    def receive(self, src: str, message: Message, arrays: Mapping[str, Array], now: float) -> BadMessage | None:
        """Process a message from `src`. A message that breaks a rule is dropped and counted under `bad.E_...`; the error is returned."""
        try:
            self._receive(src, message, arrays, now)
        except BadMessage as error:
            self.counters[f"bad.{error.code}"] += 1
            return error
        return None

    @abstractmethod
    def _receive(self, src: str, message: Message, arrays: Mapping[str, Array], now: float) -> None:
        """As `receive`; raises `BadMessage` before anything was changed."""

    def concerns(self, message: Message) -> bool:
        """Whether a message of `message_types` belongs to this conversation, where several take its type."""
        return True

    def tick(self, now: float) -> None:
        """Process deadlines and retries that are due at `now`, in seconds of the caller's clock, which only rises. By default nothing is
        ever due."""

    @abstractmethod
    def peer_dead(self, peer: str, now: float) -> None:
        """`peer` is dead, which is final for its incarnation: end what waits for it at once."""

    def wake(self) -> float:
        """Earliest time, in seconds of the same clock, at which `tick` has something to do; infinite when nothing is pending."""
        return inf

    def waits(self) -> list[PendingWait]:
        """What is waited for now, of which peers and until when, in seconds of the same clock. By default nothing."""
        return []

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


@dataclass
class SentPayload(Generic[Payload]):
    """An own payload of an episode, which is repeated to the peers in `unacknowledged` until `deadline`."""

    payload: Payload
    deadline: float
    unacknowledged: dict[str, RetryAttempt] = field(default_factory=dict)


class EpisodeConversation(Conversation[EventType], Generic[EventType, Payload]):
    """Base of the conversations about episodes: payloads are repeated until they are acknowledged, and batched by peer.

    `deadline`: seconds after which a payload is not repeated any more. `limit`: most early payloads kept for each sender; the oldest leave
    first. An early payload, of an episode that this side does not know yet, is kept for `patience` seconds.
    """

    name: ClassVar[str]
    """the payload, in the names of counters"""
    message_type: ClassVar[type[Message]]
    acknowledgement_type: ClassVar[type[Message]]

    def __init__(self, random: np.random.Generator, deadline: float, limit: int, patience: float) -> None:
        super().__init__()
        self._timers = RetryTimers(random)
        self._deadline, self._limit, self._patience = deadline, limit, patience
        self._active: dict[int, SentPayload[Payload]] = {}
        """by episode, while there is anything to repeat or to wait for"""
        self._early: dict[str, OrderedDict[int, tuple[Payload, float]]] = {}
        """by sender and episode, with the time until which they are kept"""
        self._waiting: dict[str, dict[int, Payload]] = {}
        self._acknowledgements: dict[str, dict[int, Payload]] = {}
        self._wake = inf

    @abstractmethod
    def _pack(self, payloads: Mapping[int, Payload]) -> list[dict[str, Array]]:
        """Frames of the messages that contain these payloads, at least one, by episode."""

    @abstractmethod
    def _pack_acknowledgements(self, payloads: Mapping[int, Payload]) -> dict[str, Array]:
        """Frames of the message that acknowledges these payloads."""

    @abstractmethod
    def _deadline_passed(self, episode: int, sent: SentPayload[Payload]) -> None:
        """End an active episode."""

    def _start(self, episode: int, sent: SentPayload[Payload], peers: Iterable[str], now: float) -> None:
        """Send a payload to these peers, until they acknowledge it."""
        self._active[episode] = sent
        self._wake = min(self._wake, sent.deadline)
        for peer in peers:
            sent.unacknowledged[peer] = attempt = self._timers[peer].start(now)
            self._waiting.setdefault(peer, {})[episode] = sent.payload
            self._wake = min(self._wake, attempt.due)

    def _stop(self, episode: int, sent: SentPayload[Payload]) -> None:
        """Repeat it no more."""
        for peer in sent.unacknowledged:
            self._waiting.get(peer, {}).pop(episode, None)
        sent.unacknowledged.clear()

    def _acknowledged(self, src: str, episode: int, now: float) -> SentPayload[Payload] | None:
        """The payload that `src` acknowledges for the first time; None, and counted, where it does not."""
        sent = self._active.get(episode)
        attempt = None if sent is None else sent.unacknowledged.pop(src, None)
        if attempt is None:
            self.counters["stray_acknowledgement"] += 1
            return None
        self._timers[src].answered(attempt, now)
        self._waiting.get(src, {}).pop(episode, None)
        return sent

    def _acknowledge(self, dst: str, episode: int, payload: Payload) -> None:
        self._acknowledgements.setdefault(dst, {})[episode] = payload

    def _keep_early(self, src: str, episode: int, payload: Payload, now: float) -> None:
        kept = self._early.setdefault(src, OrderedDict())
        kept.setdefault(episode, (payload, now + self._patience))
        self._wake = min(self._wake, now + self._patience)
        if len(kept) > self._limit:
            kept.popitem(last=False)
            self.counters["early_overflow"] += 1

    def _take_early(self, episode: int) -> list[tuple[str, Payload, float]]:
        """Remove and return the early payloads of an episode: sender, payload, and until when it counts."""
        taken = []
        for src, kept in list(self._early.items()):
            early = kept.pop(episode, None)
            if not kept:
                del self._early[src]
            if early is not None:
                taken.append((src, *early))
        return taken

    def tick(self, now: float) -> None:
        """Repeat what is unacknowledged and due; end what is past its deadline, and drop early payloads that are too old."""
        if now < self._wake:
            return
        self._wake = inf
        for episode, sent in list(self._active.items()):
            if now >= sent.deadline:
                self._deadline_passed(episode, sent)
                continue
            self._wake = min(self._wake, sent.deadline)
            for peer, attempt in sent.unacknowledged.items():
                if now >= attempt.due:
                    self._timers[peer].again(attempt, now)
                    self._waiting.setdefault(peer, {})[episode] = sent.payload
                    self.counters[f"retry.{self.name}"] += 1
                self._wake = min(self._wake, attempt.due)
        for src, kept in list(self._early.items()):
            while kept and now >= next(iter(kept.values()))[1]:
                kept.popitem(last=False)
                self.counters["early_expired"] += 1
            if kept:
                self._wake = min(self._wake, next(iter(kept.values()))[1])
            else:
                del self._early[src]

    def wake(self) -> float:
        """Time in seconds of the next retry or deadline, or earlier; infinite when nothing is pending."""
        return self._wake

    def waits(self) -> list[PendingWait]:
        """For each peer the longest wait for its acknowledgements."""
        return self._waits_by_peer(
            (f"acknowledgements ({self.name})", peer, sent.deadline) for sent in self._active.values() for peer in sent.unacknowledged
        )

    def _waits_by_peer(self, found: Iterable[tuple[str, str, float]]) -> list[PendingWait]:
        """The earliest deadline of each operation and peer, as waits that began one deadline before."""
        earliest: dict[tuple[str, str], float] = {}
        for operation, peer, deadline in found:
            earliest[operation, peer] = min(deadline, earliest.get((operation, peer), inf))
        return [PendingWait(operation, (peer,), deadline - self._deadline, deadline) for (operation, peer), deadline in earliest.items()]

    def peer_dead(self, peer: str, now: float) -> None:
        """Send nothing to `peer`, and drop what it sent early."""
        self._early.pop(peer, None)
        self._waiting.pop(peer, None)
        self._acknowledgements.pop(peer, None)

    def outgoing(self) -> list[Send]:
        """Payloads and acknowledgements, batched by peer and kind."""
        for peer, payloads in self._waiting.items():
            if payloads:
                self._sends += [Send(peer, self.message_type(), arrays) for arrays in self._pack(payloads)]
        for peer, payloads in self._acknowledgements.items():
            if payloads:
                self._sends.append(Send(peer, self.acknowledgement_type(), self._pack_acknowledgements(payloads)))
        self._waiting.clear()
        self._acknowledgements.clear()
        return super().outgoing()


def frame(arrays: Mapping[str, Array], name: str, dtype: DTypeLike, shape: Sequence[int | None]) -> Array:
    """The frame of that name; `BadMessage` unless it is there, of that dtype and shape (None: any length)."""
    array = arrays.get(name)
    fits = array is not None and array.dtype == np.dtype(dtype) and array.ndim == len(shape)
    if array is None or not fits or any(length not in (None, given) for given, length in zip(array.shape, shape, strict=True)):
        found = "missing" if array is None else f"{array.dtype} of shape {array.shape}"
        expected = f"[{', '.join('n' if length is None else str(length) for length in shape)}]"
        raise BadMessage("E_FRAME", f"frame {name} is {found}, not {np.dtype(dtype)} of shape {expected}")
    return array


def column(arrays: Mapping[str, Array], name: str, dtype: DTypeLike, rows: int | None = None) -> Array:
    """The frame `name[n]` of a batched message; `BadMessage` unless it is there, of that dtype, rank 1, and of `rows` rows if given."""
    array = frame(arrays, name, dtype, (rows,))
    if len(array) > ROWS:
        raise BadMessage("E_FRAME", f"{name} has {len(array)} rows, at most {ROWS}")
    return array


def columns(arrays: Mapping[str, Array], dtypes: Mapping[str, str]) -> list[Array]:
    """The frames of these names and dtypes, all of the same number of rows; else `BadMessage`."""
    found: list[Array] = []
    for name, dtype in dtypes.items():
        found.append(column(arrays, name, dtype, len(found[0]) if found else None))
    return found


def pack_rows(rows: Iterable[Sequence[float]], dtypes: Mapping[str, str]) -> dict[str, Array]:
    """The inverse of `columns`: frames of these names and dtypes from rows of as many numbers."""
    by_column = list(zip(*rows, strict=True)) or [()] * len(dtypes)
    return {name: np.array(values, dtype) for (name, dtype), values in zip(dtypes.items(), by_column, strict=True)}


def require(holds: NDArray[np.bool_], broken: str) -> None:
    """`BadMessage` with the text `broken` unless all numbers of a frame keep a rule."""
    if not holds.all():
        raise BadMessage("E_FRAME", broken)


def episodes(arrays: Mapping[str, Array]) -> Array:
    """The frame `episode[n] i8` of a batched message; `BadMessage` for a missing frame, negative numbers or repeated ones."""
    array = column(arrays, "episode", "i8")
    require(array >= 0, "a negative episode")
    if len(np.unique(array)) != len(array):
        raise BadMessage("E_FRAME", "an episode twice in one message")
    return array
