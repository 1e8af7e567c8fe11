"""A host whose first order comes before its warm parent has imported its modules."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from orchestrator.launch.engine import Invitation
from protocols.conversations.control.control_messages import Heartbeat
from protocols.conversations.membership.membership_messages import Hello, Welcome
from protocols.conversations.node_processes.node_process_messages import NodeStarted, StartNode
from protocols.transport import Identity, Transport, TransportOptions
from protocols.wire.messages import Message
from tests.orchestrator.run_server.cluster import ROOT

pytestmark = pytest.mark.cluster
PATIENCE = 40.0


def until(server: Transport, wanted: type[Message]) -> None:
    """Until such a message has come."""
    end = time.monotonic() + PATIENCE
    while not any(isinstance(received.message, wanted) for received in server.receive(0.1)):
        assert time.monotonic() < end, f"no {wanted.__name__} within {PATIENCE:g} s"


def test_heartbeats_do_not_wait_for_the_warm_parent(tmp_path: Path) -> None:
    """The start of a node waits for the imports; without heartbeats meanwhile the run server would declare the host dead."""
    token, imported = tmp_path / "control.json", tmp_path / "imported"
    token.touch(0o600)
    token.write_text(json.dumps({"token": "secret"}))
    (tmp_path / "hosts").mkdir()
    server = Transport(Identity("night", "run"), TransportOptions(token="secret"))
    nodes = "tests.orchestrator.run_server.small_nodes:main"
    invitation = Invitation(
        "night", str(tmp_path), server.bind("ctl"), server.bind("tele"), str(token), "local",
        heartbeat=0.1, roles={"agent": nodes, "env": nodes}, preload=("tests.orchestrator.run_server.slow_imports",),
    )  # fmt: skip
    host = subprocess.Popen(
        [sys.executable, "-m", "orchestrator.launch.host.host_process", "-"],
        cwd=ROOT, stdin=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT), "HOLD_IMPORTS": str(imported)},
    )  # fmt: skip
    try:
        assert host.stdin is not None
        host.stdin.write(json.dumps(asdict(invitation)) + "\n")
        host.stdin.flush()
        until(server, Hello)
        server.send("ctl", "local", StartNode(node="agent-0", role="agent", incarnation=1, threads=1))
        server.send("ctl", "local", Welcome())
        until(server, Heartbeat)
        imported.touch()
        until(server, NodeStarted)
    finally:
        imported.touch()
        host.terminate()
        host.wait(30)
        server.close()
