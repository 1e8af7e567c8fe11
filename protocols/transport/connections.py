"""The sockets of one process: bound, connected, refused and tried again, given up. What is read and sent is the business of the loop.

Everything here is for the driver only (`protocols.transport.socket_loop`).
"""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from itertools import count

import zmq

from protocols.runtime.errors import AuthenticationError, ResourceError
from protocols.runtime.node_start import Carrier
from protocols.transport import handshakes
from protocols.transport.handshakes import LOOK_AGAIN, HandshakeAttempts, HandshakeAuthenticator
from protocols.transport.shared_frames import SharedFrames
from protocols.transport.sockets import TransportOptions, bind, bind_here, open_socket, require_secrecy
from protocols.wire import codec
from protocols.wire.guard import Guard
from protocols.wire.keyring import Keyring
from protocols.wire.messages import Channel, Role

logger = logging.getLogger(__name__)

_BINDING = {"ctl": zmq.ROUTER, "env": zmq.ROUTER, "peer": zmq.ROUTER, "tele": zmq.PULL}
_CONNECTING = {"ctl": zmq.DEALER, "env": zmq.DEALER, "peer": zmq.DEALER, "tele": zmq.PUSH}
_DIAL_AGAIN = 1.0
"""seconds until a socket is tried to be opened again that could not be, for want of descriptors"""


@dataclass(frozen=True)
class Identity:
    """Identity of this process; the incarnation rises by one at every start of the node. With a role it accepts only messages with a route
    to that role (`protocols.wire.message_registry`); without one, as in benchmarks, every type of message."""

    run: str
    name: str
    incarnation: int = 1
    role: Role | None = None


@dataclass
class LinkCounters:
    """Traffic with one peer over one channel; bytes include headers. `delay_us`: sum over the received messages of the time of receipt
    minus the time stamp, which includes the difference of the two clocks."""

    sent_messages: int = 0
    sent_bytes: int = 0
    received_messages: int = 0
    received_bytes: int = 0
    delay_us: int = 0


@dataclass(eq=False, slots=True)
class Destination:
    """Outgoing side of one peer: a socket of its own, or a route of a bound ROUTER."""

    channel: Channel
    name: str
    socket: zmq.Socket[bytes]
    route: bytes | None = None
    endpoint: str = ""
    key: str = ""
    """its public key, where connections are encrypted"""
    attempts: HandshakeAttempts = field(default_factory=HandshakeAttempts)
    again: float = 0.0
    """when a connection that was refused is tried again; 0: it is being tried"""
    sequence: count[int] = field(default_factory=lambda: count(1))
    waiting: deque[list[codec.Buffer]] = field(default_factory=deque)
    shared: bool = False
    """whether large frames reach it through shared memory"""


@dataclass(frozen=True)
class GivenUp:
    """A connection that is not tried any more, and why."""

    endpoint: str
    key: str
    reason: str


