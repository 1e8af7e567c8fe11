"""The transport over real sockets: order, arrays, routes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import zmq

from protocols.averaging.averaging_messages import Average
from protocols.conversations.control.control_messages import Event, Heartbeat
from protocols.conversations.membership.membership_messages import Roster
from protocols.conversations.stepping.stepping_messages import Join
from protocols.runtime.node_start import Carrier
from protocols.transport import Transport
from protocols.wire import codec
from tests.protocols.transport.driving import PATIENCE, RUN, bye, collect, needs_ipc, numbers, pair, until


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


def test_delays_of_both_directions_cancel_the_difference_of_clocks(make: Callable[..., Transport]) -> None:
    server, client = make("server"), make("client")
    client.connect("peer", "server", server.bind("peer"))
    client.wall = lambda: time.time() + 3600.0
    began = time.monotonic()
    for i in range(10):
        client.send("peer", "server", bye(i))
    collect(server, 10)
    for i in range(10):
        server.send("peer", "client", bye(i))
    collect(client, 10)
    took = time.monotonic() - began
    there, back = server.link_counters["peer", "client"].delay_us / 1e7, client.link_counters["peer", "server"].delay_us / 1e7
    assert there < -3590.0 < 3590.0 < back
    assert 0.0 < (there + back) / 2 <= took


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
@pytest.mark.skipif(os.getuid() != 0, reason="only root can send as another user")
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
