"""Invalid bytes at every socket of a real run: it goes on, ends well, and reports what it refused."""

from __future__ import annotations

import json
import socket as plain
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import zmq

from protocols.averaging.averaging_messages import Average
from protocols.conversations.client_requests.client_messages import StopRequest
from protocols.conversations.control.control_messages import Command, Event, Heartbeat, Metrics
from protocols.conversations.membership.membership_messages import Bye, Hello, Refuse
from protocols.conversations.proposals import Propose
from protocols.conversations.stepping.stepping_messages import Act, Join
from protocols.wire import codec
from protocols.wire.message_registry import schema_hash
from protocols.wire.messages import Message
from tests.runs.system import CONFIG, SMALL, events, eventually, metrics, orchestrate, pids, processes_of

pytestmark = [pytest.mark.runs, pytest.mark.cluster, pytest.mark.timeout(150)]

IDLE = 500
"""connections that are made and send nothing"""
ROUNDS = 60
HUGE = codec.MessageLimits().frame


def endpoints(directory: Path) -> dict[str, str]:
    """Where every process of the run listens, by channel or name."""
    control = json.loads((directory / "control.json").read_text())
    found = {"ctl": control["endpoint"], "tele": control["telemetry"]}
    for name, pid in pids(directory).items():
        if name.startswith(("agent", "env")):
            listening = [c.laddr.port for c in psutil.Process(pid).net_connections("tcp") if c.status == psutil.CONN_LISTEN]
            assert len(listening) == 1, f"{name} listens at {listening}"
            found[name] = f"tcp://127.0.0.1:{listening[0]}"
    return found


def said(message: Message, dst: str, src: str, run: str, inc: int = 1, seq: int = 10**6, **arrays: Any) -> list[Any]:
    """The bytes of a message with a claimed sender."""
    message.run, message.src, message.dst, message.inc, message.seq = run, src, dst, inc, seq
    return codec.encode(message, arrays)


GARBAGE: list[list[bytes]] = [
    [b""], [b"\xc1"], [b"\x91" * 10_000], [b"\xdf\xff\xff\xff\xff"], [b"x" * 20_000], [b"\x80"] * 90, [b"\0"], [b"GET / HTTP/1.1\r\n"],
    [b"\x81\xa1t\xa4join", b"\0" * 2**20],
]  # fmt: skip


def byzantine_attacks(name: str, run: str) -> list[list[Any]]:
    """Well-formed messages for a socket, from senders that must not send them."""
    everywhere = [Heartbeat(), Join(), Propose(version=1), Command(id=1, op="stop"), Refuse(code=4, text="go away"), Bye(code=0)]
    dst = "run" if name in ("ctl", "tele") else name
    found = [said(message, dst, "agent-0", "another-run") for message in everywhere]
    found += [said(message, dst, "nobody-7", run) for message in everywhere if name != "ctl"]
    if name == "ctl":
        finished = Event(severity="info", code="finished", text="false", rid="1")
        found += [
            said(finished, "run", "env-0", run),
            said(Bye(code=0), "run", "agent-1", run),
            said(StopRequest(now=True), "run", "agent-2", run),
        ]
        found += [
            said(Hello(role="agent", token="guess", schema=schema_hash()), "run", "agent-3", run),
            said(Heartbeat(), "run", "agent-0", run, inc=9),
        ]
        found += [said(StopRequest(now=True), "run", "client-0", run)]
    elif name == "tele":
        found += [
            said(Heartbeat(), "run", "agent-0", run),
            said(Metrics(step=1, episode=1, names=[], stamp=0.0), "run", "agent-0", run, inc=9),
        ]
    elif name == "env-0":
        found += [said(Act(tick=5), name, "agent-1", run, action=np.zeros((8, 2), np.int32)), said(Join(), name, "agent-2", run, inc=7)]
        found += [said(Average(round=1, layout="x"), name, "agent-0", run), said(Join(), name, "agent-0", run, inc=0)]
    else:
        neighbour = f"agent-{(int(name[-1]) + 1) % 4}"
        found += [said(Average(round=10**9, layout="x"), name, neighbour, run, inc=5, vector=np.ones(10, np.float32))]
        found += [said(Command(id=9, op="stop"), name, neighbour, run), said(Refuse(code=4), name, "env-0", run)]
        found += [said(Average(round=1, layout="x"), name, "env-0", run), said(Propose(), "agent-9", neighbour, run)]
    return found


@contextmanager
def idle(found: dict[str, str]) -> Iterator[None]:
    """Many connections that send nothing."""
    with ExitStack() as stack:
        ports = [int(endpoint.rpartition(":")[2]) for endpoint in found.values()]
        for i in range(IDLE):
            stack.enter_context(plain.create_connection(("127.0.0.1", ports[i % len(ports)]), 5))
        yield


