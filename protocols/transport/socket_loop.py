"""What is done with the sockets of one process: by one thread at a time, the driver. Nothing here waits but `turn`.

`turn` waits for input, reads what came into the inbox, runs timers, and sends what is queued. It never waits for a peer: a message that
can't leave yet stays in its destination's queue, and no other destination waits for it.
"""

from __future__ import annotations

import contextlib
import heapq
import logging
import os
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any, Literal

import zmq
from numpy.typing import NDArray

from protocols.conversations.membership.membership_messages import Roster
from protocols.faults.link_effects.link_shim import Shim
from protocols.runtime.clock import unix_time
from protocols.runtime.errors import Backpressure, BadMessage
from protocols.transport.connections import Connections, Destination, Identity, LinkCounters
from protocols.transport.handshakes import USER
from protocols.transport.shared_frames import SharedFrameReader
from protocols.transport.sockets import TransportOptions
from protocols.wire import codec
from protocols.wire.message_registry import newest_only
from protocols.wire.messages import Channel, Message

logger = logging.getLogger(__name__)

# Plain integers: the flags of zmq are enums, whose arithmetic costs a microsecond each time.
_IN, _OUT, _NOBLOCK, _MORE = int(zmq.POLLIN), int(zmq.POLLOUT), int(zmq.NOBLOCK), int(zmq.NOBLOCK | zmq.SNDMORE)
_EVENTS, _RCVMORE = int(zmq.EVENTS), int(zmq.RCVMORE)
LONGEST_TURN = 1.0
"""seconds after which a turn ends in any case"""
_ROUTE_AGAIN = 0.02
"""seconds until a full route of a ROUTER is tried again: such a socket reports that it can send as long as any of its routes can"""
_READ_AGAIN = 0.002
"""seconds between two looks at the end whether receivers have read what is in shared memory"""
_MOST_DELAY = 86400.0
"""seconds; a larger difference of time and time stamp is no delay"""
_BURST_BYTES = 16 * 2**20
"""bytes read from one socket before the others have their turn"""


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """A message that arrived, checked and decoded; arrays are read-only views that keep their frame alive."""

    channel: Channel
    src: str
    message: Message
    arrays: Mapping[str, NDArray[Any]]


class Inbox:
    """Messages in order of arrival; of those where only the newest counts, older ones are left out on the way to the application.

    It is full from `messages` messages or `size` bytes on. Nothing is refused then: the driver must stop reading.
    """

    def __init__(self, messages: int, size: int) -> None:
        self._messages = messages
        self._size = size
        self._waiting: deque[tuple[ReceivedMessage, int]] = deque()
        # Each is written by one thread only: the difference is never too small for long, and exact when the other one rests.
        self._arrived_bytes = 0
        self._taken_bytes = 0

    @property
    def depth(self) -> int:
        """Number of messages that wait for `take`."""
        return len(self._waiting)

    @property
    def full(self) -> bool:
        """Whether the number or the bytes of the waiting messages have reached their limit; the driver then stops reading from the
        sockets."""
        return len(self._waiting) >= self._messages or self._arrived_bytes - self._taken_bytes >= self._size

    def put(self, received: ReceivedMessage, size: int) -> None:
        """Append a message of `size` bytes; called by the thread that drives the sockets."""
        self._arrived_bytes += size
        self._waiting.append((received, size))

    def take(self) -> list[ReceivedMessage]:
        """Remove and return all waiting messages in order of arrival (application). Of kinds of which only the newest counts, older ones
        may be left out."""
        received = []
        coalesce, only = False, newest_only()
        for _ in range(len(self._waiting)):
            item, size = self._waiting.popleft()
            self._taken_bytes += size
            coalesce = coalesce or type(item.message) in only
            received.append(item)
        if not coalesce or len(received) == 1:
            return received
        newest = {(item.channel, item.src, type(item.message)): item for item in received}
        return [item for item in received if type(item.message) not in only or newest[item.channel, item.src, type(item.message)] is item]


