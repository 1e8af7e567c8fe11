"""Driving transports in one process: what they receive, and waiting for what must come."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from protocols.conversations.membership.membership_messages import Bye
from protocols.conversations.stepping.stepping_messages import Join
from protocols.runtime.node_start import ipc_works
from protocols.transport import ReceivedMessage, Transport

PATIENCE = 10.0
needs_ipc = pytest.mark.skipif(not ipc_works(), reason="no Unix-domain sockets without files")
RUN = "test"


def collect(transport: Transport, enough: int) -> list[ReceivedMessage]:
    """At least that many messages."""
    received: list[ReceivedMessage] = []
    deadline = time.monotonic() + PATIENCE
    while len(received) < enough:
        assert time.monotonic() < deadline, f"{len(received)} of {enough} messages came; {dict(transport.counters)}"
        received += transport.receive(0.2)
    return received


def until(condition: Callable[[], object], *driven: Transport) -> None:
    """Let transports whose application is here work until that holds; what they receive is dropped."""
    deadline = time.monotonic() + PATIENCE
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE} s"
        for transport in driven:
            transport.receive(0.005)
        if not driven:
            pause.wait(0.005)


def bye(number: int) -> Bye:
    return Bye(code=0, reason=str(number))


def numbers(received: list[ReceivedMessage]) -> list[int]:
    return [int(item.message.reason) for item in received if isinstance(item.message, Bye)]


def pair(make: Callable[..., Transport], **options: Any) -> tuple[Transport, Transport]:
    """A server that has the key of its client, and the client."""
    server, client = make("server", **options), make("client", **options)
    client.connect("env", "server", server.bind("env"))
    client.send("env", "server", Join())
    collect(server, 1)
    return server, client
