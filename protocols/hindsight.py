"""After an episode its members tell each other what they wanted and what they touched, so that each can learn from all of it.

`TraceExchange` sends the own trace (`protocols.traces`) to the other members until they acknowledge, collects theirs, and says
`Complete` or, after a deadline, `Incomplete`, once for each episode.

An acknowledgement means that the trace was taken, or is of no use any more. One that comes before the own episode has ended is kept,
but acknowledged only when `finished` is called: nothing is acknowledged and then lost from the bounded store.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import inf

import numpy as np

from protocols.conversation import Array, Conversation, Send, episodes
from protocols.errors import BadMessage
from protocols.messages import Message, Trace, TraceAck
from protocols.retries import Attempt, RetryTimers
from protocols.traces import EpisodeTrace, TraceLimits, decode_traces, encode_traces, intervals, joint, touches

__all__ = ["Complete", "EpisodeTrace", "Incomplete", "TraceExchange", "TraceLimits", "intervals", "joint", "touches"]

TRACES_PER_MESSAGE = 1024


@dataclass(frozen=True)
class Complete:
    """All other members' traces are there."""

    episode: int
    own: EpisodeTrace
    others: Mapping[str, EpisodeTrace]


@dataclass(frozen=True)
class Incomplete:
    """The deadline passed, or members died: these traces came, those members are missing."""

    episode: int
    own: EpisodeTrace
    others: Mapping[str, EpisodeTrace]
    missing: frozenset[str]


@dataclass
class _Exchange:
    own: EpisodeTrace
    members: frozenset[str]
    awaited: set[str]
    deadline: float
    unacknowledged: dict[str, Attempt]
    others: dict[str, EpisodeTrace] = field(default_factory=dict)
    settled: bool = False


