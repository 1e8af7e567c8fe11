"""A real run whose wires are tapped: `python -m tests.runs.tapping DIRECTORY CONFIG [PATH=VALUE ...]` leads it in that directory.

Agents, environment server and run server are the real ones. At the places where bytes are handed to a socket and taken from one, each
process writes them down too, whole, in `nodes/NAME/tap` (the run server in `tap`): what `tests.runs.tapped` judges is what has crossed.

`order.json`, a list of nodes, makes each of them wait until the one before it has sent: so a test chooses the order of arrival.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from threading import Event
from typing import Any

import msgpack

from agent_node.process.agent_main import agent_node
from env_server.serving.server_main import main as environment_server
from orchestrator.config import loader as configuration_loader
from orchestrator.launch.engine import PRELOAD
from orchestrator.run_server.run_server import serve
from protocols.runtime import logs
from protocols.runtime.errors import ExitCode
from protocols.runtime.node_start import NodeStart
from protocols.transport.connections import Destination
from protocols.transport.socket_loop import SocketLoop
from protocols.wire import codec

FILE = "tap"
PATIENCE = 30.0
"""seconds after which a node starts though the one before it has not"""

_transmit, _arrived = SocketLoop._transmit, SocketLoop._arrived


def tap(file: Path) -> None:
    """From now on write down what crosses the sockets of this process: maps with `way`, `t` (the machine's monotonic clock: before bytes
    are handed over, after they were taken), `channel`, `peer` (to whom; empty for what came) and `parts`."""
    file.parent.mkdir(parents=True, exist_ok=True)
    # One write per message: all messages of a killed process are in the file.
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def write(way: str, t: float, channel: str, peer: str, parts: list[codec.Buffer]) -> None:
        entry = {"way": way, "t": t, "channel": channel, "peer": peer, "parts": [bytes(part) for part in parts]}
        os.write(descriptor, msgpack.packb(entry))

    def transmit(self: SocketLoop, destination: Destination, parts: list[codec.Buffer]) -> Any:
        t = time.monotonic()
        sent = _transmit(self, destination, parts)
        if sent == "sent":
            write("out", t, destination.channel, destination.name, parts)
        return sent

    def arrived(
        self: SocketLoop, socket: Any, channel: Any, route: bytes | None, parts: list[codec.Buffer], size: int, user: str = ""
    ) -> None:
        write("in", time.monotonic(), channel, "", parts)
        _arrived(self, socket, channel, route, parts, size, user)

    SocketLoop._transmit, SocketLoop._arrived = transmit, arrived  # type: ignore[method-assign, assignment]


def wait_for_turn(start: NodeStart) -> None:
    """Until the node before this one, in `order.json`, has sent a message."""
    order = Path(start.directory) / "order.json"
    nodes: list[str] = json.loads(order.read_text()) if order.exists() else []
    before = nodes.index(start.node) - 1 if start.node in nodes else -1
    if before < 0 or start.incarnation > 1:
        return
    file, deadline, pause = start.node_directory.parent / nodes[before] / FILE, time.monotonic() + PATIENCE, Event()
    while time.monotonic() < deadline and not (file.exists() and file.stat().st_size):
        pause.wait(0.01)


def main(start: NodeStart) -> int:
    """Entry point of every node."""
    wait_for_turn(start)
    tap(start.node_directory / FILE)
    if start.role == "env":
        return environment_server(start)
    agent_node(start).run()
    return ExitCode.OK


if __name__ == "__main__":
    logs.configure()
    directory = Path(sys.argv[1])
    loaded = configuration_loader.load(Path(sys.argv[2]), sys.argv[3:], {})
    (directory / "config.json").write_text(loaded.configuration.model_dump_json())
    tap(directory / FILE)
    entry_points = {"agent": "tests.runs.tapping:main", "env": "tests.runs.tapping:main"}
    sys.exit(serve(directory, 60.0, entry_points, (*PRELOAD, "tests.runs.tapping")))
