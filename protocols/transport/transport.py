"""The transport of one process: one communication thread owns every socket and always drains them.

A `send` that returns promises nothing: delivery is the affair of the conversations' retries and acknowledgements. Nothing here waits
without a bound, and the application never touches a socket.
"""

from __future__ import annotations

import contextlib
import heapq
import logging
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Literal

import zmq
from numpy.typing import NDArray

from protocols import codec
from protocols.errors import Backpressure, BadMessage, ResourceError
from protocols.messages import Channel, Message
from protocols.transport.inbox import Inbox, Received
from protocols.transport.sockets import TransportOptions, bind, open_socket

logger = logging.getLogger(__name__)

_BINDING = {"ctl": zmq.ROUTER, "env": zmq.ROUTER, "peer": zmq.ROUTER, "tele": zmq.PULL}
# plain integers: the flags of zmq are enums, whose arithmetic costs a microsecond each time
_IN, _OUT, _NOBLOCK = int(zmq.POLLIN), int(zmq.POLLOUT), int(zmq.NOBLOCK)
_CONNECTING = {"ctl": zmq.DEALER, "env": zmq.DEALER, "peer": zmq.DEALER, "tele": zmq.PUSH}


@dataclass(frozen=True)
class Identity:
    """Who this process is; the incarnation rises by one at every start of the node."""

    run: str
    name: str
    incarnation: int = 1


@dataclass
class LinkCounters:
    """Traffic with one peer over one channel; bytes include headers."""

    sent_messages: int = 0
    sent_bytes: int = 0
    received_messages: int = 0
    received_bytes: int = 0


@dataclass(eq=False)
class _Destination:
    """Outgoing side of one peer: a socket of its own, or a route of a bound ROUTER."""

    channel: Channel
    name: str
    socket: zmq.Socket[bytes]
    route: bytes | None = None
    endpoint: str = ""
    sequence: int = 0
    waiting: deque[list[codec.Buffer]] = field(default_factory=deque)


