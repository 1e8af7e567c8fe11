"""The transport over real sockets: bounds, reconnection, slow applications."""

from __future__ import annotations

import socket as plain
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from protocols.conversations.stepping.stepping_messages import Join, Observation
from protocols.runtime.errors import Backpressure
from protocols.transport import ReceivedMessage, Transport
from tests.protocols.transport.driving import PATIENCE, bye, collect, numbers, pair, until


def test_backpressure_at_the_bound_while_the_peer_is_absent(make: Callable[..., Transport]) -> None:
    client = make("client", queue=8)
    with plain.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        client.connect("env", "server", f"tcp://127.0.0.1:{port}")
        for i in range(8):
            client.send("env", "server", bye(i))
        with pytest.raises(Backpressure, match="8 messages wait for server"):
            client.send("env", "server", bye(8))
        assert not client.try_send("env", "server", bye(8))
    assert client.counters["tx.drop_backpressure"] == 2
    server = make("server")
    server.bind("env", port=port)
    assert numbers(collect(server, 8)) == list(range(8)), "what was accepted arrives once the peer is there"


def test_a_server_that_comes_back_elsewhere(make: Callable[..., Transport]) -> None:
    server, client = pair(make)
    server.close()
    reborn = make("server", incarnation=2)
    client.connect("env", "server", reborn.bind("env"))
    client.send("env", "server", bye(1))
    assert numbers(collect(reborn, 1)) == [1]
    reborn.send("env", "client", bye(2))
    assert numbers(collect(client, 1)) == [2]


def test_a_server_that_comes_back_at_the_same_endpoint(make: Callable[..., Transport]) -> None:
    server = make("server")
    endpoint = server.bind("env")
    client = make("client")
    client.connect("env", "server", endpoint)
    client.send("env", "server", Join())
    collect(server, 1)
    server.close()
    reborn = make("server", incarnation=2)
    reborn.bind("env", port=int(endpoint.rpartition(":")[2]))
    # What was on its way when the connection broke may be lost: as conversations do, send it again.
    got: list[ReceivedMessage] = []
    deadline = time.monotonic() + PATIENCE
    while not got:
        assert time.monotonic() < deadline
        client.try_send("env", "server", bye(1))
        got = reborn.receive(0.1)
    assert set(numbers(got)) == {1}


def test_a_slow_application_stops_reading_and_goes_on_later(make: Callable[..., Transport]) -> None:
    """Bytes are bounded at every station; nothing that was accepted is lost."""
    limit = 2**20
    server, client = pair(make, inbox_bytes=limit, queue=16)
    picture = np.zeros(200_000, np.uint8)
    sent = 0
    refused_since: float | None = None
    deadline = time.monotonic() + PATIENCE
    while refused_since is None or time.monotonic() - refused_since < 0.3:
        assert time.monotonic() < deadline
        if server.try_send("env", "client", Observation(tick=sent), {"observation": picture}):
            sent, refused_since = sent + 1, None
        elif refused_since is None:
            refused_since = time.monotonic()
        server.receive(0.005)
    assert limit <= client.depth * picture.nbytes <= limit + 2 * picture.nbytes, "reading stops at the bound"
    getter = threading.Thread(target=lambda: server.receive(PATIENCE))  # the server's application goes on, else its queue would stand still
    getter.start()
    ticks = [item.message.tick for item in collect(client, sent) if isinstance(item.message, Observation)]
    client.send("env", "server", Join())
    getter.join()
    assert ticks == list(range(sent))


def test_inbox_bound_in_messages(make: Callable[..., Transport]) -> None:
    server, client = make("server", inbox=10), make("client", queue=5000)
    client.connect("ctl", "server", server.bind("ctl"))
    for i in range(3000):
        client.send("ctl", "server", bye(i))
    until(lambda: server.depth >= 10)
    assert server.depth == 10
    assert numbers(collect(server, 3000)) == list(range(3000))


def test_one_full_route_holds_up_nobody_else(make: Callable[..., Transport]) -> None:
    """An agent that reads nothing must neither keep the others from their answers nor keep the server's processor busy."""
    server, stuck, lively = make("server"), make("stuck", inbox_bytes=2**16), make("lively")
    endpoint = server.bind("env")
    for client in (stuck, lively):
        client.connect("env", "server", endpoint)
        client.send("env", "server", Join())
        collect(server, 1)
    picture = {"observation": np.zeros(2**18, np.uint8)}
    deadline = time.monotonic() + PATIENCE
    while server.try_send("env", "stuck", Observation(tick=1), picture):
        assert time.monotonic() < deadline, "the queue of an agent that does not read never fills"
    for i in range(20):
        server.send("env", "lively", bye(i))
        assert numbers(collect(lively, 1)) == [i]
    turns = 0
    turn = server._loop.turn

    def counted(patience: float) -> None:
        nonlocal turns
        turns += 1
        turn(patience)

    server._loop.turn = counted  # type: ignore[method-assign]
    server.receive(0.3)
    assert turns <= 40, "the driver spins while a route is full"
