"""By which address of its own this machine reaches another one: the default of what it binds to and advertises."""

from __future__ import annotations

import errno
import ipaddress
import socket
from dataclasses import replace

from orchestrator.launch.engine import Invitation
from protocols.runtime.errors import ResourceError

_ANY_PORT = 9
"""no datagram is sent; the system only looks up the way"""


def address_towards(host: str) -> str:
    """The address of this machine from which datagrams to `host` (an address or a name) would leave. `ResourceError` where no way leads
    there."""
    try:
        family, _, _, _, there = socket.getaddrinfo(host, _ANY_PORT, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(there)
            return str(probe.getsockname()[0])
    except OSError as error:
        raise ResourceError(
            f"no way leads from {socket.gethostname()} to {host} ({error.strerror or error}): network.advertise must be an address or a "
            "name by which that machine reaches the run server"
        ) from None


def placed(invitation: Invitation) -> Invitation:
    """With the addresses of this machine, where the invitation leaves them open."""
    bind, advertise = invitation.bind, invitation.advertise
    if bind and not (is_any(bind) and not advertise):
        return invitation
    # Of `tcp://host:port`; addresses of version 6 without their brackets.
    own = address_towards(invitation.control.removeprefix("tcp://").rpartition(":")[0].strip("[]"))
    return replace(invitation, bind=bind or own, advertise=advertise or (own if bind else ""))


def is_any(address: str) -> bool:
    """Whether it stands for all addresses of a machine (0.0.0.0)."""
    try:
        return ipaddress.ip_address(address).is_unspecified
    except ValueError:
        return False


def is_foreign(address: str) -> bool:
    """Whether no network card of this machine has this address: nothing can be bound to it."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError as error:
        return error.errno == errno.EADDRNOTAVAIL
    return False