class Connections:
    """All sockets of one process, and the destinations that they lead to."""

    def __init__(self, identity: Identity, options: TransportOptions) -> None:
        self.options = options
        self.counters: Counter[str] = Counter()
        self.destinations: dict[tuple[Channel, str], Destination] = {}
        self.given_up: dict[tuple[Channel, str], GivenUp] = {}
        keyring = Keyring(identity.role) if options.keys is not None else None
        self.guard = Guard(identity.run, identity.name, identity.role, self.counters, options.guard, keyring)
        self._identity = identity
        self._sequences: dict[tuple[Channel, str], count[int]] = {}
        """by destination, never reset: a reconnected destination must not receive the same numbers again"""
        self._names: dict[zmq.Socket[bytes], str] = {}
        """of sockets that we connected"""
        self._bound: dict[Channel, zmq.Socket[bytes]] = {}
        self._sockets: dict[zmq.Socket[bytes], Channel] = {}
        self.shared_frames = SharedFrames()
        self._shared: set[zmq.Socket[bytes]] = set()
        """those whose large frames may be in shared memory"""
        self._blocked: dict[Destination, None] = {}
        """those whose queue could not leave"""
        self._refused: dict[Destination, None] = {}
        """those whose connection was refused and is tried again at `again`"""
        self._poller: zmq.Poller | None = None
        """None: there are other sockets to wait for than before"""
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads=1)
        self._context.set(zmq.MAX_SOCKETS, 4096)
        # Before anything is bound: libzmq admits every key without an authenticator.
        self._authenticator: HandshakeAuthenticator | None = None
        if keyring is not None:
            self._authenticator = HandshakeAuthenticator(self._context, lambda key: keyring.owner(key) is not None, self.counters)
        elif options.token:
            self._authenticator = HandshakeAuthenticator(self._context, lambda key: False, self.counters, options.token)
        self._monitors: dict[zmq.Socket[bytes], zmq.Socket[bytes]] = {}
        """monitor -> the socket whose handshakes it reports"""

    def bind(self, channel: Channel, host: str, port: int, carrier: Carrier) -> str:
        """Open the listening socket of a channel."""
        if channel in self._bound:
            raise ResourceError(f"channel {channel} is bound already")
        if carrier == "tcp":
            require_secrecy(host, self.options.keys)
        socket = open_socket(self._context, channel, _BINDING[channel], self.options)
        self._watch(socket, channel)
        try:
            endpoint = bind(socket, host, port) if carrier == "tcp" else bind_here(socket, channel, self._identity.name)
        except ResourceError:
            self._close(socket)
            raise
        self._bound[channel] = socket
        self._add(socket, channel, endpoint)
        return endpoint

    def connect(self, channel: Channel, name: str, endpoint: str, key: str = "") -> None:
        """Open a socket to a node, unless there is one to that endpoint and key, or that one has refused this process permanently."""
        known = self.destinations.get((channel, name)) or self.given_up.get((channel, name))
        if known is not None and (known.endpoint, known.key) == (endpoint, key):
            return
        if self.options.keys is not None and not key:
            raise AuthenticationError(f"{name} has no public key: its roster entry came from a process without encryption")
        socket = self._dial(channel, name, endpoint, key)
        self.disconnect(channel, name)
        self._use(socket, Destination(channel, name, socket, None, endpoint, key, sequence=self._sequence(channel, name)))

    def disconnect(self, channel: Channel, name: str) -> None:
        """Close the socket to a node, if there is one, and drop its queue."""
        self.given_up.pop((channel, name), None)
        known = self.destinations.pop((channel, name), None)
        if known is None:
            return
        self._drop(known)
        self._blocked.pop(known, None)
        if known.route is None:
            self._hang_up(known)
            self._refused.pop(known, None)

    def _dial(self, channel: Channel, name: str, endpoint: str, key: str) -> zmq.Socket[bytes]:
        socket = open_socket(self._context, channel, _CONNECTING[channel], self.options, key)
        try:
            self._watch(socket, channel)
            socket.connect(endpoint)
        except zmq.ZMQError as error:
            self._close(socket)
            raise ResourceError(f"can't connect to {name} at {endpoint!r}: {error.strerror}") from None
        return socket

    def _use(self, socket: zmq.Socket[bytes], destination: Destination) -> None:
        destination.socket, destination.again = socket, 0.0
        self._add(socket, destination.channel, destination.endpoint)
        destination.shared = socket in self._shared
        self._names[socket] = destination.name
        self.destinations[destination.channel, destination.name] = destination

    def _hang_up(self, destination: Destination) -> None:
        """Close the socket to a destination, unless it is closed already."""
        if self._sockets.pop(destination.socket, None) is not None:
            del self._names[destination.socket]
            self._poller = None
            self._close(destination.socket)

    def _watch(self, socket: zmq.Socket[bytes], channel: Channel) -> None:
        """Monitor the handshakes of a socket: where connections are encrypted every one, with a token those that others connect to and the
        way to the run server, whose refusal shows that the token is another run's."""
        if self.options.keys is not None or (self.options.token and (socket.type in (zmq.ROUTER, zmq.PULL) or channel == "ctl")):
            self._monitors[handshakes.watch(self._context, socket)] = socket
            self._poller = None

    def _close(self, socket: zmq.Socket[bytes], linger: int = 0) -> None:
        monitor = next((monitor for monitor, watched in self._monitors.items() if watched is socket), None)
        if monitor is not None:
            del self._monitors[monitor]
            socket.disable_monitor()
            monitor.close(0)
        self._shared.discard(socket)
        socket.close(linger)

    def _run_authenticator(self, door: HandshakeAuthenticator) -> float:
        """Answer waiting handshakes, and retry refused connections; seconds until the next turn is needed."""
        now = time.monotonic()
        door.tick(now)
        soonest = LOOK_AGAIN if door.held else float("inf")
        for destination in [d for d in self._refused if d.again <= now]:
            del self._refused[destination]
            try:
                self._use(self._dial(destination.channel, destination.name, destination.endpoint, destination.key), destination)
            except ResourceError as error:
                logger.warning("%s", error)
                destination.again = now + _DIAL_AGAIN
                self._refused[destination] = None
        return min([soonest, *(max(0.0, destination.again - now) for destination in self._refused)])

    def _process_handshakes(self, monitor: zmq.Socket[bytes]) -> None:
        """Process the outcomes of handshakes at one socket."""
        name = self._names.get(self._monitors[monitor])
        if name is None:
            for event, _ in handshakes.read(monitor):
                self.counters[handshakes.OF_SERVER[event]] += 1
            return
        channel = self._sockets[self._monitors[monitor]]
        destination = self.destinations[channel, name]
        for event, value in handshakes.read(monitor):
            verdict = destination.attempts.happened(event, value)
            if verdict == "on":
                continue
            self.counters["tx.refused"] += 1
            self._hang_up(destination)
            if verdict == "again":
                destination.again = time.monotonic() + destination.attempts.delay
                self._refused[destination] = None
                logger.info("%s at %s refused the connection on %s", name, destination.endpoint, channel)
            else:
                self._give_up(destination)
            return

    def _give_up(self, destination: Destination) -> None:
        place = (destination.channel, destination.name)
        why = "either it does not know this process's public key, or its own is not the one that it was announced with"
        if self.options.keys is None:
            why = "the token is not that of this run; it is in control.json of the run's directory"
        where = f"{destination.name} at {destination.endpoint}"
        reason = f"{where} refused the connection on {destination.channel} {handshakes.ATTEMPTS} times: {why}"
        logger.error("%s; it is not tried again", reason)
        self.counters["tx.given_up"] += 1
        self.disconnect(*place)
        self.given_up[place] = GivenUp(destination.endpoint, destination.key, reason)

    def _close_all(self, linger: float) -> None:
        """Drop what waits, and close every socket; what was handed to libzmq may leave for `linger` seconds."""
        for destination in self.destinations.values():
            self._drop(destination)
        self.destinations.clear()
        for socket in self._sockets:
            self._close(socket, linger=max(0, int(1000 * linger)))
        if self._authenticator is not None:
            self._authenticator.socket.close(0)
        self._context.term()

    def _sequence(self, channel: Channel, name: str) -> count[int]:
        return self._sequences.setdefault((channel, name), count(1))

    def _add(self, socket: zmq.Socket[bytes], channel: Channel, endpoint: str) -> None:
        self._sockets[socket] = channel
        if self.options.shared_memory and endpoint.startswith("ipc:"):
            self._shared.add(socket)
        self._poller = None

    def _drop(self, destination: Destination) -> None:
        """What waits for a destination that is gone can't be sent to its successor: that one has asked for nothing yet."""
        self.shared_frames.forget(destination)
        if destination.waiting:
            self.counters["tx.dropped"] += len(destination.waiting)
            destination.waiting.clear()
