"""Exchange of one payload per member after an episode: the base of the exchanges of traces and of corrections.

`EpisodeExchange` sends the own payload to the other members until they acknowledge, collects theirs, and reports `ExchangeComplete` or,
after a deadline, `ExchangeIncomplete`, once for each episode. Subclasses define the payload and its format
(`protocols.conversations.hindsight.episode_traces.TraceExchange`,
`protocols.conversations.hindsight.correction_exchange.CorrectionExchange`).

An acknowledgement means that the payload was taken, or is of no use any more. One that comes before the own episode has ended is kept,
but acknowledged only when `finished` is called: nothing is acknowledged and then lost from the bounded store.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import ClassVar, Generic, Protocol, TypeVar

import numpy as np

from protocols.conversations.conversation import Array, Conversation, Send, episodes
from protocols.conversations.retries import RetryAttempt, RetryTimers
from protocols.runtime.errors import BadMessage
from protocols.wire.messages import Message


class EpisodePayload(Protocol):
    """The payload of a member for an episode."""

    @property
    def episode(self) -> int:
        """The episode's number."""
        ...


Payload = TypeVar("Payload", bound=EpisodePayload)


@dataclass(frozen=True)
class ExchangeComplete(Generic[Payload]):
    """Event: the payloads of all other members of an episode have arrived."""

    episode: int
    own: Payload
    others: Mapping[str, Payload]


@dataclass(frozen=True)
class ExchangeIncomplete(Generic[Payload]):
    """The deadline passed, or members died: these payloads came, those members are missing."""

    episode: int
    own: Payload
    others: Mapping[str, Payload]
    missing: frozenset[str]


@dataclass
class _Exchange(Generic[Payload]):
    own: Payload
    members: frozenset[str]
    awaited: set[str]
    deadline: float
    unacknowledged: dict[str, RetryAttempt]
    others: dict[str, Payload] = field(default_factory=dict)
    settled: bool = False