class TraceExchange(Conversation[Complete | Incomplete]):
    """Traces of all finished episodes of one agent.

    `deadline`: seconds from `finished` to giving up (both waiting and repeating). `limit`: most finished episodes remembered, to
    acknowledge duplicates, and most early traces kept per sender; the oldest leave first. An early trace is kept four deadlines long.
    """

    def __init__(self, limits: TraceLimits, random: np.random.Generator, deadline: float = 5.0, limit: int = 4096) -> None:
        super().__init__()
        self._limits = limits
        self._timers = RetryTimers(random)
        self._deadline = deadline
        self._limit = limit
        self._exchanges: OrderedDict[int, _Exchange] = OrderedDict()
        self._active: dict[int, _Exchange] = {}
        self._early: dict[str, OrderedDict[int, tuple[EpisodeTrace, float]]] = {}
        self._traces: dict[str, dict[int, EpisodeTrace]] = {}
        self._acknowledgements: dict[str, dict[int, None]] = {}
        self._wake = inf

    def finished(self, trace: EpisodeTrace, others: Iterable[str], now: float) -> None:
        """The own episode is over: send its trace to the `others` who were its members, and expect theirs. First call wins."""
        if trace.episode in self._exchanges:
            return
        members = frozenset(others)
        exchange = _Exchange(trace, members, set(members), now + self._deadline, {})
        self._exchanges[trace.episode] = self._active[trace.episode] = exchange
        self._wake = min(self._wake, exchange.deadline)
        for member in sorted(members):
            exchange.unacknowledged[member] = attempt = self._timers[member].start(now)
            self._traces.setdefault(member, {})[trace.episode] = trace
            self._wake = min(self._wake, attempt.due)
        for src, kept in list(self._early.items()):
            early = kept.pop(trace.episode, None)
            if not kept:
                del self._early[src]
            if early is not None:
                self._take(src, exchange, early[0])
        self._progress(exchange)
        if len(self._exchanges) > self._limit:
            self._evict(next(iter(self._exchanges)))

    def peer_dead(self, peer: str, now: float) -> None:
        """Running episodes do not wait for `peer` any more; they become incomplete when all others' traces are there."""
        for exchange in list(self._active.values()):
            exchange.unacknowledged.pop(peer, None)
            exchange.awaited.discard(peer)
            self._progress(exchange)
        self._early.pop(peer, None)
        self._traces.pop(peer, None)
        self._acknowledgements.pop(peer, None)

    def tick(self, now: float) -> None:
        """Repeat unacknowledged traces that are due; give up what is past its deadline."""
        if now < self._wake:
            return
        wake = inf
        for episode, exchange in list(self._active.items()):
            if now >= exchange.deadline:
                for member in exchange.unacknowledged:
                    self._traces.get(member, {}).pop(episode, None)
                self.counters["unacknowledged"] += len(exchange.unacknowledged)
                exchange.unacknowledged.clear()
                self._settle(exchange)
                self._progress(exchange)
                continue
            wake = min(wake, exchange.deadline)
            for member, attempt in exchange.unacknowledged.items():
                if now >= attempt.due:
                    self._timers[member].again(attempt, now)
                    self._traces.setdefault(member, {})[episode] = exchange.own
                    self.counters["retry.trace"] += 1
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
        """Time of the next retry or deadline (or earlier)."""
        return self._wake

    def outgoing(self) -> list[Send]:
        """Traces and acknowledgements, batched by peer and kind."""
        for peer, traces in self._traces.items():
            waiting = list(traces.values())
            for start in range(0, len(waiting), TRACES_PER_MESSAGE):
                self._sends.append(Send(peer, Trace(), encode_traces(waiting[start : start + TRACES_PER_MESSAGE])))
        for peer, numbers in self._acknowledgements.items():
            if numbers:
                self._sends.append(Send(peer, TraceAck(), {"episode": np.array(list(numbers), np.int64)}))
        self._traces.clear()
        self._acknowledgements.clear()
        return super().outgoing()

    def _receive(self, src: str, message: Message, arrays: Mapping[str, Array], now: float) -> None:
        if isinstance(message, TraceAck):
            for episode in episodes(arrays).tolist():
                self._acknowledged(src, episode, now)
        elif isinstance(message, Trace):
            for trace in decode_traces(arrays, self._limits):
                exchange = self._exchanges.get(trace.episode)
                if exchange is None:
                    self._keep_early(src, trace, now)
                else:
                    self._take(src, exchange, trace)
                    self._progress(exchange)
        else:
            raise BadMessage("E_DECODE", f"{type(message).__name__} is no message of the trace exchange")

    def _take(self, src: str, exchange: _Exchange, trace: EpisodeTrace) -> None:
        episode = trace.episode
        if src not in exchange.members:
            self.counters["not_member"] += 1
        elif src in exchange.others:
            self.counters["duplicate"] += 1
            self._acknowledgements.setdefault(src, {})[episode] = None
        elif exchange.settled:
            self.counters["late"] += 1
            self._acknowledgements.setdefault(src, {})[episode] = None
        elif trace.length != exchange.own.length:
            # Members see the same episode end: one of the two is wrong, and joint touch cannot be built from them.
            self.counters["length_differs"] += 1
        else:
            exchange.others[src] = trace
            exchange.awaited.discard(src)
            self._acknowledgements.setdefault(src, {})[episode] = None

    def _acknowledged(self, src: str, episode: int, now: float) -> None:
        exchange = self._active.get(episode)
        attempt = exchange.unacknowledged.pop(src, None) if exchange is not None else None
        if exchange is None or attempt is None:
            self.counters["stray_acknowledgement"] += 1
            return
        self._timers[src].answered(attempt, now)
        self._traces.get(src, {}).pop(episode, None)
        self._progress(exchange)

    def _progress(self, exchange: _Exchange) -> None:
        """Settle when the last awaited trace is there; leave the active ones when nothing more is to be done."""
        if not exchange.awaited:
            self._settle(exchange)
        if exchange.settled and not exchange.unacknowledged:
            self._active.pop(exchange.own.episode, None)

    def _settle(self, exchange: _Exchange) -> None:
        if exchange.settled:
            return
        exchange.settled = True
        missing = exchange.members - exchange.others.keys()
        episode = exchange.own.episode
        if missing:
            self._events.append(Incomplete(episode, exchange.own, exchange.others, missing))
        else:
            self._events.append(Complete(episode, exchange.own, exchange.others))

    def _keep_early(self, src: str, trace: EpisodeTrace, now: float) -> None:
        kept = self._early.setdefault(src, OrderedDict())
        until = now + 4.0 * self._deadline
        kept.setdefault(trace.episode, (trace, until))
        self._wake = min(self._wake, until)
        if len(kept) > self._limit:
            kept.popitem(last=False)
            self.counters["early_overflow"] += 1

    def _evict(self, episode: int) -> None:
        exchange = self._exchanges.pop(episode)
        self._settle(exchange)
        self._active.pop(episode, None)
        for queued in self._traces.values():
            queued.pop(episode, None)
        self.counters["forgotten"] += 1
