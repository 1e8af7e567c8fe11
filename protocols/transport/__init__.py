"""Sockets: the one communication thread of a process, its queues and its addresses."""

from protocols.transport.connections import Identity
from protocols.transport.socket_loop import ReceivedMessage
from protocols.transport.sockets import TransportOptions
from protocols.transport.transport import Transport
from protocols.wire.guard import Guard
from protocols.wire.guard_sources import GuardOptions

__all__ = [
    "Guard",
    "GuardOptions",
    "Identity",
    "ReceivedMessage",
    "Transport",
    "TransportOptions",
]