class Transport:
    """Sockets, queues and the communication thread of one process; see `docs/architecture.md` for the calls in a table."""

    def __init__(self, identity: Identity, options: TransportOptions | None = None) -> None:
        self.identity = identity
        self.options = options or TransportOptions()
        self.counters: Counter[str] = Counter()
        self.link_counters: dict[tuple[Channel, str], LinkCounters] = {}
        self._inbox = Inbox()
        self._destinations: dict[tuple[Channel, str], _Destination] = {}
        self._incarnations: dict[tuple[Channel, str], int] = {}
        self._bound: dict[Channel, zmq.Socket[bytes]] = {}
        self._sockets: dict[zmq.Socket[bytes], Channel] = {}
        self._timers: list[tuple[float, int, float, Callable[[], None]]] = []
        self._order = count()
        self._ready: deque[_Destination] = deque()
        self._blocked: dict[zmq.Socket[bytes], list[_Destination]] = {}
        self._poller: zmq.Poller | None = None
        self._reading = True
        self._requests: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._asleep = False
        self._closing: float | None = None
        self._failure: BaseException | None = None
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads=1)
        self._context.set(zmq.MAX_SOCKETS, 4096)
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._thread = threading.Thread(target=self._run, name=f"comm-{identity.name}", daemon=True)
        self._thread.start()

    # --- called by the application ------------------------------------------------------------------------------------------------

    def bind(self, channel: Channel, host: str = "127.0.0.1", port: int = 0) -> str:
        """Open the listening socket of a channel and return its endpoint. `ResourceError` when the port is in use."""
        return str(self._request(lambda: self._bind(channel, host, port)))

    def connect(self, channel: Channel, name: str, endpoint: str) -> None:
        """Open a socket to a node; for another endpoint than before, the old socket and its queue are dropped."""
        self._request(lambda: self._connect(channel, name, endpoint))

    def disconnect(self, channel: Channel, name: str) -> None:
        """Close the socket to a node, if there is one, and drop its queue."""
        self._request(lambda: self._disconnect(channel, name))

    def connected(self, channel: Channel, name: str) -> bool:
        """Whether `send` knows that destination."""
        return (channel, name) in self._destinations

    def send(self, channel: Channel, name: str, message: Message, arrays: Mapping[str, NDArray[Any]] | None = None) -> None:
        """Queue a message; never blocks. The arrays must not be changed afterwards.

        Raises `KeyError` for a destination that is neither connected nor known by a message of its own, `Backpressure` when its
        queue is full.
        """
        destination = self._destinations[channel, name]
        if len(destination.waiting) >= self.options.queue:
            self.counters["tx.drop_backpressure"] += 1
            raise Backpressure(f"{len(destination.waiting)} messages wait for {name} on {channel}")
        identity = self.identity
        message.run, message.src, message.dst, message.inc = identity.run, identity.name, name, identity.incarnation
        destination.sequence += 1
        message.seq = destination.sequence
        message.ts = time.time()
        destination.waiting.append(codec.encode(message, arrays))
        self._ready.append(destination)
        self._wake()

    def try_send(self, channel: Channel, name: str, message: Message, arrays: Mapping[str, NDArray[Any]] | None = None) -> bool:
        """As `send`, but says False where that would raise: for conversations that repeat themselves anyway."""
        try:
            self.send(channel, name, message, arrays)
        except (KeyError, Backpressure):
            return False
        return True

    def receive(self, timeout: float) -> list[Received]:
        """All messages that wait; up to `timeout` seconds for the first one."""
        received = self._inbox.get(timeout)
        if self._failure is not None:
            raise ResourceError(f"the communication thread died: {self._failure!r}") from self._failure
        if received:
            self._wake()
        return received

    def every(self, seconds: float, callback: Callable[[], None]) -> None:
        """Call `callback` on the communication thread every so often; it must be short and may `send`."""
        self._request(lambda: heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._order), seconds, callback)))

    @property
    def depth(self) -> int:
        """Messages that wait for the application."""
        return self._inbox.depth

    def close(self, linger: float = 0.5) -> None:
        """Send what is queued for up to `linger` seconds, end the thread, close all sockets. May be called twice."""
        if self._closing is None:
            self._closing = time.monotonic() + linger
            self._wake(force=True)
        self._thread.join(linger + 5.0)

    # --- communication thread -----------------------------------------------------------------------------------------------------

    def _request(self, action: Callable[[], Any]) -> Any:
        if threading.current_thread() is self._thread:
            return action()
        future: Future[Any] = Future()
        self._requests.append((action, future))
        self._wake(force=True)
        return future.result(timeout=10.0)

    def _wake(self, force: bool = False) -> None:
        if self._asleep or force:
            self._asleep = False
            with contextlib.suppress(BlockingIOError, OSError):
                os.write(self._wake_write, b"\0")

    def _run(self) -> None:
        try:
            while self._closing is None:
                self._turn()
            self._flush_until(self._closing)
        except BaseException as error:
            self._failure = error
            logger.exception("the communication thread died")
            self._inbox.put([])
        finally:
            for socket in self._sockets:
                socket.close(linger=max(0, int(1000 * ((self._closing or 0) - time.monotonic()))))
            self._context.term()
            os.close(self._wake_read)
            self._wake_write, closed = -1, self._wake_write
            os.close(closed)
            for _, future in self._requests:
                future.set_exception(ResourceError("the transport is closed"))

    def _turn(self) -> None:
        while self._requests:
            action, future = self._requests.popleft()
            try:
                future.set_result(action())
            except Exception as error:
                future.set_exception(error)
        timeout = self._run_timers()
        self._send_ready()
        poller = self._current_poller()
        self._asleep = True
        if self._ready or self._requests or self._closing is not None:
            timeout = 0.0
        events_by_socket = poller.poll(int(1000 * timeout) + (1 if timeout > 0 else 0))
        self._asleep = False
        batch: list[Received] = []
        for source, events in events_by_socket:
            if source == self._wake_read:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wake_read, 4096)
            elif events & _IN and isinstance(source, zmq.Socket):
                self._drain(source, self._sockets[source], batch)
        if batch:
            self._inbox.put(batch)

    def _current_poller(self) -> zmq.Poller:
        """Waits for input, unless the application is far behind, and for room where a send would have blocked."""
        reading = self._inbox.depth < self.options.inbox
        if self._poller is None or reading != self._reading:
            self._reading = reading
            self._poller = zmq.Poller()
            self._poller.register(self._wake_read, _IN)
            for socket in self._sockets:
                events = (_IN if reading else 0) | (_OUT if socket in self._blocked else 0)
                if events:
                    self._poller.register(socket, events)
        return self._poller

    def _run_timers(self) -> float:
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            due, _, period, callback = heapq.heappop(self._timers)
            heapq.heappush(self._timers, (max(due + period, now), next(self._order), period, callback))
            try:
                callback()
            except (KeyError, Backpressure) as error:
                logger.debug("timer: %s", error)
        return min(1.0, max(0.0, self._timers[0][0] - now)) if self._timers else 1.0

    def _send_ready(self) -> None:
        """Send what is queued. Sockets that would block are remembered with who waits for them, and tried again at the next turn."""
        retry, self._blocked = self._blocked, {}
        for destinations in retry.values():
            self._ready.extend(destinations)
        for _ in range(len(self._ready)):
            destination = self._ready.popleft()
            waiters = self._blocked.get(destination.socket)
            if waiters is not None:
                if destination not in waiters:
                    waiters.append(destination)
                continue
            while destination.waiting:
                if self._transmit(destination, destination.waiting[0]) == "later":
                    self._blocked[destination.socket] = [destination]
                    break
                destination.waiting.popleft()
        if retry.keys() != self._blocked.keys():
            self._poller = None

    def _transmit(self, destination: _Destination, parts: list[codec.Buffer]) -> Literal["sent", "later", "gone"]:
        """The one place through which every message leaves this process."""
        frames = parts if destination.route is None else [destination.route, *parts]
        large = len(parts) > 1 and any(len(part) >= codec.SMALL for part in parts)
        try:
            destination.socket.send_multipart(frames, flags=_NOBLOCK, copy=not large)
        except zmq.Again:
            return "later"
        except zmq.ZMQError as error:
            if error.errno in (zmq.EHOSTUNREACH, zmq.ENOTSOCK):
                self.counters["tx.unreachable"] += 1
                return "gone"
            raise
        link = self._link(destination.channel, destination.name)
        link.sent_messages += 1
        link.sent_bytes += sum(len(part) for part in parts)
        return "sent"

    def _drain(self, socket: zmq.Socket[bytes], channel: Channel, batch: list[Received]) -> None:
        routed = channel != "tele" and self._bound.get(channel) is socket
        for taken in range(self.options.burst):
            if taken and not int(socket.getsockopt(zmq.EVENTS)) & _IN:
                return
            try:
                parts = socket.recv_multipart(_NOBLOCK)
            except zmq.Again:
                return
            route = parts.pop(0) if routed else None
            try:
                message, arrays = codec.decode(parts, self.options.limits)
                if message.run != self.identity.run:
                    raise BadMessage("E_RUN", f"message of run {message.run!r}")
            except BadMessage as error:
                self.counters[f"rx.bad.{error.code}"] += 1
                logger.warning("dropped a message on %s: %s", channel, error)
                continue
            if message.inc < self._incarnations.get((channel, message.src), 0):
                self.counters["rx.stale"] += 1
                continue
            self._incarnations[channel, message.src] = message.inc
            if route is not None:
                self._remember_route(channel, message.src, socket, route)
            link = self._link(channel, message.src)
            link.received_messages += 1
            link.received_bytes += sum(len(part) for part in parts)
            batch.append(Received(channel, message.src, message, arrays))

    def _remember_route(self, channel: Channel, name: str, socket: zmq.Socket[bytes], route: bytes) -> None:
        known = self._destinations.get((channel, name))
        if known is None:
            self._destinations[channel, name] = _Destination(channel, name, socket, route)
        elif known.route is not None and known.route != route:
            known.route = route

    def _bind(self, channel: Channel, host: str, port: int) -> str:
        if channel in self._bound:
            raise ResourceError(f"channel {channel} is bound already")
        socket = open_socket(self._context, channel, _BINDING[channel], self.options.limits)
        try:
            endpoint = bind(socket, host, port)
        except ResourceError:
            socket.close(0)
            raise
        self._bound[channel] = socket
        self._add(socket, channel)
        return endpoint

    def _connect(self, channel: Channel, name: str, endpoint: str) -> None:
        known = self._destinations.get((channel, name))
        if known is not None and known.endpoint == endpoint:
            return
        self._disconnect(channel, name)
        socket = open_socket(self._context, channel, _CONNECTING[channel], self.options.limits)
        socket.connect(endpoint)
        self._add(socket, channel)
        self._destinations[channel, name] = _Destination(channel, name, socket, endpoint=endpoint)

    def _disconnect(self, channel: Channel, name: str) -> None:
        known = self._destinations.pop((channel, name), None)
        if known is None:
            return
        known.waiting.clear()
        if known.route is None:
            del self._sockets[known.socket]
            self._blocked.pop(known.socket, None)
            self._poller = None
            known.socket.close(0)

    def _add(self, socket: zmq.Socket[bytes], channel: Channel) -> None:
        self._sockets[socket] = channel
        self._poller = None

    def _flush_until(self, deadline: float) -> None:
        self._send_ready()
        while self._blocked and time.monotonic() < deadline:
            poller = zmq.Poller()
            for socket in self._blocked:
                poller.register(socket, _OUT)
            poller.poll(max(1, int(1000 * (deadline - time.monotonic()))))
            self._send_ready()

    def _link(self, channel: Channel, name: str) -> LinkCounters:
        link = self.link_counters.get((channel, name))
        if link is None:
            link = self.link_counters[channel, name] = LinkCounters()
        return link
