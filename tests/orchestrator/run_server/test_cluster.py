"""Whole runs of real processes: started, broken in every way, ended; and nothing is ever left behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.launch.process_control import MARK, sweep
from orchestrator.results.run_files import RunLock
from orchestrator.run_server.run_client import RunClient
from orchestrator.run_server.run_start import start_detached
from protocols.conversations.client_requests.client_messages import StatusRequest
from protocols.conversations.membership.membership_messages import Hello, Refuse
from protocols.runtime.errors import ExitCode, MurmurationError, ResourceError
from protocols.transport import Identity, Transport, TransportOptions
from protocols.wire.message_registry import schema_hash
from tests.orchestrator.run_server.cluster import ROOT, Cluster, eventually, starting

pytestmark = pytest.mark.cluster

Start = Callable[..., Cluster]

TERMINAL = """
import sys, threading
from pathlib import Path
from orchestrator.run_server.run_client import RunClient
client = RunClient(Path(sys.argv[1]))
client.status(leash=True)
print("held", flush=True)
threading.Event().wait(60)
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with starting(tmp_path) as start_one:
        yield start_one


def answer(
    cluster: Cluster, message: Any, run: str | None = None, name: str = "stranger", seconds: float = 30.0, token: str | None = None
) -> Any:
    """The run server's answer to one message of an unknown sender with the run's token or another one, or None."""
    control = json.loads((cluster.directory / "control.json").read_text())
    transport = Transport(Identity(run or control["run"], name), TransportOptions(token=control["token"] if token is None else token))
    try:
        transport.connect("ctl", "run", control["endpoint"])
        transport.send("ctl", "run", message)
        received = transport.receive(seconds)
        return received[0].message if received else None
    finally:
        transport.close(linger=0)


