"""Exchange of messages under the logical clock: every message arrives at a defined tick, and every agent waits for all messages of a tick.

At tick T an agent sends all its messages, each with the tick at which it counts as arrived,

    at = T + max(1, ceil(delay / length of a tick)),

and then a marker "that was all of tick T" to every partner. A message that the link loses is never sent: the marker takes its place. The
agent handles tick T + 1 when it has the markers of T of all partners, and handles the messages that have arrived by then in the order (at,
sender, order of sending). Nothing depends on when a message really arrived, nor on computing times.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

from numpy.typing import NDArray

from agent_node.exchange.peer_conversations import PeerConversations
from protocols.conversations.conversation import Send, column
from protocols.conversations.lockstep.lockstep_messages import Marker
from protocols.conversations.stepping.stepping_messages import Joined, Observation, Offer
from protocols.faults.link_effects.link_trace import read_past
from protocols.faults.link_effects.run_links import links_of, recorder_of
from protocols.faults.schedule.fault_schedule import LINK_KINDS
from protocols.runtime.clock import LogicalClock
from protocols.runtime.errors import ResourceError
from protocols.runtime.node_start import NodeStart
from protocols.transport import Transport
from protocols.wire.messages import Message

logger = logging.getLogger(__name__)
Arrays = Mapping[str, NDArray[Any]]
_MESSAGES = 2**16
"""most numbered messages to one partner at one tick"""
PERIOD = 100
"""ticks over which the trace counts outcomes of messages"""
LONG = 5.0
"""real seconds of waiting for partners after which a warning is logged"""


class IntervalLinks:
    """Effects of the fault schedule on an agent's messages, from one checkpoint to the next.

    Random draws, queues and bursts of loss start again at every checkpoint, whose tick is their epoch; faults that began or ended before
    are read from the agent's own trace. A corrupted message would be refused by its receiver: here it is not sent."""

    def __init__(self, configuration: Mapping[str, Any], start: NodeStart, incarnation: int) -> None:
        self._configuration = configuration
        self._start = replace(start, incarnation=incarnation)
        self._recorder = recorder_of(configuration, self._start, wall=False)
        self.begin(start_tick=-1)

    def begin(self, start_tick: int) -> None:
        """All agents continue from the checkpoint of this tick; -1 is the start of the run."""
        self._recorder.close()
        self._recorder = recorder_of(self._configuration, self._start, wall=False)
        past = read_past(self._start.node_directory, LINK_KINDS)
        self._links = links_of(self._configuration, self._start.node, start_tick + 2, past)

    def reached(self, tick: int, time: float, steps: int, episodes: int) -> None:
        """A tick begins."""
        if self._links is not None:
            changes = self._links.progress(time=time, step=steps, episode=episodes)
            self._recorder.tick(tick // PERIOD)
            self._recorder.changed(changes, self._links.reached)

    def copies(self, dst: str, kind: str, seq: int, size: int, now: float) -> Collection[float]:
        """Delay in seconds of each copy that arrives; none for a lost message."""
        if self._links is None:
            return (0.0,)
        link_outcome = self._links.link_outcome(dst, "peer", kind, seq, size, now)
        self._recorder.decided("peer", dst, kind, seq, size, link_outcome)
        return () if link_outcome.corrupt else link_outcome.copies

    def close(self) -> None:
        """Write what has not been written yet."""
        self._recorder.close()


@dataclass(frozen=True, slots=True)
class _Parcel:
    at: int
    sent: int
    order: int
    message: Message
    arrays: Arrays


class TickBarrier:
    """One agent's messages to and from its partners, tick by tick. Partners are absent until `peer_joined`."""

    def __init__(self, length: float, links: IntervalLinks | None = None) -> None:
        self._length = length
        self._links = links
        self._since: dict[str, int] = {}
        self._parcels: dict[str, list[_Parcel]] = {}
        self._markers: dict[str, dict[int, int]] = {}
        self._outbox: dict[str, deque[tuple[int, int, Message, Arrays]]] = {}
        self._orders = 0

    # --- partners -------------------------------------------------------------------------------------------------------------------

    def peer_joined(self, partner: str, tick: int) -> None:
        """A partner takes part from `tick` on. Messages of its earlier incarnations are dropped."""
        self._since[partner] = tick
        self._parcels[partner] = [parcel for parcel in self._parcels.get(partner, []) if parcel.sent >= tick]
        self._markers[partner] = {sent: count for sent, count in self._markers.get(partner, {}).items() if sent >= tick}

    def peer_left(self, partner: str) -> None:
        """A partner is dead: it is not waited for, and its messages that have not arrived are dropped."""
        self._since.pop(partner, None)
        self._parcels.pop(partner, None)
        self._markers.pop(partner, None)
        self._outbox.pop(partner, None)

    def reset(self) -> None:
        """All agents start again: earlier messages are dropped."""
        for partner in list(self._since):
            self.peer_left(partner)
        self._parcels.clear()
        self._markers.clear()

    # --- receiving ------------------------------------------------------------------------------------------------------------------

    def receive(self, src: str, message: Message, arrays: Arrays) -> None:
        """Keep a message until the tick at which it is delivered."""
        if isinstance(message, Marker):
            self._markers.setdefault(src, {})[message.sent] = message.count
            return
        self._orders += 1
        self._parcels.setdefault(src, []).append(_Parcel(message.at, message.sent, self._orders, message, arrays))

    def missing(self, tick: int) -> list[str]:
        """Partners whose marker of `tick` has not arrived."""
        return [name for name, since in self._since.items() if since <= tick and tick not in self._markers.get(name, {})]

    def take(self, tick: int) -> list[tuple[str, Message, Arrays]]:
        """Messages that have arrived by `tick`, in order. `ResourceError` if a partner sent more than arrived: the transport has failed."""
        due: list[tuple[int, str, int, Message, Arrays]] = []
        for name in self._since:
            counts, kept = self._markers.setdefault(name, {}), self._parcels.get(name, [])
            sent = counts.pop(tick - 1, 0)
            arrived = sum(parcel.sent == tick - 1 for parcel in kept)
            if arrived != sent:
                raise ResourceError(f"{name} sent {sent} messages at tick {tick - 1}, and {arrived} arrived: the connection lost some")
            due += [(parcel.at, name, parcel.order, parcel.message, parcel.arrays) for parcel in kept if parcel.at <= tick]
            self._parcels[name] = [parcel for parcel in kept if parcel.at > tick]
        due.sort(key=lambda parcel: parcel[:3])
        return [(name, message, arrays) for _, name, _, message, arrays in due]

    # --- sending --------------------------------------------------------------------------------------------------------------------

    def send_due(self, sends: Iterable[Send], tick: int) -> None:
        """Send these at `tick`, except those that the links lose, and then the marker."""
        numbers: dict[str, int] = {}
        counts: dict[str, int] = dict.fromkeys(self._since, 0)
        for send in sends:
            if send.dst not in self._since:
                continue
            number = numbers[send.dst] = numbers.get(send.dst, -1) + 1
            delays: Collection[float] = (0.0,)
            if self._links is not None:
                size = sum(array.nbytes for array in send.arrays.values())
                kind = type(send.message).__name__.lower()
                delays = self._links.copies(send.dst, kind, tick * _MESSAGES + number, size, tick * self._length)
            for delay in delays:
                at = tick + max(1, ceil(delay / self._length - 1e-9))
                counts[send.dst] += 1
                self._outbox.setdefault(send.dst, deque()).append((tick, at, send.message, send.arrays))
        for name, count in counts.items():
            self._outbox.setdefault(name, deque()).append((tick, tick + 1, Marker(count=count), {}))

    def waiting(self) -> list[str]:
        """Partners with messages that the transport has not accepted yet."""
        return [name for name, messages in self._outbox.items() if messages]

    def flush(self, transport: Transport) -> None:
        """Hand over to the transport what it accepts; the rest waits, since no message may be lost here."""
        for name, waiting in self._outbox.items():
            while waiting:
                sent, at, message, arrays = waiting[0]
                message.sent, message.at = sent, at
                if not transport.try_send("peer", name, message, arrays):
                    break
                waiting.popleft()


class LockstepExchange:
    """Exchanges an agent's messages once a tick, at the same tick as its partners. Acting and learning wait for no partner; the exchange of
    tick T waits for the partners' markers of T - 1."""

    def __init__(self, clock: LogicalClock, lockstep: TickBarrier, neighbours: PeerConversations, transport: Transport, own: str) -> None:
        self.lockstep = lockstep
        self._clock = clock
        self._neighbours = neighbours
        self._transport = transport
        self._own = own
        self._members: list[str] = []
        self._partners: frozenset[str] = frozenset()
        self._known: dict[str, int] = {}
        self._offers: list[tuple[int, Arrays]] = []
        self._due: Observation | None = None
        self._since = 0.0
        self._warned = False

    @property
    def conversing(self) -> bool:
        """Whether the exchange of a tick is not over: the next tick has to wait."""
        return self._due is not None

    def joined(self, message: Joined) -> None:
        """Take the partners: the neighbours, or all members of the run where an episode has more than two members."""
        others = message.members if message.party > 2 else self._neighbours.names
        self._members = list(message.members)
        self._partners = frozenset(others) - {self._own}
        self._clock.tick = message.tick

    def offered(self, message: Offer, arrays: Arrays) -> None:
        """Keep an `Offer` until the exchange of its tick: it arrives before that tick's observation, possibly during the exchange of the
        tick before."""
        self._offers.append((message.sent, arrays))

    def observed(self, message: Observation, arrays: Arrays) -> None:
        """A tick begins: update the partners that take part; its exchange is due. `BadMessage` if the observation does not list them."""
        given = column(arrays, "lives", "u2", len(self._members))
        self._clock.tick = message.tick
        self._due = message
        self._since, self._warned = time.monotonic(), False
        now = self._clock.now()
        incarnations = {name: incarnation for name, incarnation in zip(self._members, given.tolist(), strict=True) if incarnation}
        for name in sorted(self._partners):
            incarnation = incarnations.get(name)
            if self._known.get(name) == incarnation:
                continue
            if name in self._known:
                del self._known[name]
                self.lockstep.peer_left(name)
                self._neighbours.peer_left(name, now)
            if incarnation is not None:
                self._known[name] = incarnation
                self.lockstep.peer_joined(name, message.tick)
                self._neighbours.peer_joined(name, incarnation, now)
                self._neighbours.reach(name)

    def ready(self) -> Observation | None:
        """The tick whose exchange can begin now, if there is one."""
        due = self._due
        if due is None:
            return None
        missing = self.lockstep.missing(due.tick - 1)
        if missing and not self._warned and time.monotonic() > self._since + LONG:
            self._warned = True
            logger.warning("tick %d waits for the messages of %s of the tick before", due.tick, ", ".join(missing))
        return None if missing else due

    def receive_due(self, offered: Callable[[Arrays, float], None]) -> None:
        """Handle what has arrived by this tick: offers, then the partners' messages."""
        self._due = None
        now = self._clock.now()
        tick = self._clock.tick
        offers, self._offers = self._offers, [offer for offer in self._offers if offer[0] > tick]
        for sent, arrays in offers:
            if sent <= tick:
                offered(arrays, now)
        for src, message, arrays in self.lockstep.take(self._clock.tick):
            message.inc = self._known[src]
            self._neighbours.receive(src, message, arrays, now)

    def send_due(self) -> None:
        """Send all messages that were queued for this tick."""
        self.lockstep.send_due(self._neighbours.outgoing(), self._clock.tick)

    def flush(self) -> None:
        """Hand to the transport what it did not accept before."""
        for name in self.lockstep.waiting():
            self._neighbours.reach(name)
        self.lockstep.flush(self._transport)

    def end_interval(self) -> None:
        """All agents start again from a checkpoint: earlier messages and offers are dropped."""
        self.lockstep.reset()
        self._neighbours.end_interval()
        self._known.clear()
        self._offers.clear()
        self._due = None
