"""A node's control channel and its telemetry, with a small run server at the other end of real sockets."""

from __future__ import annotations

import json
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from protocols.conversations.control.control_messages import Command, CommandAck, Event, EventAck, Heartbeat, Metrics
from protocols.conversations.membership.membership_messages import Bye, Hello, Refuse, Roster, RosterEntry, Welcome
from protocols.runtime.errors import AuthenticationError, ExitCode, ResourceError, SchemaError
from protocols.runtime.node_control import NodeControl
from protocols.runtime.node_start import RUN_SERVER, NodeStart
from protocols.runtime.telemetry import NAMES_PER_MESSAGE, Telemetry, TimeShares
from protocols.transport import Identity, ReceivedMessage, Transport, TransportOptions
from protocols.wire.message_registry import schema_hash
from protocols.wire.messages import Message

PATIENCE = 30.0
CONFIGURATION = {"supervision": {"heartbeat": "20ms"}, "answer": 42}


class RunServer:
    """The other end: receives everything; a test chooses what it sends."""

    def __init__(self) -> None:
        self.transport = Transport(Identity("test", RUN_SERVER), TransportOptions(token="secret"))
        self.control, self.telemetry = self.transport.bind("ctl"), self.transport.bind("tele")

    def next(self, wanted: type[Message], enough: int = 1) -> list[ReceivedMessage]:
        """That many messages of one type, in order; others are dropped."""
        found: list[ReceivedMessage] = []
        deadline = time.monotonic() + PATIENCE
        while len(found) < enough:
            assert time.monotonic() < deadline, f"{len(found)} of {enough} {wanted.__name__} came"
            found += [item for item in self.transport.receive(0.1) if isinstance(item.message, wanted)]
        return found

    def say(self, message: Message, arrays: Any = None) -> None:
        self.transport.send("ctl", "agent-0", message, arrays)

    def welcome(self, *more: Message) -> None:
        self.say(Welcome(), {"config": np.frombuffer(json.dumps(CONFIGURATION).encode(), np.uint8)})
        for message in more:
            self.say(message)


@pytest.fixture
def run_server() -> Iterator[RunServer]:
    run_server = RunServer()
    yield run_server
    run_server.transport.close()


@pytest.fixture
def transport() -> Iterator[Transport]:
    transport = Transport(Identity("test", "agent-0", 3), TransportOptions(token="secret"))
    yield transport
    transport.close(0.1)


@pytest.fixture
def node(run_server: RunServer, transport: Transport, tmp_path: Path) -> NodeControl:
    token = tmp_path / "control.json"
    token.touch(0o600)
    token.write_text(json.dumps({"token": "secret"}))
    start = NodeStart("test", "agent-0", "agent", 3, str(tmp_path), run_server.control, run_server.telemetry, str(token))
    return NodeControl(start, transport, "tcp://127.0.0.1:1")


def join(node: NodeControl, run_server: RunServer, *more: Message) -> Any:
    """Join while the run server answers; whatever `join` returned or raised."""
    outcome: list[Any] = []

    def work() -> None:
        try:
            outcome.append(node.join(PATIENCE))
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    run_server.next(Hello)
    run_server.welcome(*more)
    thread.join(PATIENCE)
    return outcome[0]


def hear(node: NodeControl, transport: Transport, until: Callable[[], object]) -> None:
    """Let the node take what comes until that holds."""
    deadline = time.monotonic() + PATIENCE
    while not until():
        assert time.monotonic() < deadline
        for received in transport.receive(0.05):
            node.receive(received)
        node.tick(time.monotonic())


