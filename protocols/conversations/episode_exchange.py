"""Exchange of one payload per member after an episode: the base of these exchanges, and that of traces.

`EpisodeExchange` sends the own payload to the other members until they acknowledge, collects theirs, and reports `EpisodeExchanged` once
for each episode, at the latest after a deadline. Subclasses define the payload and its format (`TraceExchange`,
`protocols.conversations.joint_experience.JointExperience`).

An acknowledgement means that the payload was taken, or is of no use any more. One that comes before the own episode has ended is kept,
but acknowledged only when `finished` is called: nothing is acknowledged and then lost from the bounded store.

Traces: after an episode each member sends the others the goal that it pursued and the features that it touched. A trace is small: instead
of the bits `achieved[T + 1, L]` (row 0 is the state at the start, row t the one after step t) it has the intervals in which each feature
was touched. From all traces each member computes what was touched jointly.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from protocols.conversations.conversation import Array, EpisodeConversation, SentPayload, columns, episodes, frame, pack_rows, require
from protocols.runtime.errors import BadMessage
from protocols.runtime.waits import PendingWait
from protocols.wire.message_registry import register_conversation, route
from protocols.wire.messages import Message


class Trace(Message):
    """Member -> other members, after the episode: the goal that it pursued and the features that it achieved. EO by (episode, src).

    Frames: `episode[n] i8`, `goal[n] i4`, `message[n] i4` (-1: none), `role[n] u1` (1 leader), `reward[n] f4`, `stop[n] i4` (its own
    last step), `length[n] i4` (the episode's steps), `touch[m, 4] i4` (row, first step, last step + 1, feature).
    """


class TraceAck(Message):
    """Receiver -> sender: `episode[n] i8`."""


register_conversation(
    "hindsight",
    route("peer", "agent", "agent", Trace, TraceAck),
    corruption="protocols.faults.node_faults.byzantine_messages:GoalCorruption",
)


@dataclass(frozen=True)
class EpisodePayload:
    """Base of what a member contributes to an episode, which has this number."""

    episode: int


Payload = TypeVar("Payload", bound=EpisodePayload)


@dataclass(frozen=True)
class EpisodeExchanged(Generic[Payload]):
    """The payloads of the other members of an episode: all have come, or the deadline passed or members died, and some are missing."""

    episode: int
    own: Payload
    others: Mapping[str, Payload]
    missing: frozenset[str] = frozenset()


@dataclass(kw_only=True)
class PendingExchange(SentPayload[Payload]):
    """An own payload, and those of the other members as far as they have come."""

    members: frozenset[str]
    awaited: set[str]
    others: dict[str, Payload] = field(default_factory=dict)
    settled: bool = False


class EpisodeExchange(EpisodeConversation[EpisodeExchanged[Payload], Payload]):
    """Payloads of all finished episodes of one agent.

    `deadline`: seconds from `finished` to giving up (both waiting and repeating). `limit`: most finished episodes stored, to
    acknowledge duplicates, and most early payloads kept per sender; the oldest leave first. An early one is kept four deadlines long.
    """

    def __init__(self, random: np.random.Generator, deadline: float = 5.0, limit: int = 4096) -> None:
        super().__init__(random, deadline, limit, patience=4.0 * deadline)
        self._exchanges: OrderedDict[int, PendingExchange[Payload]] = OrderedDict()
        """those that still wait or repeat are in `_active` too"""

    @abstractmethod
    def _unpack(self, src: str, arrays: Mapping[str, Array]) -> list[Payload]:
        """The payloads in a message of `src`; `BadMessage` for a wrong format."""

    @abstractmethod
    def _mismatch(self, own: Payload, other: Payload) -> str:
        """Name of the counter for a payload that cannot be of the same episode as the own one; empty when it fits."""

    def finished(self, payload: Payload, others: Iterable[str], now: float) -> None:
        """The own episode is over: send it to the `others` who were its members, and expect theirs. First call wins."""
        episode = payload.episode
        if episode in self._exchanges:
            return
        members = frozenset(others)
        exchange = PendingExchange(payload, now + self._deadline, members=members, awaited=set(members))
        self._exchanges[episode] = exchange
        self._start(episode, exchange, sorted(members), now)
        for src, early, _ in self._take_early(episode):
            self._take(src, exchange, early)
        self._progress(exchange)
        if len(self._exchanges) > self._limit:
            oldest, exchange = self._exchanges.popitem(last=False)
            self._settle(exchange)
            self._stop(oldest, exchange)
            self._active.pop(oldest, None)
            self.counters["forgotten"] += 1

    def waits(self) -> list[PendingWait]:
        """For the payloads of the other members, then for acknowledgements."""
        awaited = (
            (f"the {self.name} of an episode", peer, self._exchanges[episode].deadline)
            for episode in self._active
            for peer in self._exchanges[episode].awaited
        )
        return self._waits_by_peer(awaited) + super().waits()

    def peer_dead(self, peer: str, now: float) -> None:
        """Running episodes do not wait for `peer` any more; they become incomplete when all others' are there."""
        for exchange in [self._exchanges[episode] for episode in self._active]:
            exchange.unacknowledged.pop(peer, None)
            exchange.awaited.discard(peer)
            self._progress(exchange)
        super().peer_dead(peer, now)

    def _deadline_passed(self, episode: int, sent: SentPayload[Payload]) -> None:
        self.counters["unacknowledged"] += len(sent.unacknowledged)
        self._stop(episode, sent)
        self._settle(self._exchanges[episode])
        self._leave(self._exchanges[episode])

    def _pack_acknowledgements(self, payloads: Mapping[int, Payload]) -> dict[str, Array]:
        return {"episode": np.array(list(payloads), np.int64)}

    def _receive(self, src: str, message: Message, arrays: Mapping[str, Array], now: float) -> None:
        if isinstance(message, self.acknowledgement_type):
            for episode in episodes(arrays).tolist():
                if self._acknowledged(src, episode, now) is not None:
                    self._progress(self._exchanges[episode])
        elif isinstance(message, self.message_type):
            for payload in self._unpack(src, arrays):
                exchange = self._exchanges.get(payload.episode)
                if exchange is None:
                    self._keep_early(src, payload.episode, payload, now)
                else:
                    self._take(src, exchange, payload)
                    self._progress(exchange)
        else:
            raise BadMessage("E_DECODE", f"{type(message).__name__} is no message of the {self.name} exchange")

    def _take(self, src: str, exchange: PendingExchange[Payload], payload: Payload) -> None:
        if src not in exchange.members:
            self.counters["not_member"] += 1
            return
        if src in exchange.others:
            self.counters["duplicate"] += 1
        elif exchange.settled:
            self.counters["late"] += 1
        elif mismatch := self._mismatch(exchange.payload, payload):
            self.counters[mismatch] += 1
            return
        else:
            exchange.others[src] = payload
            exchange.awaited.discard(src)
        self._acknowledge(src, payload.episode, payload)

    def _progress(self, exchange: PendingExchange[Payload]) -> None:
        """Settle when the last awaited payload is there; leave the active ones when nothing more is to be done."""
        if not exchange.awaited:
            self._settle(exchange)
        if exchange.settled and not exchange.unacknowledged:
            self._leave(exchange)

    def _leave(self, exchange: PendingExchange[Payload]) -> None:
        """Nothing more is to be done: only its number and its members are kept, to acknowledge duplicates."""
        self._active.pop(exchange.payload.episode, None)
        exchange.payload = self._remembered(exchange.payload)

    def _remembered(self, payload: Payload) -> Payload:
        """What is kept of the payload of an exchange that is over."""
        return payload

    def _settle(self, exchange: PendingExchange[Payload]) -> None:
        if not exchange.settled:
            exchange.settled = True
            missing = exchange.members - exchange.others.keys()
            self._events.append(EpisodeExchanged(exchange.payload.episode, exchange.payload, exchange.others, missing))
            exchange.others = dict.fromkeys(exchange.others, self._remembered(exchange.payload))  # their names, to recognise duplicates


# --- traces ---------------------------------------------------------------------------------------------------------------------------

Bits = NDArray[np.uint8]
TRACES_PER_MESSAGE = 1024
_COLUMNS = {"episode": "i8", "goal": "i4", "message": "i4", "role": "u1", "reward": "f4", "stop": "i4", "length": "i4"}
Interval = tuple[int, int, int]
"""first row, last row + 1, feature"""


def intervals(achieved: Bits) -> list[Interval]:
    """Runs of ones in the columns of `achieved[T + 1, L]` as (first row, last row + 1, feature), by feature and time."""
    padded = np.zeros((achieved.shape[1], achieved.shape[0] + 2), np.int8)
    padded[:, 1:-1] = (achieved != 0).T
    change = np.diff(padded, axis=1)
    feature, first = np.nonzero(change == 1)
    _, last = np.nonzero(change == -1)
    return list(zip(first.tolist(), last.tolist(), feature.tolist(), strict=True))


def touches(touched: Iterable[Interval], length: int, features: int) -> Bits:
    """The inverse: bits `[length + 1, features]` with ones in the intervals. `ValueError` for an interval that does not fit."""
    achieved = np.zeros((length + 1, features), np.uint8)
    for first, last, feature in touched:
        if not (0 <= first < last <= length + 1 and 0 <= feature < features):
            raise ValueError(f"interval {(first, last, feature)} does not fit into {length + 1} rows of {features} features")
        achieved[first:last, feature] = 1
    return achieved


@dataclass(frozen=True)
class EpisodeTrace(EpisodePayload):
    """The trace of one member of an episode."""

    goal: int
    """the goal it pursued"""
    message: int
    """the integer of the negotiation, -1 without"""
    leader: bool
    """its role"""
    reward: float
    """what it earned at its end"""
    stop: int
    """its own last step"""
    length: int
    """steps of the episode, T"""
    touched: tuple[Interval, ...] = ()
    """`intervals` of its own body, the time after its own end included"""


def encode_traces(traces: Sequence[EpisodeTrace]) -> dict[str, Array]:
    """Frames of a `Trace` message for these traces, in their order."""
    touch = [(row, *interval) for row, trace in enumerate(traces) for interval in trace.touched]
    rows = [(t.episode, t.goal, t.message, t.leader, t.reward, t.stop, t.length) for t in traces]
    return pack_rows(rows, _COLUMNS) | {"touch": np.array(touch, np.int32).reshape(len(touch), 4)}


@dataclass(frozen=True)
class TraceLimits:
    """What a trace may hold: goals in [0, goals), features in [0, features), episodes of at most `longest` steps."""

    goals: int
    features: int
    longest: int = 65536


def decode_traces(arrays: Mapping[str, Array], limits: TraceLimits) -> list[EpisodeTrace]:
    """Traces of the frames of a `Trace` message. Raises `BadMessage` for whatever breaks the format or `limits`: intervals must be
    within their episode and those of one feature must neither overlap nor touch."""
    n = len(episodes(arrays))
    _, goal, message, role, reward, stop, length = found = columns(arrays, _COLUMNS)
    touch = frame(arrays, "touch", "i4", (None, 4))
    require((goal >= 0) & (goal < limits.goals), f"a goal outside of [0, {limits.goals})")
    require(message >= -1, "a message below -1")
    require(role <= 1, "a role that is neither 0 nor 1")
    require(np.isfinite(reward), "a reward that is not finite")
    require((length >= 0) & (length <= limits.longest), f"a length outside of [0, {limits.longest}]")
    require((stop >= 0) & (stop <= length), "a last step outside of its episode")
    rows, first, last, feature = touch.T.astype(np.int64)
    require((rows >= 0) & (rows < n), f"an interval of a row outside of [0, {n})")
    require((first >= 0) & (first < last), "an interval that ends before it begins")
    require(last <= length[rows] + 1, "an interval outside of its episode")
    require((feature >= 0) & (feature < limits.features), f"a feature outside of [0, {limits.features})")
    order = np.lexsort((first, feature, rows))
    rows, first, last, feature = rows[order], first[order], last[order], feature[order]
    same = (rows[1:] == rows[:-1]) & (feature[1:] == feature[:-1])
    require(~same | (first[1:] > last[:-1]), "intervals of one feature that overlap or touch")
    touched: list[list[Interval]] = [[] for _ in range(n)]
    for row, *interval in zip(rows.tolist(), first.tolist(), last.tolist(), feature.tolist(), strict=True):
        touched[row].append((interval[0], interval[1], interval[2]))
    fields = zip(*(values.tolist() for values in found), touched, strict=True)
    return [EpisodeTrace(e, g, m, bool(r), w, s, t, tuple(runs)) for e, g, m, r, w, s, t, runs in fields]


class TraceExchange(EpisodeExchange[EpisodeTrace]):
    """Traces of all finished episodes of one agent. `deadline` and `limit` as in `EpisodeExchange`."""

    name = "trace"
    message_types = (Trace, TraceAck)
    message_type = Trace
    acknowledgement_type = TraceAck

    def __init__(self, limits: TraceLimits, random: np.random.Generator, deadline: float = 5.0, limit: int = 4096) -> None:
        super().__init__(random, deadline, limit)
        self._limits = limits

    def _pack(self, payloads: Mapping[int, EpisodeTrace]) -> list[dict[str, Array]]:
        traces = list(payloads.values())
        return [encode_traces(traces[start : start + TRACES_PER_MESSAGE]) for start in range(0, len(traces), TRACES_PER_MESSAGE)]

    def _unpack(self, src: str, arrays: Mapping[str, Array]) -> list[EpisodeTrace]:
        return decode_traces(arrays, self._limits)

    def _mismatch(self, own: EpisodeTrace, other: EpisodeTrace) -> str:
        # Members see the same episode end: one of the two is wrong, and joint touch cannot be built from them.
        return "" if own.length == other.length else "length_differs"
