"""Whole runs whose connections are encrypted: run server, host, nodes and command lines as processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.results.run_files import CLIENT_KEYS, KEYS
from orchestrator.run_server.run_client import RunClient
from protocols.conversations.client_requests.client_messages import StopRequest
from protocols.conversations.membership.membership_messages import Hello
from protocols.runtime.errors import AuthenticationError
from protocols.runtime.key_pairs import KeyPair, read_pair
from protocols.transport import Identity, Transport, TransportOptions
from tests.orchestrator.run_server.cluster import ROOT, Cluster, eventually


@contextmanager
def cluster(directory: Path, **settings: Any) -> Iterator[Cluster]:
    running = Cluster(directory, security={"mode": "curve"}, **settings)
    try:
        yield running
    finally:
        running.close()


def _seen(directory: Path, node: str) -> list[dict[str, Any]]:
    path = directory / "nodes" / node / "seen.txt"
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line.partition(" ")[2]) for line in lines if "{" in line]


def test_an_encrypted_run_comes_up_restarts_a_node_and_ends(tmp_path: Path) -> None:
    with cluster(tmp_path / "run", agents=2, network={"transport": "tcp"}) as run:
        run.running()
        keys = run.directory / KEYS
        pair = read_pair(keys / CLIENT_KEYS)
        control = json.loads((run.directory / "control.json").read_text())
        assert "token" not in control
        # A killed agent comes back with its own key, and is let in; the others are notified.
        os.kill(run.node("agent-1")["pid"], signal.SIGKILL)
        eventually("agent-1 is back", lambda: run.node("agent-1").get("incarnation") == 2 and run.node("agent-1")["state"] == "alive")
        eventually("agent-0 has it", lambda: any(roster["agent-1"][:2] == ["alive", 2] for roster in _seen(run.directory, "agent-0")))
        # Nothing secret is in arguments or environments, nor in any file but that of the command lines.
        for process in run.processes():
            told = " ".join([*process.cmdline(), *process.environ().values()])
            assert pair.secret not in told
            assert control["key"] not in told
        run.client().stop()
        assert run.ended() == 130
        assert not keys.exists()
        written = b"".join(path.read_bytes() for path in run.directory.rglob("*") if path.is_file())
        assert pair.secret.encode() not in written
        run.assert_nothing_left()


def test_strangers_and_command_lines_in_other_names_get_nothing(tmp_path: Path) -> None:
    with cluster(tmp_path / "run", agents=1) as run:
        run.running()
        control = json.loads((run.directory / "control.json").read_text())

        def knock(name: str, pair: KeyPair | None, server_key: str) -> Transport:
            stranger = Transport(Identity(run.directory.name, name, role="client"), TransportOptions(keys=pair))
            stranger.connect("ctl", "run", control["endpoint"], server_key)
            stranger.try_send("ctl", "run", Hello(role="client"))
            stranger.try_send("ctl", "run", StopRequest(now=True))
            return stranger

        mine = read_pair(run.directory / KEYS / CLIENT_KEYS)
        strangers = [knock("client-x", KeyPair.make(), control["key"]), knock("client-y", None, ""), knock("agent-0", mine, control["key"])]
        try:
            eventually("the unknown peer gives up", lambda: strangers[0].refusal("ctl", "run"))
            assert [received for stranger in strangers for received in stranger.receive(0.2)] == []
            assert run.snapshot()["state"] == "RUNNING"
        finally:
            for stranger in strangers:
                stranger.close()


@pytest.mark.parametrize(("name", "mode"), [(CLIENT_KEYS, 0o644), (".", 0o755), (CLIENT_KEYS, None)])
def test_command_lines_refuse_keys_that_others_can_read(tmp_path: Path, name: str, mode: int | None) -> None:
    directory = tmp_path / "runs" / "quiet-brook-0001"
    directory.parent.mkdir()
    with cluster(directory, agents=1) as run:
        run.running()
        path = directory / KEYS / name
        secret = read_pair(directory / KEYS / CLIENT_KEYS).secret
        path.unlink() if mode is None else path.chmod(mode)
        with pytest.raises(AuthenticationError, match=str(path.resolve()).replace("/.", "/[.]")):
            RunClient(directory.resolve())
        command = [sys.executable, "-m", "orchestrator", "--runs-dir", str(directory.parent), "down", directory.name]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert done.returncode == 4, done
        assert str(path) in done.stderr
        assert secret not in done.stdout + done.stderr
        assert psutil.pid_exists(run.process.pid)


def test_a_run_does_not_start_with_a_key_directory_that_others_can_read(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    directory.mkdir()
    (directory / KEYS).mkdir(mode=0o755)
    (directory / KEYS).chmod(0o755)
    run = Cluster(directory, agents=1, security={"mode": "curve"})
    try:
        assert run.ended() == 4
        assert str(directory / KEYS) in run.record()["reason"]
        assert "chmod 700" in run.record()["reason"]
    finally:
        run.close()


def test_nothing_is_bound_outside_this_machine_without_encryption(tmp_path: Path) -> None:
    run = Cluster(tmp_path / "run", agents=1, security={"mode": "none"}, network={"bind": "0.0.0.0", "advertise": "127.0.0.1"})
    try:
        assert run.ended() == 4
        assert "security.mode" in run.record()["reason"]
        run.assert_nothing_left()
    finally:
        run.close()


def test_whatever_can_be_reached_from_outside_is_encrypted_by_itself(tmp_path: Path) -> None:
    """`auto`; and the bound address is not the advertised one."""
    run = Cluster(tmp_path / "run", agents=1, network={"bind": "0.0.0.0", "advertise": "localhost", "transport": "tcp"})
    try:
        run.running()
        control = json.loads((run.directory / "control.json").read_text())
        assert control["endpoint"].startswith("tcp://localhost:")
        assert len(control["key"]) == 40
        run.client().stop()
        assert run.ended() == 130
    finally:
        run.close()
