"""The transport of one process, as its application sees it.

All sockets belong to one `SocketLoop`, which one thread drives at a time. That is the application itself while it waits in `receive` (so
that no other thread has to wake it), and the communication thread whenever the application has been away for longer than `AWAY`: it
keeps reading into the bounded inbox, beats the heart, and goes on sending. A `send` that returns promises nothing: delivery is the affair
of the conversations' retries and acknowledgements. Nothing here waits without a bound, and the application never touches a socket.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from numpy.typing import NDArray

from protocols.faults.link_effects.faulty_links import FaultyLinks
from protocols.faults.link_effects.link_shim import Shim
from protocols.faults.link_effects.link_trace import LinkTraceWriter
from protocols.runtime.clock import unix_time
from protocols.runtime.errors import Backpressure, BadMessage, ResourceError
from protocols.runtime.node_start import Carrier
from protocols.transport.connections import Destination, Identity
from protocols.transport.socket_loop import LONGEST_TURN, ReceivedMessage, SocketLoop
from protocols.transport.sockets import TransportOptions, advertised
from protocols.wire import codec
from protocols.wire.messages import Channel, Message

logger = logging.getLogger(__name__)

AWAY = 0.02
"""seconds without a driver until the communication thread takes over"""
_HANDOVER = 10.0
"""longest wait for the present driver, who leaves after the message that it works on"""


class Transport:
    """Sockets, queues and the communication thread of one process."""

    def __init__(self, identity: Identity, options: TransportOptions | None = None) -> None:
        self.identity = identity
        self.options = options or TransportOptions()
        self._loop = SocketLoop(identity, self.options)
        self.wall: Callable[[], float] = unix_time
        """the clock of the time stamps in headers; a fault may set it wrong"""
        self.guard = self._loop.guard
        """admission of messages: it needs the names of the run and the roster"""
        self.counters = self._loop.counters
        self.link_counters = self._loop.link_counters
        self.shared_frames = self._loop.shared_frames
        self._gate = threading.Lock()
        """held by who waits to be the next driver"""
        self._wheel = threading.Lock()
        """held by the driver"""
        self._driver = 0
        self._driven = time.monotonic()
        self._closing: float | None = None
        self._close_now = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._stand_by, name=f"comm-{identity.name}", daemon=True)
        self._thread.start()

    def bind(self, channel: Channel, host: str = "127.0.0.1", port: int = 0, carrier: Carrier = "tcp", advertise: str = "") -> str:
        """Open the listening socket of a channel and return the endpoint by which others reach it: that of `host`, or of `advertise`, where
        they know this machine by another address. "ipc" needs no host and no port, and is reached by processes of the same user on this
        machine only. `ResourceError` when the port is in use, `AuthenticationError` for a host outside loopback without keys."""
        with self._driving():
            return advertised(self._loop.bind(channel, host, port, carrier), advertise)

    def connect(self, channel: Channel, name: str, endpoint: str, key: str = "") -> None:
        """Open a socket to a node; for another endpoint or key than before, the old socket and its queue are dropped. `key`: its public
        key, without which no connection is made where connections are encrypted (`AuthenticationError`)."""
        with self._driving():
            self._loop.connect(channel, name, endpoint, key)

    def refusal(self, channel: Channel, name: str) -> str:
        """Why no connection to that node is tried any more; "" where one is, or never was."""
        given_up = self._loop.given_up.get((channel, name))
        return "" if given_up is None else given_up.reason

    def disconnect(self, channel: Channel, name: str) -> None:
        """Close the socket to a node, if there is one, and drop its queue."""
        with self._driving():
            self._loop.disconnect(channel, name)

    def connected(self, channel: Channel, name: str) -> bool:
        """Whether `send` has that destination."""
        return (channel, name) in self._loop.destinations

    def send(self, channel: Channel, name: str, message: Message, arrays: Mapping[str, NDArray[Any]] | None = None) -> None:
        """Send a message, or queue it when it can't leave at once; never blocks. The arrays must not be changed afterwards.

        Raises `KeyError` for a destination that is neither connected nor known by a message of its own, `Backpressure` when its
        queue is full. May be called by any thread.
        """
        loop = self._loop
        destination = loop.destinations[channel, name]
        if len(destination.waiting) >= self.options.queue:
            self.counters["tx.drop_backpressure"] += 1
            raise Backpressure(f"{len(destination.waiting)} messages wait for {name} on {channel}")
        identity = self.identity
        message.run, message.src, message.dst, message.inc = identity.run, identity.name, name, identity.incarnation
        message.seq = next(destination.sequence)
        message.ts = self.wall()
        shim = loop.shim
        parts = codec.encode(message, arrays, checked=shim is not None)
        if shim is None:
            loop.post(destination, parts)
        else:
            copies, holds = shim.admit(destination, (channel, name), type(message).__name__.lower(), parts, time.monotonic())
            for copy in copies:
                loop.post(destination, copy)
            if holds:
                loop.wake()
        # Without a driver it is sent here, else the driver is woken. A message posted while this sends is seen by the loop's condition.
        while loop.pending and self._closing is None:
            if not self._wheel.acquire(blocking=False):
                loop.wake()
                return
            try:
                loop.flush()
            finally:
                self._wheel.release()

    def try_send(self, channel: Channel, name: str, message: Message, arrays: Mapping[str, NDArray[Any]] | None = None) -> bool:
        """As `send`, but returns False where that would raise: for conversations that repeat themselves anyway."""
        try:
            self.send(channel, name, message, arrays)
        except (KeyError, Backpressure):
            return False
        return True

    def receive(self, timeout: float, at_least: int = 1) -> list[ReceivedMessage]:
        """All messages that wait; up to `timeout` seconds for the first `at_least` of them."""
        loop = self._loop
        inbox = loop.inbox
        if inbox.depth < at_least:
            deadline = time.monotonic() + timeout
            self._take_wheel()
            try:
                while True:
                    loop.turn(max(0.0, deadline - time.monotonic()))
                    if inbox.depth >= at_least or inbox.full or time.monotonic() >= deadline:
                        break
                    if loop.interrupted:
                        # Let the one at the gate have its turn: it has taken the wheel when the gate opens.
                        self._leave_wheel()
                        self._take_wheel()
            finally:
                self._leave_wheel()
        received = inbox.take()
        if not loop.reading:
            loop.wake()
        return received

    def refuse(self, received: ReceivedMessage, error: BadMessage) -> None:
        """Count a message that was let in, and that its conversation found to be bad; too many put who sent it into quarantine."""
        self.guard.blame(received.channel, received.src, error, time.monotonic())

    def note(self, src: str, error: BadMessage) -> None:
        """Count and log a message of another agent that its conversation has refused. It has no consequences for the sender: quarantine
        goes by real time, which the results of a run under the logical clock must not depend on."""
        self.guard.note("peer", src, error, time.monotonic())

    def every(self, seconds: float, callback: Callable[[], None]) -> None:
        """Call `callback` every so often, on the thread that drives: it must be short and may `send`."""
        with self._driving():
            self._loop.call_every(seconds, callback)

    def inject(
        self, links: FaultyLinks, recorder: LinkTraceWriter | None = None, origin: float | None = None, before: float = 0.0
    ) -> Shim[Destination]:
        """From now on `links` decides the outcome of each message. `origin` and `before` are those of `Shim`. The returned shim needs the
        position in the run."""
        with self._driving():
            known = self._loop.shim
            if known is not None:
                self.counters["tx.dropped"] += known.close()
            shim: Shim[Destination] = Shim(links, self.counters, recorder, origin, before)
            self._loop.shim = shim
            return shim

    @property
    def depth(self) -> int:
        """Messages that wait for the application."""
        return self._loop.inbox.depth

    def close(self, linger: float = 0.5) -> None:
        """Send what is queued for up to `linger` seconds, end the thread, close all sockets. May be called twice."""
        if self._closing is None:
            self._closing = time.monotonic() + linger
            self._close_now.set()
            self._loop.interrupted = True
            self._loop.wake()
        self._thread.join(linger + _HANDOVER)

    # --- who drives -----------------------------------------------------------------------------------------------------------------

    @contextmanager
    def _driving(self) -> Iterator[None]:
        """Be the driver in this block; the present one is asked to leave."""
        if self._driver == threading.get_ident():  # a timer's callback
            yield
            return
        self._take_wheel()
        try:
            yield
        finally:
            self._leave_wheel()

    def _take_wheel(self) -> None:
        """Become the driver. `ResourceError` when there is nothing to drive any more."""
        self._seize_wheel()
        if self._failure is None and self._closing is None:
            return
        self._leave_wheel()
        if self._failure is not None:
            raise ResourceError(f"the communication has failed: {self._failure!r}") from self._failure
        raise ResourceError("the transport is closed")

    def _seize_wheel(self) -> None:
        with self._gate:
            if not self._wheel.acquire(blocking=False):
                self._loop.interrupted = True
                self._loop.wake()
                taken = self._wheel.acquire(timeout=_HANDOVER)
                self._loop.interrupted = False
                if not taken:
                    raise ResourceError(f"the thread that drives the sockets of {self.identity.name} did not answer for {_HANDOVER:g} s")
        self._driver = threading.get_ident()

    def _leave_wheel(self) -> None:
        """Stop driving; nothing, if this thread does not drive."""
        if self._driver == threading.get_ident():
            self._driver = 0
            self._driven = time.monotonic()
            self._wheel.release()

    def _stand_by(self) -> None:
        """The communication thread: drive while no other thread does, and close everything at the end."""
        try:
            while not self._close_now.wait(AWAY):
                if time.monotonic() - self._driven >= AWAY and self._wheel.acquire(blocking=False):
                    self._driver = threading.get_ident()
                    try:
                        while not self._loop.interrupted and not self._close_now.is_set():
                            self._loop.turn(LONGEST_TURN)
                    finally:
                        self._leave_wheel()
        except BaseException as error:
            self._failure = error
            logger.exception("the communication thread died")
        finally:
            self._close_loop()

    def _close_loop(self) -> None:
        """Close for all threads: a thread that drives from now on finds the transport closed."""
        if self._closing is None:
            self._closing = time.monotonic()
        self._seize_wheel()
        try:
            self._loop.close(self._closing)
        finally:
            self._leave_wheel()
