"""The run server is killed: agents and environment server go on, and a new run server takes over their processes."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import psutil
import pytest

from orchestrator.results.run_files import read_json, read_lines
from tests.runs.system import CONFIG, SMALL, events, eventually, metrics, orchestrate, pids

pytestmark = [pytest.mark.runs, pytest.mark.cluster, pytest.mark.timeout(240)]
CRASH = "{id: crash, at: {time: 6s}, process: {target: agent-1, action: kill, restart_after: 1s}}"


def test_a_run_server_that_was_killed_is_replaced_and_no_process_is_started_again(tmp_path: Path) -> None:
    runs, directory = tmp_path / "runs", tmp_path / "runs" / "led"
    settings = [*SMALL, "until={time: 300s}", f"faults={{seed: 1, events: [{CRASH}]}}", "supervision.orphan=120s"]
    up = orchestrate(runs, "up", str(CONFIG), "--name", "led", *settings, "-d", "--timeout", "90s", timeout=120)
    assert up.returncode == 0, up.stdout + up.stderr
    server, before = int(read_json(directory / "run.json")["pid"]), pids(directory)
    host = psutil.Process(before["local"])
    os.kill(server, signal.SIGKILL)
    steps = len(metrics(directory, "env-0", "steps"))
    eventually("the environment goes on without a run server", lambda: len(metrics(directory, "env-0", "steps")) > steps + 5, 60)
    again = orchestrate(runs, "up", "--resume", "led", "-d", "--timeout", "90s", timeout=120)
    assert again.returncode == 0, again.stdout + again.stderr
    eventually(
        "the fault, and the node's return", lambda: events(directory, "node.restart") and len(events(directory, "node.alive")) == 11, 90
    )
    down = orchestrate(runs, "down", "led", timeout=90)
    assert down.returncode == 0, down.stdout + down.stderr

    record, summary = read_json(directory / "run.json"), json.loads((directory / "summary.json").read_text())
    assert (record["state"], record["segment"]) == ("STOPPED", 2) and summary["training_seconds"] >= 6.0
    assert len(events(directory, "run.adopted")) == 1 and not events(directory, "run.resumed")
    after = pids(directory)
    assert {name for name in before if before[name] != after[name]} == {"agent-1"} and not host.is_running()
    incarnations = {name: len(list(read_lines(directory / "nodes" / name / "incarnations.jsonl"))) for name in before if name != "local"}
    assert incarnations == dict.fromkeys((f"agent-{i}" for i in range(4)), 1) | {"env-0": 1, "agent-1": 2}, "the fault happened once"
    assert len(events(directory, "fault.begin")) == 1
    numbers = [line["id"] for line in read_lines(directory / "events.jsonl")]
    assert numbers == list(range(1, len(numbers) + 1))
    counts = metrics(directory, "env-0", "steps")
    assert counts == sorted(counts)
    for node in incarnations:
        lost = {
            name for wire in (directory / "nodes" / node).glob("wire*.json") for name in read_json(wire) if name.startswith("tx.dropped_")
        }
        assert not lost, node
