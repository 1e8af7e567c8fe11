"""Connections without keys, over real sockets: they need the run's token, and without it no message is received."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import zmq

from protocols.conversations.stepping.stepping_messages import Join
from protocols.transport import Transport
from protocols.transport.handshakes import ATTEMPTS
from tests.protocols.transport.driving import collect, needs_ipc, pair, until
from tests.protocols.transport.strangers import join, raw

TOKEN = "c0ffee" * 10
FRAMES = 50


def refused(server: Transport) -> int:
    """Connections without credentials; libzmq counts one that the other side closes first as unfinished."""
    return server.counters["rx.refused.protocol"] + server.counters["rx.refused.unfinished"]


def send_all(dealer: zmq.Socket[bytes]) -> None:
    """More frames than a peer without the token may have received by a mistake of the order of events."""
    for number in range(FRAMES):
        dealer.send_multipart(join("client", seq=number + 1))


@pytest.mark.parametrize("carrier", ["tcp", pytest.param("ipc", marks=needs_ipc)])
def test_processes_with_the_token_exchange_messages_and_others_reach_nothing(make: Callable[..., Transport], carrier: str) -> None:
    server, client = make("env-0", token=TOKEN), make("client", token=TOKEN)
    endpoint = server.bind("env", carrier=carrier)  # type: ignore[arg-type]
    with raw(endpoint) as bare, raw("inproc://nowhere") as guessing:
        guessing.PLAIN_USERNAME, guessing.PLAIN_PASSWORD = b"murmuration", b"0" * len(TOKEN)
        guessing.connect(endpoint)
        send_all(bare)
        send_all(guessing)
        until(lambda: server.counters["rx.refused.token"] >= 1 and refused(server) >= 1, server)
        client.connect("env", "env-0", endpoint)
        client.send("env", "env-0", Join(rid="mine"))
        received = collect(server, 1)
        server.send("env", "client", Join(rid="answer"))
        assert [item.message.rid for item in received + collect(client, 1)] == ["mine", "answer"]
    assert server.counters["rx.admitted"] == 1
    assert not any(name.startswith("rx.bad") for name in server.counters), "no frame without the token is even decoded"
    assert server.receive(0.0) == []


def test_telemetry_needs_the_token_too(make: Callable[..., Transport]) -> None:
    server = make("run", token=TOKEN)
    endpoint = server.bind("tele")
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        push = context.socket(zmq.PUSH)
        push.LINGER = 0
        push.connect(endpoint)
        push.send_multipart(join("client"))
        until(lambda: refused(server) >= 1, server)
    finally:
        context.destroy(0)
    assert server.receive(0.0) == []


def test_a_process_of_another_run_learns_that_its_token_is_wrong(make: Callable[..., Transport]) -> None:
    server, foreign = make("run", token=TOKEN), make("agent-0", token="of another run")
    foreign.connect("ctl", "run", server.bind("ctl"))
    foreign.send("ctl", "run", Join())
    until(lambda: foreign.refusal("ctl", "run"), server, foreign)
    assert "control.json" in foreign.refusal("ctl", "run")
    assert server.counters["rx.refused.token"] == ATTEMPTS and server.counters["rx.admitted"] == 0


def test_without_a_token_any_process_is_admitted(make: Callable[..., Transport]) -> None:
    """The tests above would pass too if nothing were ever admitted."""
    server, _ = pair(make)
    assert server.counters["rx.refused.token"] == 0