def test_a_run_comes_to_its_end(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    cluster = start(until={"time": "3s"}, exchange={"consensus": {}}, metrics={})
    assert cluster.ended() == 0
    cluster.assert_nothing_left()
    record = cluster.record()
    assert (record["state"], record["exit_code"], record["segment"]) == ("DONE", 0, 1)
    assert not (cluster.directory / "control.json").exists(), "the secret is removed"
    RunLock(cluster.directory, timeout=0).release()
    # Agents leave before their environment server, after the last evaluation, and every node has the roster.
    left = [event["node"] for event in cluster.events("node.left")]
    assert sorted(left[:3]) == ["agent-0", "agent-1", "agent-2"] and left[3] == "env-0"
    assert sorted(e["node"] for e in cluster.events("finished")) == ["agent-0", "agent-1", "agent-2", "env-0"], "agents stop learning too"
    for node in ("env-0", "agent-0", "agent-1", "agent-2"):
        seen = [line.split(" ", 1)[1] for line in (cluster.directory / "nodes" / node / "seen.txt").read_text().splitlines()]
        rosters = [json.loads(line) for line in seen if line.startswith("{")]
        assert any(all(entry == ["alive", 1, True] for entry in roster.values()) and len(roster) == 4 for roster in rosters)
        assert seen[-1] == "stopped"
    logs = {path.parent.name: path.read_text() for path in cluster.directory.glob("nodes/*/log.txt")}
    assert "GPU" not in logs["env-0"] and ["GPU 5" in logs[f"agent-{i}"] for i in range(3)] == [False, True, False]
    assert ["GPU 3" in logs[f"agent-{i}"] for i in range(3)] == [True, False, True], "agents use the GPUs of their host in turns"
    summary = json.loads((cluster.directory / "summary.json").read_text())
    assert summary["disagreement"]["contraction_median"] == pytest.approx(0.5)
    assert summary["disagreement"]["rounds"] == 5
    assert summary["nodes"]["agent-0"]["metrics"]["return"]["last"] == 0.5
    assert summary["nodes"]["agent-0"]["usage"]["peak_resident"] > 2**20
    rows = (cluster.directory / "metrics.csv").read_text().splitlines()
    assert rows[0] == "t,wall_time,node,episode,step,name,value" and any(",agent-2," in row for row in rows)
    assert {path.name for path in (cluster.directory / "tensorboard").iterdir()} == {"env-0", "agent-0", "agent-1", "agent-2", "run"}


def test_nodes_that_die_come_back_strangers_stay_out_and_the_terminal_goes_away(start: Start) -> None:
    cluster = start(behaviour={"agent-2": {"hang": True, "first_incarnations": 1}})
    pids = {node["name"]: node["pid"] for node in cluster.running()["nodes"]}
    os.kill(pids["agent-1"], signal.SIGKILL)
    back = eventually("agent-1 is back", lambda: (n := cluster.node("agent-1"))["incarnation"] == 2 and n["state"] == "alive" and n)
    assert back["restarts"] == 1 and back["pid"] != pids["agent-1"]
    assert any(
        event["text"].startswith("agent-1 killed by signal 9, attempt 1 of 5, back in 0.") and event["incarnation"] == 1
        for event in cluster.events("node.restart")
    )
    # agent-2 stopped itself: only missing heartbeats show it. It is declared dead, killed, and comes back too.
    eventually("agent-2 is back", lambda: (n := cluster.node("agent-2"))["incarnation"] == 2 and n["state"] == "alive")
    assert any("silent for" in event["text"] for event in cluster.events("node.dead"))
    assert not psutil.pid_exists(pids["agent-2"])
    lines = (cluster.directory / "nodes" / "agent-2" / "incarnations.jsonl").read_text().splitlines()
    assert [json.loads(line)["incarnation"] for line in lines] == [1, 2]
    # The environment server is a node like any other.
    os.kill(pids["env-0"], signal.SIGKILL)
    eventually("env-0 is back", lambda: (n := cluster.node("env-0"))["incarnation"] == 2 and n["state"] == "alive")

    wrong_token = answer(cluster, Hello(role="client", token="0" * 64, schema=schema_hash()))
    assert isinstance(wrong_token, Refuse) and wrong_token.code == ExitCode.AUTHENTICATION
    for other in ("", "0" * 64):  # in a node's name: the node does not receive the refusal
        assert answer(cluster, Hello(role="agent", schema=schema_hash()), name="agent-0", seconds=1.0, token=other) is None
    assert cluster.node("agent-0")["incarnation"] == 1
    token = json.loads((cluster.directory / "control.json").read_text())["token"]
    wrong_schema = answer(cluster, Hello(role="client", token=token, schema="0" * 64))
    assert isinstance(wrong_schema, Refuse) and wrong_schema.code == ExitCode.SCHEMA
    nobody = answer(cluster, Hello(role="agent", token=token, schema=schema_hash()), name="agent-9")
    assert isinstance(nobody, Refuse) and nobody.code == ExitCode.AUTHENTICATION
    no_hello = answer(cluster, StatusRequest())
    assert isinstance(no_hello, Refuse) and no_hello.code == ExitCode.AUTHENTICATION
    assert answer(cluster, Hello(role="client", token=token, schema=schema_hash()), run="other-run", seconds=0.5) is None
    assert (cluster.directory / "control.json").stat().st_mode & 0o077 == 0

    # A command line that holds the leash is killed: the run ends in order.
    terminal = subprocess.Popen([sys.executable, "-c", TERMINAL, str(cluster.directory)], cwd=ROOT, stdout=subprocess.PIPE)
    assert terminal.stdout is not None and terminal.stdout.readline() == b"held\n"
    terminal.kill()
    terminal.communicate(timeout=5)
    assert cluster.ended() == ExitCode.INTERRUPTED
    cluster.assert_nothing_left()
    assert (cluster.record()["state"], cluster.record()["reason"]) == ("STOPPED", "the terminal went away")
    assert "2 stopped" in (cluster.directory / "nodes" / "agent-1" / "seen.txt").read_text(), "it could leave in its own time"


def test_a_crash_loop_is_given_up_and_ends_the_run(start: Start) -> None:
    cluster = start(agents=2, behaviour={"agent-0": {"crash": True}}, supervision={"max_restarts": 1, "min_agents": 2})
    assert cluster.ended() == ExitCode.ABORTED
    cluster.assert_nothing_left()
    assert cluster.record()["reason"].startswith("fewer than 2 agents are left")
    assert [event["node"] for event in cluster.events("node.lost")] == ["agent-0"]
    assert "RuntimeError: a crash on purpose" in (cluster.directory / "nodes" / "agent-0" / "log.txt").read_text()
    assert "stopped" in (cluster.directory / "nodes" / "agent-1" / "seen.txt").read_text(), "the others left in order"


def test_a_failed_environment_ends_the_run_with_its_code_and_cause(start: Start) -> None:
    cluster = start(behaviour={"env-0": {"broken_environment": True}})
    assert cluster.ended() == ExitCode.ENVIRONMENT
    cluster.assert_nothing_left()
    record = cluster.record()
    assert (record["state"], record["exit_code"]) == ("FAILED", 7)
    assert record["reason"] == "env-0: the reward of agent-0 is nan on purpose"
    assert not cluster.events("node.restart")


def test_a_node_that_can_not_start_fails_the_run_with_its_own_code(start: Start) -> None:
    refusing = start(behaviour={"agent-1": {"refuse": True}})
    foreign = start(behaviour={"agent-0": {"schema": True}})
    assert refusing.ended() == ExitCode.CONFIG
    assert "this node refuses its configuration" in refusing.record()["reason"], "the end of its log is the reason"
    assert refusing.record()["state"] == "FAILED"
    assert foreign.ended() == ExitCode.SCHEMA
    refusing.assert_nothing_left()
    foreign.assert_nothing_left()


def test_signals_end_a_run_in_order_and_the_second_one_at_once(start: Start) -> None:
    cluster = start(behaviour={"agent-0": {"deaf": True}})
    cluster.running()
    cluster.process.terminate()
    # The others have gone, the unresponsive one would be waited for; no node is restarted now.
    eventually("two agents left", lambda: len(cluster.events("node.left")) == 2)
    assert cluster.record()["state"] == "STOPPING"
    cluster.process.terminate()
    assert cluster.ended(12) == ExitCode.INTERRUPTED, "in order it would have had fifteen seconds"
    cluster.assert_nothing_left()
    assert not cluster.events("node.restart")


def test_a_lost_host_fails_the_run(start: Start) -> None:
    cluster = start()
    cluster.running()
    os.kill(cluster.host_pid(), signal.SIGKILL)
    assert cluster.ended() == ExitCode.CRASH
    cluster.assert_nothing_left()
    assert "the host local is lost (killed by signal 9)" in cluster.record()["reason"]


def host_of(pid: int) -> int:
    """The host above a node's process, which the warm parent started."""
    parent = psutil.Process(pid).parent()
    assert parent is not None and parent.ppid() > 1
    return parent.ppid()


def lives(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "silent"])
def test_the_nodes_of_a_lost_host_go_to_another(start: Start, how: signal.Signals) -> None:
    cluster = start(agents=4, launch={"hosts": 2, "placement": {"policy": "spread"}}, supervision={"dead": "4s"})
    pids = {node["name"]: node["pid"] for node in cluster.running()["nodes"]}
    placed = json.loads((cluster.directory / "placement.json").read_text())
    assert set(placed.values()) == {"local-0", "local-1"}
    away = next(host for host in ("local-0", "local-1") if host != placed["env-0"])
    moving = [name for name, host in placed.items() if host == away]
    lost = host_of(pids[moving[0]])
    assert lost != host_of(pids["env-0"])
    os.kill(lost, how)
    for name in moving:
        node = eventually(
            f"{name} is back", lambda name=name: (n := cluster.node(name))["incarnation"] == 2 and n["state"] == "alive" and n
        )
        assert host_of(node["pid"]) == host_of(pids["env-0"])
        assert not lives(pids[name]), "two incarnations never run at once"
    now = json.loads((cluster.directory / "placement.json").read_text())
    assert set(now.values()) == {placed["env-0"]}
    (event,) = cluster.events("host.lost")
    assert away in event["text"] and all(name in event["text"] for name in moving)
    untouched = set(placed) - set(moving)
    assert {node["pid"] for node in cluster.running()["nodes"] if node["name"] in untouched} == {pids[name] for name in untouched}
    cluster.process.terminate()
    assert cluster.ended() == ExitCode.INTERRUPTED
    cluster.assert_nothing_left()


