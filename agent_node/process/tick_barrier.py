"""Exchange of messages under the logical clock: every message arrives at a defined tick, and every agent waits for all messages of a tick.

At tick T an agent sends all its messages, each with the tick at which it counts as arrived,

    at = T + max(1, ceil(delay / length of a tick)),

and then a marker "that was all of tick T" to every partner. A message that the link loses is never sent: the marker takes its place. The
agent handles tick T + 1 when it has the markers of T of all partners, and handles the messages that have arrived by then in the order (at,
sender, order of sending). Nothing depends on when a message really arrived, nor on computing times.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

from numpy.typing import NDArray

from protocols.conversations.conversation import Send
from protocols.conversations.lockstep_messages import Marker
from protocols.faults.fault_schedule import LINK_KINDS
from protocols.faults.link_effects.link_trace import read_past
from protocols.faults.link_effects.run_links import links_of, recorder_of
from protocols.runtime.errors import ResourceError
from protocols.runtime.node_start import NodeStart
from protocols.transport import Transport
from protocols.wire.messages import Message

Arrays = Mapping[str, NDArray[Any]]
_MESSAGES = 2**16
"""most numbered messages to one partner at one tick"""
PERIOD = 100
"""ticks over which the trace counts outcomes of messages"""


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
