"""Nodes that join a run with the real transport and then do little: what the processes of a cluster test run.

How a node misbehaves is read from `behaviour.json` in the run's directory, by node name; without an entry it behaves.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import signal
import time
from pathlib import Path

import numpy as np

from protocols.conversations.control.control_messages import Command, CommandAck, Event, EventAck, Heartbeat, Metrics
from protocols.conversations.membership.membership_messages import Bye, Hello, Refuse, Roster, Welcome
from protocols.runtime.errors import ConfigurationError, EnvironmentFailure, ExitCode, MurmurationError
from protocols.runtime.node_start import RUN_SERVER, NodeStart
from protocols.transport import Identity, ReceivedMessage, Transport, TransportOptions
from protocols.wire.message_registry import schema_hash

logger = logging.getLogger(__name__)
STEPS = 5


def main(start: NodeStart) -> int:
    path = Path(start.directory) / "behaviour.json"
    behaviour = json.loads(path.read_text())[start.node] if path.exists() and start.node in json.loads(path.read_text()) else {}
    if behaviour.get("first_incarnations") is not None and start.incarnation > behaviour["first_incarnations"]:
        behaviour = {}
    if behaviour.get("refuse"):
        raise ConfigurationError("this node refuses its configuration")
    if behaviour.get("deaf"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    identity = Identity(start.run, start.node, start.incarnation, start.role)
    transport = Transport(identity, TransportOptions(keys=start.keys, token=start.token()))
    try:
        return Node(start, transport, behaviour).run()
    finally:
        transport.close()


class Node:
    def __init__(self, start: NodeStart, transport: Transport, behaviour: dict[str, object]) -> None:
        self.start, self.transport, self.behaviour = start, transport, behaviour
        self.ticks = 0
        self.finished: Event | None = None
        self.early: list[ReceivedMessage] = []
        self.roster: Roster | None = None

    def run(self) -> int:
        start, transport = self.start, self.transport
        endpoint = transport.bind("env" if start.role == "env" else "peer", start.bind, carrier=start.carrier, advertise=start.advertise)
        transport.connect("ctl", RUN_SERVER, start.control, start.server_key)
        transport.connect("tele", RUN_SERVER, start.telemetry, start.server_key)
        self.hello(endpoint)
        transport.every(0.1, self.heartbeat)
        end = time.monotonic() + 60
        running = False
        while time.monotonic() < end:
            early, self.early = self.early, []
            for received in early + transport.receive(0.0 if early else 0.05):
                message = received.message
                if isinstance(message, Command):
                    if message.op == "stop" and not self.behaviour.get("deaf"):
                        transport.send("ctl", RUN_SERVER, CommandAck(id=message.id))
                        self.write("stopped")
                        transport.send("ctl", RUN_SERVER, Bye(code=0, reason="asked to stop"))
                        return 0
                    if message.op == "finish" and self.finished is None:
                        self.finished = Event(severity="info", code="finished", text="evaluated", rid=secrets.token_hex(8))
                        transport.send("ctl", RUN_SERVER, self.finished)
                    if message.op == "start":
                        running = True
                    transport.send("ctl", RUN_SERVER, CommandAck(id=message.id))
                elif isinstance(message, EventAck):
                    self.write("finish acknowledged")
                elif isinstance(message, Roster):
                    self.saw(message)
            if running:
                self.step()
        return int(ExitCode.CRASH)

    def hello(self, endpoint: str) -> None:
        start = self.start
        hello = Hello(role=start.role, token=start.token(), schema=schema_hash(), endpoint=endpoint, pid=os.getpid())
        if self.behaviour.get("schema"):
            hello.schema = "0" * 64
        hello.rid = secrets.token_hex(8)
        end = time.monotonic() + 20
        while time.monotonic() < end:
            self.transport.try_send("ctl", RUN_SERVER, hello)
            welcome = False
            # What came with the welcome counts too: rosters and commands are not sent again for seconds.
            for received in self.transport.receive(0.3):
                if isinstance(received.message, Welcome):
                    configuration = json.loads(bytes(received.arrays["config"].data))
                    assert configuration["version"] == 2
                    welcome = True
                elif isinstance(received.message, Refuse):
                    error = MurmurationError(received.message.text)
                    error.exit_code = ExitCode(received.message.code)
                    raise error
                else:
                    self.early.append(received)
            if welcome:
                return
        raise MurmurationError("no welcome")

    def saw(self, roster: Roster) -> None:
        self.roster = roster
        self.write(json.dumps({e.name: [e.state, e.inc, bool(e.endpoint)] for e in roster.entries}))

    def heartbeat(self) -> None:
        self.transport.send("ctl", RUN_SERVER, Heartbeat(ticks=self.ticks, episodes=self.ticks // 2, steps=self.ticks, phase="training"))

    def step(self) -> None:
        self.ticks += 1
        if self.behaviour.get("crash"):
            raise RuntimeError("a crash on purpose")
        if self.behaviour.get("broken_environment"):
            raise EnvironmentFailure("the reward of agent-0 is nan on purpose")
        if self.behaviour.get("hang") and self.ticks > STEPS:
            os.kill(os.getpid(), signal.SIGSTOP)
        values = np.array([float(self.ticks), 0.5])
        names = ["steps", "return"]
        arrays = {"values": values}
        if self.start.role == "agent" and self.ticks <= STEPS:
            number = int(self.start.node.removeprefix("agent-"))
            arrays = {"values": np.array([*values, float(self.ticks)]), "sketch": np.array([[number, 0.0], [number / 2, 0.0]])}
            names = [*names, "consensus.round"]
        self.transport.try_send(
            "tele", RUN_SERVER, Metrics(step=self.ticks, episode=self.ticks // 2, names=names, stamp=time.time()), arrays
        )
        with (self.start.node_directory / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({"t": time.time(), "step": self.ticks, "episode": 0, "name": "return", "value": 0.5}) + "\n")

    def write(self, line: str) -> None:
        with (self.start.node_directory / "seen.txt").open("a") as file:
            file.write(f"{self.start.incarnation} {line}\n")
