"""The transport over real sockets: who is who."""

from __future__ import annotations

import socket as plain
from collections.abc import Callable
from typing import Any

import numpy as np
import zmq

from protocols.conversations.stepping.stepping_messages import Join, Observation
from protocols.transport import GuardOptions, Transport
from protocols.wire import codec
from tests.protocols.transport.driving import RUN, bye, collect, numbers, pair, until


def test_answers_go_to_the_newest_incarnation(make: Callable[..., Transport]) -> None:
    server, old = pair(make)
    new = make("client", incarnation=2)
    new.connect("env", "server", server._loop._bound["env"].getsockopt_string(zmq.LAST_ENDPOINT))
    new.send("env", "server", Join())
    collect(server, 1)
    # The old process has not noticed yet that it is dead to the others: its messages have no effect, not even on the route.
    old.send("env", "server", bye(1))
    until(lambda: server.counters["rx.stale"] == 1)
    assert server.receive(0.0) == []
    server.send("env", "client", bye(2))
    assert numbers(collect(new, 1)) == [2]
    assert old.receive(0.05) == []


def test_messages_of_another_run_are_dropped(make: Callable[..., Transport]) -> None:
    server = make("server")
    stranger = make("client", run="other")
    stranger.connect("env", "server", server.bind("env"))
    stranger.send("env", "server", Join())
    until(lambda: server.counters["rx.bad.E_RUN"] == 1)
    assert server.receive(0.0) == []
    assert not server.connected("env", "client")


def test_garbage_is_counted_and_survived(make: Callable[..., Transport]) -> None:
    server, client = make("server", guard=GuardOptions(bad=1000)), make("client")
    endpoint = server.bind("env")
    client.connect("env", "server", endpoint)
    message = Observation(tick=1, run=RUN, src="client", dst="server", inc=1)
    whole = codec.encode(message, {"reward": np.ones(3, np.float32)})
    nonfinite = codec.encode(message, {"reward": np.full(3, np.nan, np.float32)})
    hostile: dict[str, list[list[Any]]] = {
        "E_DECODE": [[b""], [b"\xc1"], [b"garbage", b"more"], [b"\xdf\xff\xff\xff\xff"], [b"\x91" * 5000]],
        "E_FRAME": [[whole[0]], [*whole, b"x"], [whole[0], b"short"]],
        "E_SIZE": [[b"\0" * 20_000], [whole[0]] * 80],
        "E_NONFINITE": [nonfinite],
    }
    context = zmq.Context()
    try:
        dealer = context.socket(zmq.DEALER)
        dealer.LINGER = 1000
        dealer.connect(endpoint)
        for parts in (parts for group in hostile.values() for parts in group):
            dealer.send_multipart(parts)
        client.send("env", "server", bye(1))
        for code, group in hostile.items():
            until(lambda code=code, group=group: server.counters[f"rx.bad.{code}"] == len(group))
        dealer.close()
    finally:
        context.term()
    with plain.create_connection(("127.0.0.1", int(endpoint.rpartition(":")[2]))) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n" * 100)
    client.send("env", "server", bye(2))
    assert numbers(collect(server, 2)) == [1, 2]
