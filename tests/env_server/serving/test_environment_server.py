"""An environment server beside a small run server, with one agent that only listens, on real sockets."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from env_server.environments.environment_contracts import EpisodeRecord, TickResult
from env_server.serving.environment_server import EPISODES
from env_server.serving.server_main import environment_server
from env_server.serving.server_state import ServerCounters
from orchestrator.config.configuration import Configuration
from protocols.conversations.control.control_messages import Command
from protocols.conversations.membership.membership_messages import Bye, Hello, Welcome
from protocols.conversations.stepping.stepping_messages import Join, Offer
from protocols.faults.node_faults.disk import disk
from protocols.faults.node_faults.fault_log import read
from protocols.runtime.errors import EnvironmentFailure, ExitCode
from protocols.runtime.node_start import RUN_SERVER, NodeStart
from protocols.transport import Identity, Transport, TransportOptions

SETTINGS = {
    "version": 2,
    "until": {"time": "1min"},
    "environment": {"id": "landmarks", "copies": 3, "options": {"members": 1, "largest": 1}},
    "agents": {"count": 1},
    "exchange": {},
}
FAULTS = [
    {"id": "timed", "at": {"time": "10ms"}, "for": {"steps": 6}, "storage": {"target": "env-0", "action": "slow"}},
    {"id": "stepped", "at": {"step": 15}, "for": "30ms", "storage": {"target": "env-0", "action": "slow"}},
    {"id": "lasting", "at": {"step": 18}, "storage": {"target": "env-0", "action": "slow"}},
]
LOGICAL = {"clock": "logical", "tick": "10ms", "until": {"time": "200ms"}, "faults": {"heal_before_end": "40%", "events": FAULTS}}


def packed(settings: dict[str, Any]) -> NDArray[np.uint8]:
    return np.frombuffer(Configuration.model_validate(settings).model_dump_json().encode(), np.uint8)


class RunServer(threading.Thread):
    """Welcomes env-0 and starts it; joins as agent-0; stops env-0 when the first offer has come, which it keeps."""

    def __init__(self) -> None:
        super().__init__()
        self.transport = Transport(Identity("test", RUN_SERVER), TransportOptions(token="secret"))
        self.agent = Transport(Identity("test", "agent-0"), TransportOptions(token="secret"))
        self.endpoints = self.transport.bind("ctl"), self.transport.bind("tele")
        self.ended = threading.Event()
        self.first: int | None = None
        self.said_bye = threading.Event()
        self.bye: Bye | None = None
        self.configuration = packed(SETTINGS)

    def run(self) -> None:
        while not self.ended.is_set():
            for received in self.transport.receive(0.02):
                if isinstance(received.message, Hello):
                    self.transport.send("ctl", "env-0", Welcome(), {"config": self.configuration})
                    self.transport.send("ctl", "env-0", Command(id=1, op="start"))
                    self.agent.connect("env", "env-0", received.message.endpoint)
                elif isinstance(received.message, Bye):
                    self.bye = received.message
                    self.said_bye.set()
            if self.first is None:  # again and again, as agents do: a server that is not yet welcome receives nothing else
                self.agent.try_send("env", "env-0", Join())
            for received in self.agent.receive(0.02):
                if isinstance(received.message, Offer) and self.first is None:
                    self.first = int(received.arrays["episode"].min())
                    self.transport.send("ctl", "env-0", Command(id=2, op="stop"))


@pytest.fixture
def run_server() -> Iterator[RunServer]:
    before = signal.getsignal(signal.SIGTERM)
    run_server = RunServer()
    run_server.start()
    yield run_server
    signal.signal(signal.SIGTERM, before)
    run_server.ended.set()
    run_server.join(10)
    run_server.agent.close(0)
    run_server.transport.close(0)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("incarnation", [1, 3])
def test_every_incarnation_has_episode_numbers_of_its_own(
    run_server: RunServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, incarnation: int
) -> None:
    token = tmp_path / "control.json"
    token.touch(0o600)
    token.write_text(json.dumps({"token": "secret"}))
    server = environment_server(NodeStart("test", "env-0", "env", incarnation, str(tmp_path), *run_server.endpoints, str(token)))
    said: list[tuple[str, int]] = []
    begin = server._begin

    def note() -> None:
        said.append((server.control.progress.phase, server.control.progress.episodes))
        begin()
        said.append((server.control.progress.phase, server.control.progress.episodes))

    monkeypatch.setattr(server, "_begin", note)
    ServerCounters(tmp_path / "nodes" / "env-0").write({"episodes": 7, "steps": 70, "next_evaluation": 2000})
    server.run()
    assert run_server.first == (incarnation - 1) * EPISODES
    assert said == [("joining", 0), ("joining", 7)], "heartbeats count for nothing until it reports that it waits"


@pytest.mark.timeout(30)
@pytest.mark.parametrize("settings", [SETTINGS, SETTINGS | LOGICAL])
def test_a_reward_that_is_not_finite_is_reported_to_the_run_server(
    run_server: RunServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    run_server.configuration = packed(settings)
    token = tmp_path / "control.json"
    token.touch(0o600)
    token.write_text(json.dumps({"token": "secret"}))
    server = environment_server(NodeStart("test", "env-0", "env", 1, str(tmp_path), *run_server.endpoints, str(token)))
    reset = server.environment.reset

    def broken(seed: int, first_episode: int = 0) -> TickResult:
        result = reset(seed, first_episode)
        result.agents["agent-0"].reward[2] = np.nan
        return result

    monkeypatch.setattr(server.environment, "reset", broken)
    with pytest.raises(EnvironmentFailure, match="the reward of agent-0 is nan between two episodes, copy 2"):
        server.run()
    assert run_server.said_bye.wait(10)
    assert run_server.bye is not None and run_server.bye.code == ExitCode.ENVIRONMENT
    assert run_server.bye.reason.startswith("the reward of agent-0 is nan")


@pytest.mark.timeout(30)
def test_a_second_evaluation_is_drawn_when_the_first_is_complete(
    run_server: RunServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = tmp_path / "control.json"
    token.touch(0o600)
    token.write_text(json.dumps({"token": "secret"}))
    server = environment_server(NodeStart("test", "env-0", "env", 1, str(tmp_path), *run_server.endpoints, str(token)))
    drawn: list[int] = []
    ended: list[EpisodeRecord] = []
    with monkeypatch.context() as patched:
        patched.setattr(server.environment, "evaluate", lambda episodes, aligned: drawn.append(episodes))
        patched.setattr(server.environment, "finished", lambda: [ended.pop()] if ended else [])
        server._ask_evaluation(1)
        server._ask_evaluation(2)
        assert drawn == [1], "whatever ends first of two at a time would be the first one's"
        for assigned in (False, True):
            ended.append(EpisodeRecord(1, ("agent-0",), (1.0,), (9,), goals=(0,), evaluation=True, assigned=assigned))
            server._count()
        assert drawn == [1, 2]
    server.run()


@pytest.mark.timeout(30)
@pytest.mark.parametrize("incarnation", [1, 2])
def test_faults_of_a_logical_run_go_by_its_ticks_in_every_process_alike(
    run_server: RunServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, incarnation: int
) -> None:
    monkeypatch.setattr(disk, "slowness", 1.0)
    run_server.configuration = packed(SETTINGS | LOGICAL)
    token = tmp_path / "control.json"
    token.touch(0o600)
    token.write_text(json.dumps({"token": "secret"}))
    server = environment_server(NodeStart("test", "env-0", "env", incarnation, str(tmp_path), *run_server.endpoints, str(token)))
    server._begin()
    for tick in range(20):
        server.episode_counters.steps = 3 * (tick + 1)
        server._step(0.0)
    lines = read(tmp_path / "nodes" / "env-0" / "faults.jsonl")
    assert {line["incarnation"] for line in lines} == {1}
    assert [(line["what"], line["id"], line["t"], line["time"], line["step"]) for line in lines] == [
        ("begin", "timed", 0.01, 0.01, 3),
        ("end", "timed", 0.03, 0.03, 9),
        ("begin", "stepped", 0.05, 0.05, 15),
        ("begin", "lasting", 0.06, 0.06, 18),
        ("end", "stepped", 0.08, 0.08, 24),
        ("end", "lasting", 0.12, 0.12, 36),
    ]
    server.run()
