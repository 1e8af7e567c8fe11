"""Every socket of the system and its options, in one table.

ZMTP heartbeats are never switched on: with a receive queue that stays full longer than their time-out libzmq aborts the process, and
they stay green when the application hangs. Routing ids are never set: fixed ones lose the messages of a restarted client, or let
anybody take over its replies.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass, field

import zmq

from protocols.codec import Limits
from protocols.errors import ResourceError
from protocols.launch import ipc_works
from protocols.messages import Channel
from protocols.transport.guard import GuardOptions


@dataclass(frozen=True)
class TransportOptions:
    """Bounds of one process's transport."""

    limits: Limits = field(default_factory=Limits)
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


def open_socket(context: zmq.Context[zmq.Socket[bytes]], channel: Channel, kind: int, limits: Limits) -> zmq.Socket[bytes]:
    """A socket of that channel and kind with all its options set; not yet bound or connected."""
    socket = context.socket(kind)
    socket.SNDHWM, socket.RCVHWM = _HIGH_WATER[channel, kind]
    socket.LINGER = 0
    socket.MAXMSGSIZE = _CONTROL_FRAME if channel in ("ctl", "tele") else limits.frame
    socket.HANDSHAKE_IVL = 3000
    socket.TCP_KEEPALIVE, socket.TCP_KEEPALIVE_IDLE, socket.TCP_KEEPALIVE_INTVL, socket.TCP_KEEPALIVE_CNT = 1, 10, 5, 3
    if kind == zmq.ROUTER:
        socket.ROUTER_MANDATORY = 1
        socket.ROUTER_HANDOVER = 0
    if kind in (zmq.DEALER, zmq.PUSH):
        socket.RECONNECT_IVL, socket.RECONNECT_IVL_MAX = 100, 2000
        socket.IMMEDIATE = 1
    return socket


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
