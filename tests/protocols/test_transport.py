"""The transport over real sockets: order, routes, bounds, reconnection, and that nothing is left behind."""

from __future__ import annotations

import os
import socket as plain
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest
import zmq

from protocols import codec
from protocols.errors import Backpressure, ResourceError
from protocols.launch import Carrier, ipc_works
from protocols.messages import Average, Bye, Event, Heartbeat, Join, Observation, Roster
from protocols.transport import GuardOptions, Identity, Received, Transport, TransportOptions
from protocols.transport.sockets import open_socket

PATIENCE = 10.0
needs_ipc = pytest.mark.skipif(not ipc_works(), reason="no Unix-domain sockets without files")
RUN = "test"


@pytest.fixture
def make() -> Iterator[Callable[..., Transport]]:
    """Transports that are closed at the end."""
    with ExitStack() as stack:

        def make(name: str, incarnation: int = 1, run: str = RUN, **options: Any) -> Transport:
            transport = Transport(Identity(run, name, incarnation), TransportOptions(**options))
            stack.callback(transport.close, 0.1)
            return transport

        yield make


def collect(transport: Transport, enough: int) -> list[Received]:
    """At least that many messages."""
    received: list[Received] = []
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


def numbers(received: list[Received]) -> list[int]:
    return [int(item.message.reason) for item in received if isinstance(item.message, Bye)]


def pair(make: Callable[..., Transport], **options: Any) -> tuple[Transport, Transport]:
    """A server that knows its client, and the client."""
    server, client = make("server", **options), make("client", **options)
    client.connect("env", "server", server.bind("env"))
    client.send("env", "server", Join())
    collect(server, 1)
    return server, client


# --- delivery -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channel", ["env", "peer", "ctl"])
def test_messages_go_both_ways_in_order(make: Callable[..., Transport], channel: Any) -> None:
    server, client = make("server"), make("client")
    client.connect(channel, "server", server.bind(channel))
    for i in range(50):
        client.send(channel, "server", bye(i))
    received = collect(server, 50)
    assert numbers(received) == list(range(50))
    assert [item.message.seq for item in received] == list(range(1, 51))
    assert {(item.channel, item.src, item.message.dst, item.message.inc, item.message.run) for item in received} == {
        (channel, "client", "server", 1, RUN)
    }
    for i in range(50):
        server.send(channel, "client", bye(i))
    assert numbers(collect(client, 50)) == list(range(50))
    assert server.link_counters[channel, "client"].received_messages == 50
    assert client.link_counters[channel, "server"].sent_bytes == server.link_counters[channel, "client"].received_bytes


def test_telemetry_goes_one_way(make: Callable[..., Transport]) -> None:
    server, client = make("server"), make("client")
    client.connect("tele", "server", server.bind("tele"))
    client.send("tele", "server", bye(1))
    assert numbers(collect(server, 1)) == [1]
    with pytest.raises(KeyError):
        server.send("tele", "client", bye(2))


