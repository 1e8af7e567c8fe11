"""What agents tell each other under the logical clock: every message arrives at a tick, and everybody knows what to wait for.

At tick T an agent says all it has to say, each message with the tick at which it counts as arrived,

    at = T + max(1, ceil(delay / length of a tick)),

and then a marker "that was all of tick T" to every partner. A message that the link loses is never sent: the marker takes its place. The
agent works on tick T + 1 when it has all partners' markers of T, and takes what has arrived by then in the order (at, sender, order of
sending). Nothing depends on when a message really came, nor on how long anything took.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

from numpy.typing import NDArray

from agent_node.process.interval_links import IntervalLinks
from protocols.conversations.conversation import Send
from protocols.conversations.lockstep.lockstep_messages import Marker
from protocols.runtime.errors import ResourceError
from protocols.transport import Transport
from protocols.wire.messages import Message

Arrays = Mapping[str, NDArray[Any]]
_MESSAGES = 2**16
"""messages to one partner at one tick that have numbers of their own"""


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