def fire(found: dict[str, str], run: str, token: str) -> None:
    """Random bytes from one connection, false messages from another each, and frames beyond every limit from a third. With the run's token:
    without it no process would even decode them."""
    context = zmq.Context()
    try:
        guns: dict[str, list[Any]] = {}
        for name, endpoint in found.items():
            guns[name] = [context.socket(zmq.PUSH if name == "tele" else zmq.DEALER) for _ in range(2 + len(byzantine_attacks(name, run)))]
            for gun in guns[name]:
                gun.SNDTIMEO, gun.LINGER = 2000, 500
                gun.PLAIN_USERNAME, gun.PLAIN_PASSWORD = b"murmuration", token.encode()
                gun.connect(endpoint)
        for _ in range(ROUNDS):
            for name, (rubbish, _, *num_byzantine) in guns.items():
                for parts in GARBAGE:
                    rubbish.send_multipart(parts)
                for liar, parts in zip(num_byzantine, byzantine_attacks(name, run), strict=True):
                    liar.send_multipart(parts)
        for _, large, *_ in guns.values():
            large.send_multipart([b"\x80", bytes(HUGE + 1)])
        for name in ("env-0", "agent-0"):
            for _ in range(3):
                guns[name][0].send_multipart([said(Join(), name, "agent-0", "another-run")[0], bytes(8 * 2**20)])
    finally:
        context.destroy()


@contextmanager
def strangers(found: dict[str, str], run: str) -> Iterator[None]:
    """Processes without the token, which send the false messages too."""
    context = zmq.Context()
    try:
        for name, endpoint in found.items():
            socket = context.socket(zmq.PUSH if name == "tele" else zmq.DEALER)
            socket.LINGER = 0
            socket.connect(endpoint)
            for parts in [*GARBAGE, *byzantine_attacks(name, run)]:
                with suppress(zmq.Again):  # once it is refused, it is connected no more
                    socket.send_multipart(parts, zmq.NOBLOCK)
        yield
    finally:
        context.destroy(0)


def test_rubbish_at_every_socket_changes_nothing(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    directory = runs / "fire"
    # Over TCP, where any process on this machine may connect.
    wanted = "network.transport=tcp", "until={episodes: 200, time: 40s}"
    started = orchestrate(runs, "up", "-d", str(CONFIG), "--name", "fire", *SMALL, *wanted)
    assert started.returncode == 0, started.stdout + started.stderr
    try:
        eventually("agents play", lambda: len(metrics(directory, "agent-0", "success")) >= 2, 40)
        before, found = pids(directory), endpoints(directory)
        assert found.keys() == {"ctl", "tele", "env-0", "agent-0", "agent-1", "agent-2", "agent-3"}
        episodes = len(metrics(directory, "agent-0", "success"))
        token = json.loads((directory / "control.json").read_text())["token"]
        with idle(found), strangers(found, "fire"):
            fire(found, "fire", token)
            eventually("agents play on", lambda: len(metrics(directory, "agent-0", "success")) >= episodes + 2, 30)
            eventually("the run ends", lambda: events(directory, "run.ended"), 80)
    finally:
        orchestrate(runs, "down", "fire")
    record = json.loads((directory / "run.json").read_text())
    assert (record["state"], record["exit_code"]) == ("DONE", 0), record
    assert pids(directory) == before, "no node was restarted"
    assert processes_of(directory) == []
    wire = json.loads((directory / "summary.json").read_text())["wire"]
    for node in ("run", "env-0", "agent-0", "agent-1", "agent-2", "agent-3"):
        assert wire[node]["rx.bad.E_DECODE"] >= 3 and wire[node]["rx.bad.E_RUN"] >= 10 and wire[node]["rx.quarantined"] > 50, (
            node,
            wire[node],
        )
        assert wire[node]["rx.bad.E_AUTH"] > 0 and wire[node]["rx.bad.E_AHEAD"] > 0 and wire[node]["rx.bad.E_SIZE"] > 0, (node, wire[node])
        assert wire[node].get("rx.refused.protocol", 0) + wire[node].get("rx.refused.unfinished", 0) > 0, (node, wire[node])
    for node in ("env-0", "agent-0"):
        assert wire[node]["rx.bad.E_UNKNOWN_NODE"] > 0
        log = (directory / "nodes" / node / "log.txt").read_text()
        assert "Traceback" not in log and log.count("dropped a message") < 40
    server_log = (directory / "server.log").read_text()
    assert "Traceback" not in server_log and server_log.count("dropped a message") < 60
    assert "rx.quarantined" in orchestrate(runs, "show", "fire").stdout
    assert sum(metrics(directory, "agent-1", "consensus.rounds")) >= 3