def test_hello_says_who_it_is_and_the_welcome_brings_the_configuration(
    run_server: RunServer, node: NodeControl, transport: Transport
) -> None:
    entry = RosterEntry(name="env-0", role="env", state="alive", endpoint="tcp://127.0.0.1:2", inc=1)
    thread = threading.Thread(target=lambda: results.append(node.join(PATIENCE)))
    results: list[Any] = []
    thread.start()
    (hello,) = run_server.next(Hello)[:1]
    message = hello.message
    assert isinstance(message, Hello)
    assert (message.role, message.token, message.schema, message.endpoint) == ("agent", "secret", schema_hash(), "tcp://127.0.0.1:1")
    assert (message.pid, message.inc, hello.src) == (os.getpid(), 3, "agent-0")
    run_server.welcome(Roster(version=1, entries=[entry]))
    thread.join(PATIENCE)
    assert results == [CONFIGURATION]
    hear(node, transport, lambda: node.roster)  # it may come with the welcome, or right after it
    assert node.roster == {"env-0": entry}
    assert node.roster_changed


def test_hello_is_repeated_until_answered(run_server: RunServer, node: NodeControl) -> None:
    thread = threading.Thread(target=lambda: node.join(PATIENCE))
    thread.start()
    assert len(run_server.next(Hello, 2)) >= 2
    run_server.welcome()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_nobody_answers(node: NodeControl) -> None:
    with pytest.raises(ResourceError, match=r"did not answer within 0\.2 s"):
        node.join(0.2)


@pytest.mark.parametrize(
    ("code", "error"), [(ExitCode.SCHEMA, SchemaError), (ExitCode.AUTHENTICATION, AuthenticationError), (77, ResourceError)]
)
def test_a_refusal_is_the_error_it_means(run_server: RunServer, node: NodeControl, code: int, error: type[Exception]) -> None:
    outcome: list[Any] = []

    def work() -> None:
        try:
            node.join(PATIENCE)
        except Exception as caught:
            outcome.append(caught)

    thread = threading.Thread(target=work)
    thread.start()
    (hello, *_) = run_server.next(Hello)
    run_server.say(Refuse(code=code, text="another version", rid=hello.message.rid))
    thread.join(PATIENCE)
    assert type(outcome[0]) is error
    assert "another version" in str(outcome[0])


def test_a_token_that_others_may_read_is_refused(node: NodeControl, tmp_path: Path) -> None:
    (tmp_path / "control.json").chmod(0o644)
    with pytest.raises(AuthenticationError, match="chmod 600"):
        node.join(1.0)


def test_heartbeats_go_on_while_the_node_computes(run_server: RunServer, node: NodeControl) -> None:
    join(node, run_server)
    node.progress.ticks, node.progress.updates, node.progress.episodes, node.progress.rounds = 5, 6, 7, 8
    node.progress.phase = "acting"
    deadline = time.monotonic() + PATIENCE
    beats: list[Any] = []
    while len([beat for beat in beats if beat.ticks == 5]) < 3:  # the node's receive is not called
        assert time.monotonic() < deadline
        beats += [item.message for item in run_server.next(Heartbeat)]
    assert (beats[-1].updates, beats[-1].episodes, beats[-1].rounds, beats[-1].phase) == (6, 7, 8, "acting")


