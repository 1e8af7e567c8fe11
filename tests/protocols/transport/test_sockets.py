"""The sockets of a transport: addresses, options, routes that are gone."""

from __future__ import annotations

import socket as plain
from collections.abc import Callable

import pytest
import zmq

from protocols.runtime.errors import ResourceError
from protocols.transport import Transport, TransportOptions
from protocols.transport.sockets import open_socket
from protocols.wire import codec
from tests.protocols.transport.driving import bye, pair, until


def test_a_busy_port_is_named(make: Callable[..., Transport]) -> None:
    with plain.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        with pytest.raises(ResourceError, match=f"port {port} on 127.0.0.1 is in use"):
            make("server").bind("env", port=port)


def test_binding_twice_and_nonsense_endpoints_are_refused(make: Callable[..., Transport]) -> None:
    transport = make("server")
    transport.bind("env")
    with pytest.raises(ResourceError, match="bound already"):
        transport.bind("env")
    with pytest.raises(ResourceError, match="can't connect to x"):
        transport.connect("peer", "x", "nonsense")
    assert not transport.connected("peer", "x")


OPTIONS = {
    ("env", zmq.DEALER): {"SNDHWM": 64, "RCVHWM": 64},
    ("env", zmq.ROUTER): {"SNDHWM": 256, "RCVHWM": 1000},
    ("peer", zmq.ROUTER): {"SNDHWM": 1000, "RCVHWM": 1000},
    ("peer", zmq.DEALER): {"SNDHWM": 4, "RCVHWM": 1},
    ("ctl", zmq.DEALER): {"SNDHWM": 1000, "RCVHWM": 1000, "MAXMSGSIZE": 2**20},
    ("ctl", zmq.ROUTER): {"SNDHWM": 1000, "RCVHWM": 1000, "MAXMSGSIZE": 2**20},
    ("tele", zmq.PUSH): {"SNDHWM": 1000, "RCVHWM": 1000, "MAXMSGSIZE": 2**20},
    ("tele", zmq.PULL): {"SNDHWM": 1000, "RCVHWM": 1000, "MAXMSGSIZE": 2**20},
}
ALWAYS = {
    "LINGER": 0,
    "HANDSHAKE_IVL": 3000,
    "TCP_KEEPALIVE": 1,
    "TCP_KEEPALIVE_IDLE": 10,
    "TCP_KEEPALIVE_INTVL": 5,
    "TCP_KEEPALIVE_CNT": 3,
}
"""LINGER is set anew when a transport closes"""


def test_options_of_every_socket(make: Callable[..., Transport]) -> None:
    server, client = make("server"), make("client")
    for channel in ("env", "peer", "ctl", "tele"):
        client.connect(channel, "server", server.bind(channel))
    sockets = {(channel, socket.type): socket for t in (server, client) for socket, channel in t._loop._sockets.items()}
    assert sockets.keys() == OPTIONS.keys()
    for (channel, kind), socket in sockets.items():
        expected = {"MAXMSGSIZE": codec.MessageLimits().frame, **ALWAYS, **OPTIONS[channel, kind]}
        if kind in (zmq.DEALER, zmq.PUSH):
            expected |= {"RECONNECT_IVL": 100, "RECONNECT_IVL_MAX": 2000, "IMMEDIATE": 1}
        got = {name: socket.getsockopt(getattr(zmq, name)) for name in expected}
        assert got == expected, (channel, kind)
        assert socket.getsockopt(zmq.HEARTBEAT_IVL) == 0, "libzmq aborts the process with heartbeats and full queues"
        assert socket.getsockopt(zmq.ROUTING_ID) == b""


def test_a_router_says_when_a_route_is_gone() -> None:
    """`ROUTER_MANDATORY` can't be read back: without it, such a message would vanish silently."""
    context = zmq.Context()
    try:
        for channel in ("env", "peer", "ctl"):
            router = open_socket(context, channel, zmq.ROUTER, TransportOptions())
            router.bind("tcp://127.0.0.1:*")
            with pytest.raises(zmq.ZMQError) as caught:
                router.send_multipart([b"nobody", b"x"], zmq.NOBLOCK)
            assert caught.value.errno == zmq.EHOSTUNREACH
            router.close()
    finally:
        context.term()


def test_messages_for_a_client_that_left_are_counted(make: Callable[..., Transport]) -> None:
    server, client = pair(make)
    client.close()

    def refused() -> bool:
        server.try_send("env", "client", bye(1))
        return server.counters["tx.unreachable"] > 0

    until(refused, server)
