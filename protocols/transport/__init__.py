"""Sockets: the one communication thread of a process, its queues and its addresses."""

from protocols.transport.inbox import Received
from protocols.transport.sockets import TransportOptions
from protocols.transport.transport import Identity, Transport

__all__ = ["Identity", "Received", "Transport", "TransportOptions"]