class SocketLoop(Connections):
    """Timers, queues, and what is read from the sockets. All methods but `wake` and `post` are for the driver only."""

    def __init__(self, identity: Identity, options: TransportOptions) -> None:
        super().__init__(identity, options)
        self.link_counters: defaultdict[tuple[Channel, str], LinkCounters] = defaultdict(LinkCounters)
        self.inbox = Inbox(options.inbox, options.inbox_bytes)
        self.wall: Callable[[], float] = unix_time
        """the clock of time stamps"""
        self.interrupted = False
        """another thread requests to drive: `turn` ends at once"""
        self.shim: Shim[Destination] | None = None
        """what happens to messages on their way, where a run has faults of the links"""
        self._frame_reader = SharedFrameReader()
        self._timers: list[tuple[float, int, float, Callable[[], None]]] = []
        self._order = count()
        self._ready: deque[Destination] = deque()
        self.reading = True
        self._asleep = False
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)

    # --- from any thread ----------------------------------------------------------------------------------------------------------

    def post(self, destination: Destination, parts: list[codec.Buffer]) -> None:
        """Queue a message. It is sent when a thread drives the loop."""
        destination.waiting.append(parts)
        self._ready.append(destination)

    @property
    def pending(self) -> bool:
        """Whether there are messages whose sending has not been tried."""
        return bool(self._ready)

    def wake(self) -> None:
        """End the wait of a `turn` that goes on in another thread."""
        if self._asleep:
            self._asleep = False
            with contextlib.suppress(BlockingIOError, OSError):
                os.write(self._wake_write, b"\0")

    # --- driver: begin and end ----------------------------------------------------------------------------------------------------

    def call_every(self, seconds: float, callback: Callable[[], None]) -> None:
        """Call `callback` in the loop's thread every `seconds` seconds."""
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._order), seconds, callback))

    def close(self, deadline: float) -> None:
        """Send what is queued until `deadline`, then close everything. What the links still hold back is lost."""
        if self.shim is not None:
            self.counters["tx.dropped"] += self.shim.close()
        try:
            self.flush()
            while self._blocked and (left := deadline - time.monotonic()) > 0:
                poller = zmq.Poller()
                for destination in self._blocked:
                    if destination.route is None and not destination.again:
                        poller.register(destination.socket, _OUT)
                poller.poll(max(1, int(1000 * min(left, _ROUTE_AGAIN))))
                self.flush()
            while self.shared_frames.unread and (left := deadline - time.monotonic()) > 0:
                zmq.Poller().poll(max(1, int(1000 * min(left, _READ_AGAIN))))
        finally:
            self._close_all(deadline - time.monotonic())
            self.shared_frames.close()
            self._frame_reader.close()
            wake_read, wake_write, self._wake_write = self._wake_read, self._wake_write, -1
            os.close(wake_read)
            os.close(wake_write)

    # --- driver: a turn -----------------------------------------------------------------------------------------------------------

    def turn(self, patience: float) -> None:
        """Run timers, send what is queued, and read what comes within `patience` seconds."""
        timeout = min(patience, self._run_timers())
        if self._authenticator is not None and (self._refused or self._authenticator.held):
            timeout = min(timeout, self._run_authenticator(self._authenticator))
        shim = self.shim
        if shim is not None:
            self._release(shim)
        self.flush()
        poller = self._current_poller()
        self._asleep = True
        # A thread that posts, interrupts or empties the inbox from now on sees `_asleep`; earlier changes are seen here.
        if shim is not None:
            timeout = min(timeout, shim.wait())
        if self._ready or self.interrupted or (not self.reading and not self.inbox.full):
            timeout = 0.0
        try:
            events_by_socket = poller.poll(int(1000 * timeout) + 1 if timeout > 0 else 0)
        finally:
            self._asleep = False
        for source, events in events_by_socket:
            if source == self._wake_read:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wake_read, 4096)
            elif events & _IN and isinstance(source, zmq.Socket):
                channel = self._sockets.get(source)
                if channel is not None:
                    self._drain(source, channel)
                elif source in self._monitors:
                    self._process_handshakes(source)
                elif self._authenticator is not None and source is self._authenticator.socket:
                    self._authenticator.handle(time.monotonic())

    def _release(self, shim: Shim[Destination]) -> None:
        """Send what the links have held back for long enough, unless who it was for has gone."""
        for destination, parts in shim.release(time.monotonic()):
            if self.destinations.get((destination.channel, destination.name)) is not destination:
                self.counters["tx.dropped"] += 1
            else:
                # Even to a full queue: `send` has returned to the sender, whose next `send` finds the queue full.
                self.post(destination, parts)

    def _current_poller(self) -> zmq.Poller:
        """Waits for input, unless the application is far behind, and for room where a send would have blocked."""
        reading = not self.inbox.full
        if self._poller is None or reading != self.reading:
            self.reading = reading
            self._poller = zmq.Poller()
            self._poller.register(self._wake_read, _IN)
            if self._authenticator is not None:
                self._poller.register(self._authenticator.socket, _IN)
                for monitor in self._monitors:
                    self._poller.register(monitor, _IN)
            wanting = {destination.socket for destination in self._blocked if destination.route is None and not destination.again}
            for socket in self._sockets:
                events = (_IN if reading else 0) | (_OUT if socket in wanting else 0)
                if events:
                    self._poller.register(socket, events)
        return self._poller

    def _run_timers(self) -> float:
        """Call what is due; seconds until the next turn is needed."""
        if self._timers:
            now = time.monotonic()
            while self._timers[0][0] <= now:
                due, _, period, callback = self._timers[0]
                heapq.heapreplace(self._timers, (max(due + period, now + period / 2), next(self._order), period, callback))
                try:
                    callback()
                except (KeyError, Backpressure) as error:
                    logger.debug("timer: %s", error)
            longest = min(LONGEST_TURN, self._timers[0][0] - now)
        else:
            longest = LONGEST_TURN
        if any(destination.route is not None for destination in self._blocked):
            longest = min(longest, _ROUTE_AGAIN)
        return longest

    def flush(self) -> None:
        """Send queued messages as far as the sockets accept them; does not wait."""
        if self._blocked:
            self._flush_blocked()
        while self._ready:
            try:
                destination = self._ready.popleft()
            except IndexError:
                return
            if destination not in self._blocked and not self._empty(destination):
                self._blocked[destination] = None
                self._poller = None

    def _flush_blocked(self) -> None:
        unblocked = [destination for destination in self._blocked if self._empty(destination)]
        if unblocked:
            self._poller = None
            for destination in unblocked:
                del self._blocked[destination]

    def _empty(self, destination: Destination) -> bool:
        """Send one destination's queue; whether nothing is left."""
        while destination.waiting:
            if self._transmit(destination, destination.waiting[0]) == "later":
                return False
            destination.waiting.popleft()
        return True

    def _transmit(self, destination: Destination, parts: list[codec.Buffer]) -> Literal["sent", "later", "gone"]:
        """The one place through which every message leaves this process."""
        if destination.again:
            return "later"
        send, last, size = destination.socket.send, len(parts) - 1, 0
        try:
            if destination.route is not None:
                send(destination.route, _MORE)
            for i, part in enumerate(parts):
                size += len(part)
                if i and destination.shared and len(part) >= codec.SMALL:  # the header is on its way: nothing is tried again
                    part = self.shared_frames.put(destination, part) or part
                # Copied, whatever its size: pyzmq's sending without a copy costs a thread for the whole process, and saves nothing
                # up to about a megabyte.
                send(part, _NOBLOCK if i == last else _MORE)
        except zmq.Again:
            return "later"
        except zmq.ZMQError as error:
            if error.errno in (zmq.EHOSTUNREACH, zmq.ENOTSOCK):
                self.counters["tx.unreachable"] += 1
                return "gone"
            raise
        link = self.link_counters[destination.channel, destination.name]
        link.sent_messages += 1
        link.sent_bytes += size
        return "sent"

    def _drain(self, socket: zmq.Socket[bytes], channel: Channel) -> None:
        bound = self._bound.get(channel) is socket
        routed, read, user = channel != "tele" and bound, 0, ""
        keyed = bound and self.options.keys is not None
        for taken in range(self.options.burst):
            if taken and (read > _BURST_BYTES or self.inbox.full or not int(socket.get(_EVENTS)) & _IN):
                return
            try:
                if keyed:
                    first = socket.recv(_NOBLOCK, copy=False)
                    user = str(first.get(USER))
                    route = first.bytes if routed else None
                    parts: list[codec.Buffer] = [socket.recv(_NOBLOCK) if routed else first.bytes]
                else:
                    route = socket.recv(_NOBLOCK) if routed else None  # a ROUTER puts it before every message
                    parts = [socket.recv(_NOBLOCK)]
                more = socket.get(_RCVMORE)
                while more:
                    frame = socket.recv(_NOBLOCK, copy=False)
                    more = frame.more
                    # A large frame stays where libzmq has received it; of a small one that would keep a whole buffer of many alive.
                    parts.append(frame.buffer if len(frame) >= codec.SMALL else frame.bytes)
            except zmq.Again:
                return
            size = self._frame_reader.size(parts) if socket in self._shared else sum(map(len, parts))
            read += size
            self._arrived(socket, channel, route, parts, size, user)

    def _arrived(
        self, socket: zmq.Socket[bytes], channel: Channel, route: bytes | None, parts: list[codec.Buffer], size: int, user: str = ""
    ) -> None:
        """Have a message checked and hand it to the application, or drop it. `user`: the key it came with, where that is known."""
        guard, now = self.guard, time.monotonic()
        name = self._names.get(socket) if route is None else None
        if user:
            source = guard.authenticated(channel, route, user)
        else:
            source = guard.source(channel, route or name or "", fixed=name is not None)
        if not guard.open(source, size, now):
            return
        try:
            if socket in self._shared:
                parts = self._frame_reader.resolve(parts, self.options.limits)
            message, arrays = codec.decode(parts, self.options.limits, bounded=channel == "peer")
        except BadMessage as error:
            guard.unreadable(source, error, now)
            return
        src = message.src
        if channel == "tele" and not user:
            source = guard.source(channel, src)
        before = guard.incarnation(channel, src) if source.speaker is None else message.inc
        if guard.judge(source, message, now) is not None:
            return
        if self.given_up and (channel, src) in self.given_up:
            # A node that sends to this process has its key by now.
            given_up = self.given_up.pop((channel, src))
            self.connect(channel, src, given_up.endpoint, given_up.key)
        if type(message) is Roster and channel == "ctl" and route is None:
            guard.follow(message.version, message.entries)
        if route is not None:
            self._remember_route(channel, src, socket, route, renewed=message.inc > before)
        link = self.link_counters[channel, src]
        link.received_messages += 1
        link.received_bytes += size
        delay = self.wall() - message.ts
        if -_MOST_DELAY < delay < _MOST_DELAY:  # false for a time stamp that is no number
            link.delay_us += int(1e6 * delay)
        self.inbox.put(ReceivedMessage(channel, src, message, arrays), size)

    def _remember_route(self, channel: Channel, name: str, socket: zmq.Socket[bytes], route: bytes, renewed: bool) -> None:
        known = self.destinations.get((channel, name))
        if known is None:
            self.destinations[channel, name] = Destination(
                channel, name, socket, route, sequence=self._sequence(channel, name), shared=socket in self._shared
            )
        elif known.route is not None and known.route != route:
            known.route = route
            if renewed:
                self._drop(known)