def test_a_host_whose_nodes_fit_nowhere_else_fails_the_run(start: Start) -> None:
    fixed = start(launch={"hosts": 2, "placement": {"policy": "spread", "relocate": False}})
    pinned = start(launch={"hosts": 2, "placement": {"pins": {"agent-0": "local-0", "env-0": "local-1"}}})
    for cluster, words in ((fixed, "relocate is false"), (pinned, "fit nowhere else: agent-0")):
        pids = {node["name"]: node["pid"] for node in cluster.running()["nodes"]}
        os.kill(host_of(pids["agent-0"]), signal.SIGKILL)
        assert cluster.ended() == ExitCode.CRASH
        cluster.assert_nothing_left()
        assert words in cluster.record()["reason"]


def test_nothing_outlives_a_run_server_that_was_killed(start: Start) -> None:
    orphaned, swept = start(), start()
    for cluster in (orphaned, swept):
        cluster.running()
        cluster.process.kill()
        cluster.process.wait(5)
    # Data never passes through the run server: its nodes live on until they are swept, or until the host has waited long enough.
    assert len(swept.processes()) >= 6
    killed = sweep(swept.directory)
    assert len(killed) >= 6
    swept.assert_nothing_left()
    assert sweep(swept.directory) == []
    orphaned.assert_nothing_left()


