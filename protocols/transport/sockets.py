"""Every socket of the system and its options, in one table.

ZMTP heartbeats are never switched on: with a receive queue that stays full longer than their time-out libzmq aborts the process, and
they stay green when the application hangs. Routing ids are never set: fixed ones lose the messages of a restarted client, or allow
another process to take over its replies.
"""

from __future__ import annotations

import os
import resource
import secrets
from dataclasses import dataclass, field

import zmq

from protocols.runtime.errors import AuthenticationError, ResourceError
from protocols.runtime.key_pairs import KeyPair
from protocols.runtime.node_start import ipc_works, is_loopback
from protocols.transport.handshakes import DOMAIN
from protocols.wire.codec import MessageLimits
from protocols.wire.guard_sources import GuardOptions
from protocols.wire.messages import Channel


@dataclass(frozen=True)
class TransportOptions:
    """Limits, queues and keys of one process's transport; queues in messages or bytes."""

    limits: MessageLimits = field(default_factory=MessageLimits)
    queue: int = 64
    """messages waiting for one destination before `Backpressure`"""
    inbox: int = 4096
    """messages waiting for the application before sockets are no longer read"""
    inbox_bytes: int = 64 * 2**20
    """the same in bytes"""
    burst: int = 100
    """messages read from one socket before the others have their turn"""
    guard: GuardOptions = field(default_factory=GuardOptions)
    """what is let in from one source"""
    shared_memory: bool = False
    """large frames travel through shared memory between Unix-domain sockets; both ends of a connection must have the same value"""
    keys: KeyPair | None = None
    """this process's pair: every connection is encrypted and authenticated; None: neither"""
    token: str = field(default="", repr=False)
    """without keys: the run's token, which both ends of every connection must have; "": any process may connect (tests, benchmarks)"""


_HIGH_WATER: dict[tuple[str, int], tuple[int, int]] = {
    ("env", zmq.DEALER): (64, 64),
    ("env", zmq.ROUTER): (256, 1000),
    ("peer", zmq.ROUTER): (1000, 1000),
    ("peer", zmq.DEALER): (4, 1),
    ("ctl", zmq.DEALER): (1000, 1000),
    ("ctl", zmq.ROUTER): (1000, 1000),
    ("tele", zmq.PUSH): (1000, 1000),
    ("tele", zmq.PULL): (1000, 1000),
}
_CONTROL_FRAME = 2**20
_SEALED = 64
"""bytes that encryption may add to a frame"""


def open_socket(
    context: zmq.Context[zmq.Socket[bytes]], channel: Channel, kind: int, options: TransportOptions, server: str = ""
) -> zmq.Socket[bytes]:
    """A socket of that channel and kind with all its options set; not yet bound or connected. `server`: public key of the node that it is
    to be connected to, where connections are encrypted. `ResourceError` when the process has no descriptor left."""
    try:
        socket = context.socket(kind)
    except zmq.ZMQError as error:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        text = f"no socket can be opened: {error.strerror}; this process may have {limit} file descriptors, and a run needs at least 256"
        raise ResourceError(f"{text}: ulimit -n 4096") from None
    socket.SNDHWM, socket.RCVHWM = _HIGH_WATER[channel, kind]
    socket.LINGER = 0
    socket.MAXMSGSIZE = (_CONTROL_FRAME if channel in ("ctl", "tele") else options.limits.frame) + (0 if options.keys is None else _SEALED)
    socket.HANDSHAKE_IVL = 3000
    socket.TCP_KEEPALIVE, socket.TCP_KEEPALIVE_IDLE, socket.TCP_KEEPALIVE_INTVL, socket.TCP_KEEPALIVE_CNT = 1, 10, 5, 3
    if kind == zmq.ROUTER:
        socket.ROUTER_MANDATORY = 1
        socket.ROUTER_HANDOVER = 0
    if kind in (zmq.DEALER, zmq.PUSH):
        socket.RECONNECT_IVL, socket.RECONNECT_IVL_MAX = 100, 2000
        socket.IMMEDIATE = 1
    if options.keys is not None:
        socket.CURVE_PUBLICKEY, socket.CURVE_SECRETKEY = options.keys.public.encode(), options.keys.secret.encode()
        if kind in (zmq.ROUTER, zmq.PULL):
            socket.CURVE_SERVER = 1
            socket.ZAP_DOMAIN = DOMAIN
            socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
        else:
            socket.CURVE_SERVERKEY = server.encode()
    elif options.token and kind in (zmq.ROUTER, zmq.PULL):
        socket.PLAIN_SERVER = 1
        socket.ZAP_DOMAIN = DOMAIN
        socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
    elif options.token:
        socket.PLAIN_USERNAME, socket.PLAIN_PASSWORD = DOMAIN, options.token.encode()
    return socket


def require_secrecy(host: str, keys: KeyPair | None) -> None:
    """`AuthenticationError` when a socket that other machines can reach would accept messages from any sender."""
    if keys is None and not is_loopback(host):
        raise AuthenticationError(
            f"{host} can be reached from outside, where any process could read and send messages of this run. Write security.mode=curve "
            "(encrypted, and only this run's processes are let in), or network.bind=127.0.0.1"
        )


def advertised(endpoint: str, host: str) -> str:
    """The endpoint under which others reach a socket that is bound to `endpoint`, if they know this machine as `host` ("": by the bound
    address itself)."""
    if not host or not endpoint.startswith("tcp://"):
        return endpoint
    return f"tcp://{f'[{host}]' if ':' in host else host}:{endpoint.rpartition(':')[2]}"


def bind(socket: zmq.Socket[bytes], host: str, port: int) -> str:
    """Bind to `host` and `port` (0: a free one) and return the endpoint; a port in use is a `ResourceError` that names it."""
    address = f"tcp://{f'[{host}]' if ':' in host else host}:{port or '*'}"
    try:
        socket.bind(address)
    except zmq.ZMQError as error:
        if error.errno == zmq.EADDRINUSE:
            raise ResourceError(f"port {port} on {host} is in use by another program; choose another, or 0 for a free one") from None
        raise ResourceError(f"can't bind to {address}: {error.strerror}") from None
    return str(socket.getsockopt_string(zmq.LAST_ENDPOINT)).rstrip("\0")


def bind_here(socket: zmq.Socket[bytes], channel: Channel, name: str) -> str:
    """Bind for processes of the same user on this machine, and return the endpoint.

    It is an abstract Unix-domain address, which is no file: nothing is left behind however a process ends, no path is too long, and an
    address in use is refused, where a second bind to a file's path would silently take it over. Such addresses have no permissions; so
    libzmq asks the kernel whose process connects, and turns other users away.
    """
    if not ipc_works():
        raise ResourceError("this machine has no Unix-domain sockets without files; set network.transport=tcp")
    socket.setsockopt(zmq.IPC_FILTER_UID, os.getuid())
    address = f"ipc://@murmuration-{name[:24]}-{channel}-{secrets.token_hex(12)}"
    try:
        socket.bind(address)
    except zmq.ZMQError as error:
        raise ResourceError(f"can't bind to {address}: {error.strerror}") from None
    return address
