"""Sockets: the one communication thread of a process, its queues and its addresses."""

from protocols.transport.connections import Identity
from protocols.transport.guard import Guard
from protocols.transport.inbox import Received
from protocols.transport.sockets import TransportOptions
from protocols.transport.sources import GuardOptions
from protocols.transport.transport import Transport

__all__ = ["Guard", "GuardOptions", "Identity", "Received", "Transport", "TransportOptions"]