def test_a_busy_port_is_refused_before_anything_runs(start: Start, tmp_path: Path) -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        cluster = start(network={"control_port": port})
        assert cluster.ended() == ExitCode.RESOURCES
        assert not (cluster.directory / "hosts").exists() and not (cluster.directory / "control.json").exists()
        cluster.assert_nothing_left()
        reason = cluster.record()["reason"]
        assert f"network.control_port {port}" in reason and "network.control_port=0" in reason
        # The same through the way by which `up` starts it: the caller gets the reason and the code.
        with pytest.raises(MurmurationError, match=r"network\.control_port") as error:
            start_detached(cluster.directory)
        assert error.value.exit_code == ExitCode.RESOURCES
        assert cluster.record()["segment"] == 2


def test_an_address_of_another_machine_is_refused_with_its_cure(start: Start) -> None:
    cluster = start(network={"bind": "192.0.2.11"})  # an address reserved for examples
    assert cluster.ended() == ExitCode.RESOURCES
    reason = cluster.record()["reason"]
    assert (
        "no network card of this machine has this address" in reason and "network.bind=0.0.0.0" in reason and "control_port" not in reason
    )


def test_one_directory_has_one_leader(start: Start) -> None:
    cluster = start()
    cluster.running()
    with pytest.raises(ResourceError, match="another run server leads"):
        RunLock(cluster.directory, timeout=0.1)
    second = subprocess.run(
        [sys.executable, "-m", "tests.orchestrator.run_server.lead", str(cluster.directory)],
        cwd=ROOT,
        capture_output=True,
        timeout=60,
        env={**os.environ, MARK: ""},
    )
    assert second.returncode != 0 and b"another run server leads" in second.stderr
    assert cluster.snapshot()["state"] == "RUNNING", "the first one is not disturbed"
    with RunClient(cluster.directory) as client:
        client.stop(now=True, reason="enough")
    assert cluster.ended() == ExitCode.INTERRUPTED
    cluster.assert_nothing_left()
    assert (cluster.record()["state"], cluster.record()["reason"]) == ("STOPPED", "enough")