@pytest.mark.parametrize("carrier", ["tcp", pytest.param("ipc", marks=needs_ipc)])
@pytest.mark.parametrize("size", [1, codec.SMALL // 4 - 1, codec.SMALL // 4, 1_000_003])
def test_arrays_arrive_intact_and_read_only(make: Callable[..., Transport], size: int, carrier: Carrier) -> None:
    server, client = make("server"), make("client")
    client.connect("peer", "server", server.bind("peer", carrier=carrier))
    vector = np.random.default_rng(size).normal(size=size).astype(np.float32)
    small = np.arange(7, dtype=np.int16)
    for number in range(3):
        client.send("peer", "server", Average(round=number, layout="x"), {"small": small, "vector": vector})
    for number, item in enumerate(collect(server, 3)):
        assert isinstance(item.message, Average)
        assert item.message.round == number
        np.testing.assert_array_equal(item.arrays["vector"], vector)
        np.testing.assert_array_equal(item.arrays["small"], small)
        with pytest.raises(ValueError, match="read-only"):
            item.arrays["vector"][0] = 1


def test_arrays_outlive_the_transport_that_received_them(make: Callable[..., Transport]) -> None:
    server, client = make("server"), make("client")
    client.connect("peer", "server", server.bind("peer"))
    vector = np.random.default_rng(0).normal(size=codec.SMALL)
    client.send("peer", "server", Average(round=0, layout="x"), {"vector": vector})
    [item] = collect(server, 1)
    arrived = item.arrays["vector"]
    del item
    for number in range(20):  # whose frames would take the place of one that was given back
        client.send("peer", "server", Average(round=number, layout="x"), {"vector": np.full(codec.SMALL, float(number))})
    collect(server, 20)
    server.close(0.1)
    np.testing.assert_array_equal(arrived, vector)


@needs_ipc
def test_a_unix_address_is_no_file_answers_and_is_free_again_at_the_end(make: Callable[..., Transport]) -> None:
    server, client = make("n" * 64), make("client")
    endpoint = server.bind("env", carrier="ipc")
    assert endpoint.startswith("ipc://@") and len(endpoint) <= 100
    client.connect("env", server.identity.name, endpoint)
    client.send("env", server.identity.name, bye(1))
    assert numbers(collect(server, 1)) == [1]
    server.send("env", "client", bye(2))
    assert numbers(collect(client, 1)) == [2]
    with zmq.Context() as context, context.socket(zmq.ROUTER) as second:
        with pytest.raises(zmq.ZMQError, match="in use"):
            second.bind(endpoint)
        server.close(0.1)
        second.bind(endpoint)


@needs_ipc
@pytest.mark.skipif(os.getuid() != 0, reason="only root can speak as another user")
def test_a_unix_address_is_for_the_same_user_only(make: Callable[..., Transport]) -> None:
    address = "\0" + make("server").bind("peer", carrier="ipc").removeprefix("ipc://@")

    def greeting(user: int) -> bytes:
        code = f"import os, socket as s; os.setuid({user}); c = s.socket(s.AF_UNIX); c.connect({address!r}); print(c.recv(10).hex())"
        ran = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=True)
        return bytes.fromhex(ran.stdout)

    assert greeting(os.getuid())[:1] == b"\xff", "as the protocol of ZeroMQ begins"
    assert greeting(65534) == b"", "closed at once"


def test_receive_waits_for_as_many_as_asked_for(make: Callable[..., Transport]) -> None:
    server, client = pair(make)
    sender = threading.Thread(target=lambda: [client.send("env", "server", bye(i)) for i in range(4)])
    sender.start()
    assert numbers(server.receive(PATIENCE, at_least=4)) == [0, 1, 2, 3]
    sender.join()
    client.send("env", "server", bye(4))
    start = time.monotonic()
    assert numbers(server.receive(0.1, at_least=2)) == [4]
    assert time.monotonic() - start >= 0.1, "gave up before the time-out"


def test_the_communication_thread_reads_while_the_application_is_away(make: Callable[..., Transport]) -> None:
    server, client = pair(make)
    for i in range(20):
        client.send("env", "server", bye(i))
    until(lambda: server.depth == 20)
    assert numbers(server.receive(0.0)) == list(range(20))


def test_an_unknown_destination_is_a_key_error(make: Callable[..., Transport]) -> None:
    transport = make("alone")
    with pytest.raises(KeyError):
        transport.send("peer", "nobody", Join())
    assert not transport.try_send("peer", "nobody", Join())
    assert not transport.connected("peer", "nobody")


def test_two_threads_may_send(make: Callable[..., Transport]) -> None:
    server, client = make("server"), make("client", queue=10_000)
    client.connect("ctl", "server", server.bind("ctl"))
    each = 300

    def send(first: int) -> None:
        for i in range(each):
            client.send("ctl", "server", bye(first + i))

    threads = [threading.Thread(target=send, args=(1000 * t,)) for t in range(3)]
    for thread in threads:
        thread.start()
    received = collect(server, 3 * each)
    for thread in threads:
        thread.join()
    got = numbers(received)
    for t in range(3):
        assert [n for n in got if n // 1000 == t] == list(range(1000 * t, 1000 * t + each)), "each thread's messages keep their order"
    assert sorted(item.message.seq for item in received) == list(range(1, 3 * each + 1))


def test_newest_only_messages_are_coalesced_others_are_not(make: Callable[..., Transport]) -> None:
    server, client = make("server"), make("client")
    client.connect("ctl", "server", server.bind("ctl"))
    for i in range(5):
        client.send("ctl", "server", Heartbeat(ticks=i))
        client.send("ctl", "server", Roster(version=i, entries=[]))
        client.send("ctl", "server", Event(severity="info", code="x", rid=str(i)))
    until(lambda: server.depth == 15)
    received = server.receive(0.0)
    assert [item.message.ticks for item in received if isinstance(item.message, Heartbeat)] == [4]
    assert [item.message.version for item in received if isinstance(item.message, Roster)] == [4]
    assert [item.message.rid for item in received if isinstance(item.message, Event)] == list("01234")


# --- who is who ---------------------------------------------------------------------------------------------------------------------


def test_answers_go_to_the_newest_incarnation(make: Callable[..., Transport]) -> None:
    server, old = pair(make)
    new = make("client", incarnation=2)
    new.connect("env", "server", server._loop._bound["env"].getsockopt_string(zmq.LAST_ENDPOINT))
    new.send("env", "server", Join())
    collect(server, 1)
    # The old process has not noticed yet that it is dead to the others: what it says has no effect, not even on the route.
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


# --- bounds -------------------------------------------------------------------------------------------------------------------------


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
    # What was on its way when the connection broke may be lost: as conversations do, say it again.
    got: list[Received] = []
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


# --- sockets ------------------------------------------------------------------------------------------------------------------------


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
        expected = {"MAXMSGSIZE": codec.Limits().frame, **ALWAYS, **OPTIONS[channel, kind]}
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
            router = open_socket(context, channel, zmq.ROUTER, codec.Limits())
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


# --- timers and the end -------------------------------------------------------------------------------------------------------------


def test_timers_send_while_the_application_waits_and_while_it_is_away(make: Callable[..., Transport]) -> None:
    server, client = make("server"), make("client")
    client.connect("ctl", "server", server.bind("ctl"))
    client.every(0.02, lambda: client.send("ctl", "server", bye(1)))
    collect(server, 5)  # nobody is in client.receive
    before = server.link_counters["ctl", "client"].received_messages
    until(lambda: server.link_counters["ctl", "client"].received_messages > before + 5, client, server)


def test_a_timer_whose_peer_is_away_does_no_harm(make: Callable[..., Transport]) -> None:
    transport = make("alone")
    calls = 0

    def send() -> None:
        nonlocal calls
        calls += 1
        transport.send("ctl", "nobody", Join())

    transport.every(0.01, send)
    until(lambda: calls >= 3)
    assert transport.receive(0.0) == []


def test_calls_from_other_threads_interrupt_a_long_wait(make: Callable[..., Transport]) -> None:
    server, client = make("server"), make("client")
    endpoint = server.bind("env")
    received: list[Received] = []
    waiting = threading.Thread(target=lambda: received.extend(client.receive(PATIENCE)))
    waiting.start()
    start = time.monotonic()
    for _ in range(20):
        client.connect("env", "server", endpoint)
        client.disconnect("env", "server")
    client.connect("env", "server", endpoint)
    client.send("env", "server", Join())
    collect(server, 1)
    server.send("env", "client", bye(7))
    waiting.join(PATIENCE)
    assert numbers(received) == [7]
    assert time.monotonic() - start < PATIENCE / 2


def test_close_sends_what_is_queued_and_leaves_nothing(make: Callable[..., Transport]) -> None:
    """Threads, sockets and descriptors are compared after every test by the fixture of all tests."""
    server, client = pair(make)
    for i in range(30):
        client.send("env", "server", bye(i))
    client.close()
    client.close()
    assert not client._thread.is_alive()
    assert numbers(collect(server, 30)) == list(range(30))
    with pytest.raises(KeyError):
        client.send("env", "server", bye(30))
    with pytest.raises(ResourceError, match="closed"):
        client.receive(1.0)
    with pytest.raises(ResourceError, match="closed"):
        client.bind("peer")


def test_close_does_not_wait_for_an_absent_peer(make: Callable[..., Transport]) -> None:
    client = make("client")
    with plain.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        client.connect("ctl", "server", f"tcp://127.0.0.1:{reserved.getsockname()[1]}")
        client.send("ctl", "server", bye(1))
        start = time.monotonic()
        client.close(linger=0.2)
        assert 0.15 <= time.monotonic() - start < 2.0
    assert not client._thread.is_alive()
    assert client.counters["tx.dropped"] == 1


def test_close_from_another_thread_ends_a_receive(make: Callable[..., Transport]) -> None:
    transport = make("alone")
    failed: list[BaseException] = []
    entered = threading.Event()

    def receive() -> None:
        entered.set()
        try:
            transport.receive(PATIENCE)
        except ResourceError as error:
            failed.append(error)

    thread = threading.Thread(target=receive)
    thread.start()
    entered.wait(PATIENCE)
    transport.close()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert len(failed) == 1


def test_a_failure_of_the_communication_reaches_the_application(make: Callable[..., Transport], caplog: pytest.LogCaptureFixture) -> None:
    transport = make("alone")

    def broken() -> None:
        raise ValueError("broken timer")

    transport.every(0.01, broken)
    until(lambda: not transport._thread.is_alive())
    with pytest.raises(ResourceError, match="broken timer"):
        transport.receive(0.1)
    assert "the communication thread died" in caplog.text