def test_the_last_counters_arrive_before_the_end(run_server: RunServer, node: NodeControl, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a period that none of the periodic heartbeats reaches."""
    monkeypatch.setitem(CONFIGURATION, "supervision", {"heartbeat": "1h"})
    join(node, run_server)
    run_server.next(Heartbeat)
    node.progress.steps, node.progress.phase = 300, "finished"
    node.leave(ExitCode.OK)
    last, end = (item.message for item in run_server.next(Message, 2))
    assert isinstance(last, Heartbeat) and (last.steps, last.phase) == (300, "finished")
    assert isinstance(end, Bye)


def test_commands_are_acknowledged_each_time_and_obeyed_once(run_server: RunServer, node: NodeControl, transport: Transport) -> None:
    join(node, run_server)
    for number, op in ((1, "start"), (1, "start"), (2, "checkpoint"), (1, "start"), (3, "dump")):
        run_server.say(Command(id=number, op=op))  # type: ignore[arg-type]
    obeyed: list[str] = []

    def all_there() -> bool:
        obeyed.extend(node.commands())
        return "dump" in obeyed

    hear(node, transport, all_there)
    assert obeyed == ["start", "checkpoint", "dump"]
    acks = [item.message for item in run_server.next(CommandAck, 5)]
    assert [ack.id for ack in acks if isinstance(ack, CommandAck)] == [1, 1, 2, 1, 3]


def test_only_newer_rosters_count(run_server: RunServer, node: NodeControl, transport: Transport) -> None:
    join(node, run_server)

    def roster(version: int, name: str) -> None:
        received = ReceivedMessage(
            "ctl", RUN_SERVER, Roster(version=version, entries=[RosterEntry(name=name, role="agent", state="alive")]), {}
        )
        node.receive(received)

    roster(5, "new")
    assert node.roster_changed
    node.roster_changed = False
    roster(5, "same")
    roster(4, "old")
    assert not node.roster_changed
    assert list(node.roster) == ["new"]


def test_events_are_repeated_until_acknowledged(run_server: RunServer, node: NodeControl, transport: Transport) -> None:
    join(node, run_server)
    node.event("warning", "disk.full", "no room", left=3, path="x" * 2000)
    (first,) = run_server.next(Event)
    message = first.message
    assert isinstance(message, Event)
    assert (message.severity, message.code, message.text) == ("warning", "disk.full", "no room")
    assert {field.name: len(field.value) for field in message.fields} == {"left": 1, "path": 1000}
    now = time.monotonic()
    node.tick(now + 0.5)
    node.tick(now + 1.5)
    (again,) = run_server.next(Event)
    assert again.message.rid == message.rid
    run_server.say(EventAck(rid=message.rid))
    hear(node, transport, lambda: not node._events)
    node.tick(now + 100.0)
    node.leave(3, "the end")
    (bye,) = run_server.next(Bye)
    assert isinstance(bye.message, Bye)
    assert (bye.message.code, bye.message.reason) == (3, "the end")
    assert bye.message.seq > again.message.seq


def test_only_a_refusal_of_its_own_hello_ends_a_node(run_server: RunServer, node: NodeControl, transport: Transport) -> None:
    """The run server answers a request of another process in this node's name over the node's connection."""
    outcome: list[Any] = []
    thread = threading.Thread(target=lambda: outcome.append(node.join(PATIENCE)))
    thread.start()
    (hello, *_) = run_server.next(Hello)
    for rid in ("", "f" * 16):
        run_server.say(Refuse(code=ExitCode.AUTHENTICATION, text="the token is not that of this run", rid=rid))
    run_server.welcome()
    thread.join(PATIENCE)
    assert outcome == [CONFIGURATION]
    run_server.say(Refuse(code=ExitCode.AUTHENTICATION, rid="f" * 16))
    hear(node, transport, lambda: transport.counters["rx.bad.E_AUTH"] == 3)
    assert not transport.counters["rx.quarantines"], "the run server is not to blame"
    run_server.say(Refuse(code=ExitCode.RESOURCES, text="agent-0 incarnation 3 has ended", rid=hello.message.rid))
    with pytest.raises(ResourceError, match="has ended"):
        hear(node, transport, lambda: False)


def test_a_node_registers_with_the_successor_of_its_run_server_and_sends_what_may_be_lost(
    run_server: RunServer, node: NodeControl, transport: Transport
) -> None:
    join(node, run_server, Roster(version=7, entries=[]))
    node.event("info", "first", "never acknowledged")
    node.report(Metrics(step=1, episode=0, names=["a"], stamp=1.0), {"values": np.ones(1)})
    run_server.next(Metrics)
    ports = [int(endpoint.rpartition(":")[2]) for endpoint in (run_server.control, run_server.telemetry)]
    run_server.transport.close(0.0)
    hear(node, transport, lambda: not node.answered)
    node.event("info", "second", "without a run server")
    node.report(Metrics(step=2, episode=0, names=["a"], stamp=2.0), {"values": np.ones(1)})
    run_server.transport = Transport(Identity("test", RUN_SERVER, 2), TransportOptions(token="secret"))
    for channel, port in zip(("ctl", "tele"), ports, strict=True):
        run_server.transport.bind(channel, port=port)  # type: ignore[arg-type]
    found: list[Message] = []

    def complete() -> bool:
        found.extend(item.message for item in run_server.transport.receive(0.0))
        if not node.answered and any(isinstance(message, Hello) for message in found):
            run_server.welcome()
        kinds = [type(message) for message in found]
        return node.answered and kinds.count(Metrics) == 2 and len({m.code for m in found if isinstance(m, Event)}) == 2

    hear(node, transport, complete)
    hello = next(message for message in found if isinstance(message, Hello))
    assert (hello.inc, hello.endpoint, hello.pid) == (3, "tcp://127.0.0.1:1", os.getpid()), "the same incarnation"
    assert [message.number for message in found if isinstance(message, Metrics)] == [1, 2]
    assert not transport.counters["tx.dropped_metrics"] and not transport.counters["tx.dropped_events"]


# --- telemetry ----------------------------------------------------------------------------------------------------------------------


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def test_figures_go_to_the_file_and_to_the_run_server(
    run_server: RunServer, node: NodeControl, transport: Transport, tmp_path: Path
) -> None:
    join(node, run_server)
    telemetry = Telemetry(tmp_path / "node", transport, node.report)
    values = {"return": 1.5, "loss": math.nan, "rate": math.inf, "zero": 0}
    telemetry.write(10, 2, values, {"sketch": np.arange(4.0)})
    telemetry.write(11, 3, {"nothing": math.nan})
    telemetry.close()
    written = lines(tmp_path / "node")
    assert [(row["step"], row["episode"], row["name"], row["value"]) for row in written] == [(10, 2, "return", 1.5), (10, 2, "zero", 0.0)]
    assert abs(written[0]["t"] - time.time()) < 60
    (received,) = run_server.next(Metrics)
    message = received.message
    assert isinstance(message, Metrics)
    assert (message.step, message.episode, message.names) == (10, 2, ["return", "zero"])
    np.testing.assert_array_equal(received.arrays["values"], [1.5, 0.0])
    np.testing.assert_array_equal(received.arrays["sketch"], np.arange(4.0))


def test_more_figures_than_a_message_holds_are_all_in_the_file(
    run_server: RunServer, node: NodeControl, transport: Transport, tmp_path: Path
) -> None:
    join(node, run_server)
    telemetry = Telemetry(tmp_path / "node", transport, node.report)
    telemetry.write(1, 1, {f"f{i}": float(i) for i in range(NAMES_PER_MESSAGE + 10)})
    telemetry.close()
    assert len(lines(tmp_path / "node")) == NAMES_PER_MESSAGE + 10
    (received,) = run_server.next(Metrics)
    assert received.arrays["values"].shape == (NAMES_PER_MESSAGE,)


def test_the_file_is_written_though_nobody_listens(tmp_path: Path) -> None:
    alone = Transport(Identity("test", "agent-0"))
    try:
        telemetry = Telemetry(tmp_path, alone, lambda message, arrays: None)
        for step in range(200):
            telemetry.write(step, 0, {"a": 1.0})
        telemetry.close()
        again = Telemetry(tmp_path, alone, lambda message, arrays: None)
        again.write(200, 0, {"a": 2.0})
        again.close()
    finally:
        alone.close(0.0)
    assert [row["step"] for row in lines(tmp_path)] == list(range(201)), "a node that is started again goes on in its file"


def test_time_shares_sum_to_one() -> None:
    shares = TimeShares()
    pause = threading.Event()
    with shares.spent("wait"):
        pause.wait(0.05)
    with pytest.raises(ZeroDivisionError), shares.spent("broken"):
        raise ZeroDivisionError
    taken = shares.take()
    assert taken.keys() == {"time.wait", "time.broken", "time.other"}
    assert taken["time.wait"] > 0.5
    assert sum(taken.values()) == pytest.approx(1.0)
    assert shares.take() == {"time.other": 1.0}
