"""An agent's node beside a small run server on real sockets: what it makes of messages that come too early, too late, or malformed."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent_node.process.agent_main import agent_node
from agent_node.process.agent_process import ENVIRONMENT, AgentNode
from agent_node.session.roles import AVERAGING, GOAL_NEGOTIATION, LEARNER
from env_server.environments.landmarks.body_physics import observation_layout
from env_server.environments.landmarks.settings import LandmarksOptions
from orchestrator.config.configuration import Configuration
from protocols.conversations.control.control_messages import Command
from protocols.conversations.membership.membership_messages import Hello, Refuse, Roster, RosterEntry, Welcome
from protocols.conversations.stepping.stepping_messages import Flag, Joined, Observation, Offer
from protocols.runtime.node_start import RUN_SERVER, NodeStart
from protocols.transport import Identity, ReceivedMessage, Transport, TransportOptions
from protocols.wire.messages import Message

MEMBERS = ["agent-0", "agent-1", "agent-2"]
COPIES = 2
LAYOUT = observation_layout(LandmarksOptions())
SETTINGS = {
    "version": 2,
    "until": {"time": "1min"},
    "environment": {"id": "landmarks", "copies": COPIES},
    "agents": {"count": 3, "learner": {"kind": "double_dqn", "hidden": [8]}},
    "exchange": {"negotiation": {"kind": "coordination_game"}, "hindsight": {}, "consensus": {"groups": ["critic"]}},
}
CONFIGURATION = np.frombuffer(Configuration.model_validate(SETTINGS).model_dump_json().encode(), np.uint8)


def welcome(transport: Transport, stop: threading.Event) -> None:
    """Answer every `Hello`, with a roster in which agent-1 is present and agent-2 is not."""
    entries = [
        RosterEntry(name="agent-1", role="agent", state="alive", endpoint="tcp://127.0.0.1:1", inc=1),
        RosterEntry(name="agent-2", role="agent", state="lost", endpoint="tcp://127.0.0.1:1", inc=1),
    ]
    while not stop.is_set():
        for received in transport.receive(0.1):
            if isinstance(received.message, Hello):
                transport.send("ctl", "agent-0", Welcome(), {"config": CONFIGURATION})
                transport.send("ctl", "agent-0", Roster(version=1, entries=entries))


@pytest.fixture
def node(tmp_path: Path) -> Iterator[AgentNode]:
    server, stop = Transport(Identity("test", RUN_SERVER), TransportOptions(token="secret")), threading.Event()
    control, telemetry = server.bind("ctl"), server.bind("tele")
    thread = threading.Thread(target=welcome, args=(server, stop))
    thread.start()
    token = tmp_path / "control.json"
    token.touch(0o600)
    token.write_text(json.dumps({"token": "secret"}))
    before = signal.getsignal(signal.SIGTERM)
    try:
        node = agent_node(NodeStart("test", "agent-0", "agent", 1, str(tmp_path), control, telemetry, str(token)))
        deadline = time.monotonic() + 10
        while "agent-1" not in node.control.roster and time.monotonic() < deadline:
            for received in node.transport.receive(0.1):
                node.control.receive(received)
        node._keep_up(time.monotonic())
        yield node
        node.telemetry.close()
        node.transport.close(0)
    finally:
        signal.signal(signal.SIGTERM, before)
        stop.set()
        thread.join(10)
        server.close(0)


def come(node: AgentNode, channel: Any, src: str, message: Message, arrays: dict[str, Any] | None = None) -> None:
    message.src = src
    node._handle(ReceivedMessage(channel, src, message, arrays or {}))  # type: ignore[arg-type]


def join(node: AgentNode, incarnation: int = 1) -> None:
    come(node, "env", ENVIRONMENT, Joined(copies=COPIES, layout=LAYOUT, members=MEMBERS, tick=1, inc=incarnation))


def observation(tick: int, incarnation: int = 1, **changes: Any) -> tuple[Observation, dict[str, Any]]:
    arrays = {
        "observation": np.zeros((COPIES, *LAYOUT.shape), np.float32),
        "reward": np.zeros(COPIES, np.float32),
        "flags": np.full(COPIES, int(Flag.MEMBER | Flag.FIRST), np.uint16),
        "episode": np.arange(COPIES, dtype=np.int64),
        "applied": np.zeros((COPIES, 2), np.int32),
        "achieved": np.zeros((COPIES, 3), np.uint8),
        "goal": np.zeros(COPIES, np.int32),
    }
    return Observation(tick=tick, inc=incarnation), arrays | changes


def test_the_end_of_training_holds_for_who_joins_later(node: AgentNode) -> None:
    come(node, "ctl", RUN_SERVER, Command(id=1, op="finish"))
    node._keep_up(time.monotonic())
    join(node)
    assert node.session is not None and not node.session.trainer.on
    assert node.control.progress.phase == "evaluation"


def test_only_the_environment_server_may_refuse_invite_or_show(node: AgentNode) -> None:
    come(node, "peer", "agent-1", Refuse(code=6, text="go away"))
    come(node, "peer", "agent-1", Joined(copies=1, layout=LAYOUT, members=MEMBERS, tick=1))
    assert node.session is None
    join(node)
    come(node, "peer", "agent-1", *observation(99))
    come(node, "peer", "agent-1", Refuse(code=6, text="go away"))
    assert node.stepping.tick == -1


def test_what_an_ended_environment_server_said_counts_no_more(node: AgentNode) -> None:
    join(node)
    come(node, "env", ENVIRONMENT, *observation(5000))
    entry = RosterEntry(name=ENVIRONMENT, role="env", state="alive", endpoint="tcp://127.0.0.1:1", inc=2)
    come(node, "ctl", RUN_SERVER, Roster(version=2, entries=[entry]))
    node._keep_up(time.monotonic())
    come(node, "env", ENVIRONMENT, *observation(5001))
    assert node.stepping.tick == -1, "its tick would shut out all that the new one sends"
    come(node, "env", ENVIRONMENT, *observation(1, 2))
    assert node.stepping.tick == 1


def test_of_several_observations_only_the_newest_is_answered_and_learnt_from(node: AgentNode, monkeypatch: pytest.MonkeyPatch) -> None:
    join(node)
    assert node.session is not None
    sent, trained, seen, asked = [], [], [], []
    monkeypatch.setattr(node, "_to_environment", lambda message, arrays=None: sent.append(message.tick))
    monkeypatch.setattr(node.session.trainer, "tick", lambda: trained.append(node.stepping.tick))
    act = node.session.act
    monkeypatch.setattr(
        node.session, "act", lambda arrays, continuous, answer: (seen.append(continuous), act(arrays, continuous, answer))[1]
    )
    learner = node.session.components[LEARNER]
    choose = learner.act
    monkeypatch.setattr(learner, "act", lambda *known: (asked.append(node.stepping.tick), choose(*known))[1])

    def together(*ticks: int, src: str = ENVIRONMENT) -> None:
        found = []
        for tick in ticks:
            message, arrays = observation(tick)
            message.src = src
            found.append(ReceivedMessage("env", src, message, arrays))
        node._take(found)

    together(1)
    together(2, 3, 4, 4, 3)
    assert sent == trained == asked == [1, 4] and node.stepping.tick == 4
    assert seen == [False, True, True, True], "what is between is kept: no episode is broken"
    together(99, src="agent-1")
    together(5)
    assert sent == trained == [1, 4, 5], "an agent that may not send has no effect"


@pytest.mark.parametrize(
    "changes",
    [
        {"flags": np.zeros(COPIES, np.float32)},
        {"flags": np.zeros(COPIES + 1, np.uint16)},
        {"reward": np.zeros((COPIES, 2), np.float32)},
        {"episode": np.zeros(1, np.int64)},
        {"applied": np.zeros((COPIES, 3), np.int32)},
        {"achieved": np.zeros((COPIES, 4), np.uint8)},
        {"goal": np.full(COPIES, 6, np.int32)},
        {"goal": np.full(COPIES, -2, np.int32)},
        {"observation": np.zeros((COPIES, *LAYOUT.shape), np.float64)},
    ],
)
def test_malformed_observations_are_dropped(node: AgentNode, changes: dict[str, Any]) -> None:
    join(node)
    come(node, "env", ENVIRONMENT, *observation(1, **changes))
    assert node.transport.counters["rx.bad.E_FRAME"] == 1
    come(node, "env", ENVIRONMENT, *observation(2))
    assert node.transport.counters["rx.bad.E_FRAME"] == 1 and node.stepping.tick == 2


def offer(**changes: Any) -> dict[str, Any]:
    arrays = {
        "episode": np.array([4, 5], np.int64),
        "copy": np.zeros(2, np.int32),
        "members": np.array([[0, 1], [1, 0]], np.int16),
        "evaluation": np.zeros(2, np.uint8),
        "goal": np.full(2, -1, np.int32),
    }
    return {name: array for name, array in (arrays | changes).items() if array is not None}


@pytest.mark.parametrize(
    "changes",
    [
        {"members": np.array([[0, 1], [1, 30000]], np.int16)},
        {"members": np.array([[0, 1], [-1, 0]], np.int16)},
        {"members": np.array([[0, 1], [-2, 0]], np.int16)},
        {"members": np.zeros((2, 0), np.int16)},
        {"members": np.zeros(2, np.int16)},
        {"episode": np.array([4, -5], np.int64)},
        {"episode": np.array([4.0, 5.0])},
        {"evaluation": np.zeros(3, np.uint8)},
        {"goal": None},
    ],
)
def test_malformed_offers_are_dropped_whole(node: AgentNode, changes: dict[str, Any]) -> None:
    join(node)
    come(node, "env", ENVIRONMENT, Offer(), offer(**changes))
    assert node.transport.counters["rx.bad.E_FRAME"] == 1
    assert node.session is not None and node.session.components[GOAL_NEGOTIATION].agreement(4) is None
    come(node, "env", ENVIRONMENT, Offer(), offer())
    assert node.session.components[GOAL_NEGOTIATION].agreement(5) is not None


def test_averaging_waits_for_no_neighbour_that_is_not_there(node: AgentNode) -> None:
    join(node)
    assert node.session is not None
    averaging = node.session.components[AVERAGING]
    machine = averaging.machine
    machine.begin(0, np.zeros(averaging.layout.size, np.float32), 0.0)
    assert [send.dst for send in machine.outgoing()] == ["agent-1"], "agent-2 is lost"


def test_a_wrong_clock_leaves_the_schedule_of_the_links_as_it_is(node: AgentNode, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[float] = []

    class Shim:
        def progress(self, now: float, step: int | None = None, episode: int | None = None, round: int | None = None) -> None:
            told.append(now)

    monkeypatch.setattr(node, "shim", Shim())
    node.faults.clock.skew("wrong", 3600.0)
    began = time.monotonic()
    join(node)
    come(node, "env", ENVIRONMENT, *observation(1))
    node._keep_up(node.faults.clock.now())
    assert len(told) == 2 and all(began <= now <= time.monotonic() for now in told)
