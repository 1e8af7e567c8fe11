"""A server with keys, honest nodes, and peers that must not be served."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import zmq

from protocols.conversations.membership.membership_messages import RosterEntry
from protocols.conversations.stepping.stepping_messages import Join
from protocols.runtime.key_pairs import KeyPair
from protocols.transport import Identity, Transport, TransportOptions
from protocols.wire import codec
from protocols.wire.messages import Role
from tests.protocols.transport.driving import RUN


def transport(name: str, pair: KeyPair | None, role: Role | None = None, incarnation: int = 1, run: str = RUN) -> Transport:
    return Transport(Identity(run, name, incarnation, role), TransportOptions(keys=pair))


def roster(*entries: tuple[str, KeyPair | None, int], dead: tuple[str, ...] = ()) -> list[RosterEntry]:
    return [
        RosterEntry(name=name, role="agent", state="dead" if name in dead else "alive", inc=incarnation, key=pair.public if pair else "")
        for name, pair, incarnation in entries
    ]


def join(name: str, incarnation: int = 1, run: str = RUN, seq: int = 1) -> list[Any]:
    """A whole message as bytes, for sockets that are no transport."""
    return codec.encode(Join(run=run, src=name, dst="env-0", inc=incarnation, seq=seq))


@contextmanager
def raw(endpoint: str, pair: KeyPair | None = None, server: str = "") -> Iterator[zmq.Socket[bytes]]:
    """A bare DEALER, with that pair or none."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    dealer = context.socket(zmq.DEALER)
    try:
        dealer.LINGER = 0
        if pair is not None:
            dealer.CURVE_PUBLICKEY, dealer.CURVE_SECRETKEY = pair.public.encode(), pair.secret.encode()
            dealer.CURVE_SERVERKEY = server.encode()
        dealer.connect(endpoint)
        yield dealer
    finally:
        dealer.close(0)
        context.term()
