"""The transport over real sockets: timers, other threads, and that nothing is left behind."""

from __future__ import annotations

import socket as plain
import threading
import time
from collections.abc import Callable

import pytest

from protocols.conversations.stepping.stepping_messages import Join
from protocols.runtime.errors import ResourceError
from protocols.transport import ReceivedMessage, Transport
from tests.protocols.transport.driving import PATIENCE, bye, collect, numbers, pair, until


def test_timers_send_while_the_application_waits_and_while_it_is_away(make: Callable[..., Transport]) -> None:
    server, client = make("server"), make("client")
    client.connect("ctl", "server", server.bind("ctl"))
    client.every(0.02, lambda: client.send("ctl", "server", bye(1)))
    collect(server, 5)  # no thread is in client.receive
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
    received: list[ReceivedMessage] = []
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
        assert 0.15 <= time.monotonic() - start < PATIENCE
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
