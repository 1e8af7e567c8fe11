"""What agents tell each other under the logical clock: every message arrives at a tick, and everybody knows what to wait for.

At tick T an agent says all it has to say, each message with the tick at which it counts as arrived,

    at = T + max(1, ceil(delay / length of a tick)),

and then a marker "that was all of tick T" to every partner. A message that the link loses is never sent: the marker takes its place. The
agent works on tick T + 1 when it has all partners' markers of T, and takes what has arrived by then in the order (at, sender, order of
sending). Nothing depends on when a message really came, nor on how long anything took.
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
"""messages to one partner at one tick that have numbers of their own"""
PERIOD = 100
"""ticks of which the trace sums up what became of the messages"""
LONG = 5.0
"""real seconds of waiting for partners after which the log says so"""


class IntervalLinks:
    """Draws begin anew with every checkpoint (its tick is their epoch), and so do queues and bursts of loss; what has begun and ended
    before is read from the agent's own trace. A damaged message is one that its receiver would refuse: here it is not sent."""

    def __init__(self, configuration: Mapping[str, Any], start: NodeStart, incarnation: int) -> None:
        self._configuration = configuration
        self._start = replace(start, incarnation=incarnation)
        self._recorder = recorder_of(configuration, self._start, wall=False)
        self.begin(start_tick=-1)

    def begin(self, start_tick: int) -> None:
        """Everybody goes on from the checkpoint of this tick; -1 is the beginning of the run."""
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

    # --- who takes part -------------------------------------------------------------------------------------------------------------

    def peer_joined(self, partner: str, tick: int) -> None:
        """A partner takes part: its first tick is `tick`. What it may have said in an earlier life counts for nothing."""
        self._since[partner] = tick
        self._parcels[partner] = [parcel for parcel in self._parcels.get(partner, []) if parcel.sent >= tick]
        self._markers[partner] = {sent: count for sent, count in self._markers.get(partner, {}).items() if sent >= tick}

    def peer_left(self, partner: str) -> None:
        """A partner is dead: nobody waits for it, and what it said that has not arrived is lost."""
        self._since.pop(partner, None)
        self._parcels.pop(partner, None)
        self._markers.pop(partner, None)
        self._outbox.pop(partner, None)

    def reset(self) -> None:
        """Everybody begins anew: nothing that was said before counts."""
        for partner in list(self._since):
            self.peer_left(partner)
        self._parcels.clear()
        self._markers.clear()

    # --- what comes in --------------------------------------------------------------------------------------------------------------

    def receive(self, src: str, message: Message, arrays: Arrays) -> None:
        """Keep a message until its tick."""
        if isinstance(message, Marker):
            self._markers.setdefault(src, {})[message.sent] = message.count
            return
        self._orders += 1
        self._parcels.setdefault(src, []).append(_Parcel(message.at, message.sent, self._orders, message, arrays))

    def missing(self, tick: int) -> list[str]:
        """Partners that have not yet said all of `tick`."""
        return [name for name, since in self._since.items() if since <= tick and tick not in self._markers.get(name, {})]

    def take(self, tick: int) -> list[tuple[str, Message, Arrays]]:
        """What has arrived by `tick`, in order. `ResourceError` if a partner said more than has come: the transport has failed."""
        due: list[tuple[int, str, int, Message, Arrays]] = []
        for name in self._since:
            counts, kept = self._markers.setdefault(name, {}), self._parcels.get(name, [])
            said = counts.pop(tick - 1, 0)
            peer_joined = sum(parcel.sent == tick - 1 for parcel in kept)
            if peer_joined != said:
                raise ResourceError(f"{name} sent {said} messages at tick {tick - 1}, but {peer_joined} came: the connection has lost some")
            due += [(parcel.at, name, parcel.order, parcel.message, parcel.arrays) for parcel in kept if parcel.at <= tick]
            self._parcels[name] = [parcel for parcel in kept if parcel.at > tick]
        due.sort(key=lambda parcel: parcel[:3])
        return [(name, message, arrays) for _, name, _, message, arrays in due]

    # --- what goes out --------------------------------------------------------------------------------------------------------------

    def send_due(self, sends: Iterable[Send], tick: int) -> None:
        """Send these at `tick`, as far as the links let them through, and say that this was all."""
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
        """Partners for whom the transport has not taken all."""
        return [name for name, messages in self._outbox.items() if messages]

    def flush(self, transport: Transport) -> None:
        """Hand over to the transport what it takes; the rest waits, for nothing may be lost on the way."""
        for name, waiting in self._outbox.items():
            while waiting:
                sent, at, message, arrays = waiting[0]
                message.sent, message.at = sent, at
                if not transport.try_send("peer", name, message, arrays):
                    break
                waiting.popleft()


class LockstepExchange:
    """Keeps an agent's talk in step with its partners'."""

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
        """Whether the talk of a tick is not over: the next tick has to wait."""
        return self._due is not None

    def joined(self, message: Joined) -> None:
        """The environment server says who there is to talk to: the neighbours, or everybody, where more than two play one episode."""
        others = message.members if message.party > 2 else self._neighbours.names
        self._members = list(message.members)
        self._partners = frozenset(others) - {self._own}
        self._clock.tick = message.tick

    def offered(self, message: Offer, arrays: Arrays) -> None:
        """Keep an `Offer` until the talk of its tick: it comes before that tick's observation, perhaps while the tick before is talked
        of."""
        self._offers.append((message.sent, arrays))

    def observed(self, message: Observation, arrays: Arrays) -> None:
        """A tick begins: who takes part from now on, and that its talk is due. `BadMessage` when it does not say who."""
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
        """The tick whose talk can begin now, if there is one."""
        due = self._due
        if due is None:
            return None
        missing = self.lockstep.missing(due.tick - 1)
        if missing and not self._warned and time.monotonic() > self._since + LONG:
            self._warned = True
            logger.warning("tick %d waits for what %s said at the tick before", due.tick, ", ".join(missing))
        return None if missing else due

    def receive_due(self, offered: Callable[[Arrays, float], None]) -> None:
        """Take what has arrived by this tick: offers, then the partners' messages."""
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
        """Say all that there is to say at this tick."""
        self.lockstep.send_due(self._neighbours.outgoing(), self._clock.tick)

    def flush(self) -> None:
        """Hand to the transport what it did not take before."""
        for name in self.lockstep.waiting():
            self._neighbours.reach(name)
        self.lockstep.flush(self._transport)

    def end_interval(self) -> None:
        """Everybody begins anew from a checkpoint: what was said and offered is forgotten."""
        self.lockstep.reset()
        self._neighbours.end_interval()
        self._known.clear()
        self._offers.clear()
        self._due = None