class EpisodeExchange(Conversation[ExchangeComplete[Payload] | ExchangeIncomplete[Payload]], Generic[Payload]):
    """Payloads of all finished episodes of one agent.

    `deadline`: seconds from `finished` to giving up (both waiting and repeating). `limit`: most finished episodes stored, to
    acknowledge duplicates, and most early payloads kept per sender; the oldest leave first. An early one is kept four deadlines long.
    """

    name: ClassVar[str]
    """the payload, in the names of counters"""
    message_type: ClassVar[type[Message]]
    acknowledgement_type: ClassVar[type[Message]]

    def __init__(self, random: np.random.Generator, deadline: float = 5.0, limit: int = 4096) -> None:
        super().__init__()
        self._timers = RetryTimers(random)
        self._deadline = deadline
        self._limit = limit
        self._exchanges: OrderedDict[int, _Exchange[Payload]] = OrderedDict()
        self._active: dict[int, _Exchange[Payload]] = {}
        self._early: dict[str, OrderedDict[int, tuple[Payload, float]]] = {}
        self._waiting: dict[str, dict[int, Payload]] = {}
        self._acknowledgements: dict[str, dict[int, None]] = {}
        self._wake = inf

    @abstractmethod
    def _pack(self, payloads: Sequence[Payload]) -> list[dict[str, Array]]:
        """Frames of the messages that contain these payloads."""

    @abstractmethod
    def _unpack(self, arrays: Mapping[str, Array]) -> list[Payload]:
        """The payloads in a message; `BadMessage` for a wrong format."""

    @abstractmethod
    def _mismatch(self, own: Payload, other: Payload) -> str:
        """Name of the counter for a payload that cannot be of the same episode as the own one; empty when it fits."""

    def finished(self, payload: Payload, others: Iterable[str], now: float) -> None:
        """The own episode is over: send it to the `others` who were its members, and expect theirs. First call wins."""
        if payload.episode in self._exchanges:
            return
        members = frozenset(others)
        exchange = _Exchange(payload, members, set(members), now + self._deadline, {})
        self._exchanges[payload.episode] = self._active[payload.episode] = exchange
        self._wake = min(self._wake, exchange.deadline)
        for member in sorted(members):
            exchange.unacknowledged[member] = attempt = self._timers[member].start(now)
            self._waiting.setdefault(member, {})[payload.episode] = payload
            self._wake = min(self._wake, attempt.due)
        for src, kept in list(self._early.items()):
            early = kept.pop(payload.episode, None)
            if not kept:
                del self._early[src]
            if early is not None:
                self._take(src, exchange, early[0])
        self._progress(exchange)
        if len(self._exchanges) > self._limit:
            self._evict(next(iter(self._exchanges)))

    def peer_dead(self, peer: str, now: float) -> None:
        """Running episodes do not wait for `peer` any more; they become incomplete when all others' are there."""
        for exchange in list(self._active.values()):
            exchange.unacknowledged.pop(peer, None)
            exchange.awaited.discard(peer)
            self._progress(exchange)
        self._early.pop(peer, None)
        self._waiting.pop(peer, None)
        self._acknowledgements.pop(peer, None)

    def tick(self, now: float) -> None:
        """Repeat what is unacknowledged and due; give up what is past its deadline."""
        if now < self._wake:
            return
        wake = inf
        for episode, exchange in list(self._active.items()):
            if now >= exchange.deadline:
                for member in exchange.unacknowledged:
                    self._waiting.get(member, {}).pop(episode, None)
                self.counters["unacknowledged"] += len(exchange.unacknowledged)
                exchange.unacknowledged.clear()
                self._settle(exchange)
                self._progress(exchange)
                continue
            wake = min(wake, exchange.deadline)
            for member, attempt in exchange.unacknowledged.items():
                if now >= attempt.due:
                    self._timers[member].again(attempt, now)
                    self._waiting.setdefault(member, {})[episode] = exchange.own
                    self.counters[f"retry.{self.name}"] += 1
                wake = min(wake, attempt.due)
        for src, kept in list(self._early.items()):
            while kept and now >= next(iter(kept.values()))[1]:
                kept.popitem(last=False)
                self.counters["early_expired"] += 1
            if kept:
                wake = min(wake, next(iter(kept.values()))[1])
            else:
                del self._early[src]
        self._wake = wake

    def wake(self) -> float:
        """Time in seconds of the next retry or deadline, or earlier; infinite when nothing is pending."""
        return self._wake

    def outgoing(self) -> list[Send]:
        """Payloads and acknowledgements, batched by peer and kind."""
        for peer, waiting in self._waiting.items():
            self._sends += [Send(peer, self.message_type(), arrays) for arrays in self._pack(list(waiting.values()))]
        for peer, numbers in self._acknowledgements.items():
            if numbers:
                self._sends.append(Send(peer, self.acknowledgement_type(), {"episode": np.array(list(numbers), np.int64)}))
        self._waiting.clear()
        self._acknowledgements.clear()
        return super().outgoing()

    def _receive(self, src: str, message: Message, arrays: Mapping[str, Array], now: float) -> None:
        if isinstance(message, self.acknowledgement_type):
            for episode in episodes(arrays).tolist():
                self._acknowledged(src, episode, now)
        elif isinstance(message, self.message_type):
            for payload in self._unpack(arrays):
                exchange = self._exchanges.get(payload.episode)
                if exchange is None:
                    self._keep_early(src, payload, now)
                else:
                    self._take(src, exchange, payload)
                    self._progress(exchange)
        else:
            raise BadMessage("E_DECODE", f"{type(message).__name__} is no message of the {self.name} exchange")

    def _take(self, src: str, exchange: _Exchange[Payload], payload: Payload) -> None:
        episode = payload.episode
        if src not in exchange.members:
            self.counters["not_member"] += 1
        elif src in exchange.others:
            self.counters["duplicate"] += 1
            self._acknowledgements.setdefault(src, {})[episode] = None
        elif exchange.settled:
            self.counters["late"] += 1
            self._acknowledgements.setdefault(src, {})[episode] = None
        elif mismatch := self._mismatch(exchange.own, payload):
            self.counters[mismatch] += 1
        else:
            exchange.others[src] = payload
            exchange.awaited.discard(src)
            self._acknowledgements.setdefault(src, {})[episode] = None

    def _acknowledged(self, src: str, episode: int, now: float) -> None:
        exchange = self._active.get(episode)
        attempt = exchange.unacknowledged.pop(src, None) if exchange is not None else None
        if exchange is None or attempt is None:
            self.counters["stray_acknowledgement"] += 1
            return
        self._timers[src].answered(attempt, now)
        self._waiting.get(src, {}).pop(episode, None)
        self._progress(exchange)

    def _progress(self, exchange: _Exchange[Payload]) -> None:
        """Settle when the last awaited payload is there; leave the active ones when nothing more is to be done."""
        if not exchange.awaited:
            self._settle(exchange)
        if exchange.settled and not exchange.unacknowledged:
            self._active.pop(exchange.own.episode, None)

    def _settle(self, exchange: _Exchange[Payload]) -> None:
        if exchange.settled:
            return
        exchange.settled = True
        missing = exchange.members - exchange.others.keys()
        episode = exchange.own.episode
        if missing:
            self._events.append(ExchangeIncomplete(episode, exchange.own, exchange.others, missing))
        else:
            self._events.append(ExchangeComplete(episode, exchange.own, exchange.others))

    def _keep_early(self, src: str, payload: Payload, now: float) -> None:
        kept = self._early.setdefault(src, OrderedDict())
        until = now + 4.0 * self._deadline
        kept.setdefault(payload.episode, (payload, until))
        self._wake = min(self._wake, until)
        if len(kept) > self._limit:
            kept.popitem(last=False)
            self.counters["early_overflow"] += 1

    def _evict(self, episode: int) -> None:
        exchange = self._exchanges.pop(episode)
        self._settle(exchange)
        self._active.pop(episode, None)
        for queued in self._waiting.values():
            queued.pop(episode, None)
        self.counters["forgotten"] += 1
