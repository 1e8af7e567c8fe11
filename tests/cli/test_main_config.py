"""The main configuration, made small, with its real agents, from the command line to the last table (O4)."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from orchestrator.runs import lock_held, read_json
from orchestrator.sweep import remains, sweep

from .conftest import CONFIG, Orchestrate, command, environment

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

SMALL = (
    "until.episodes=60",
    "until.time=60s",
    "environment.copies=8",
    "evaluation.episodes=8",
    "evaluation.final=8",
    "supervision.checkpoint=2s",
)


def test_a_small_run_of_the_main_configuration(orchestrate: Orchestrate, runs: Path, tmp_path: Path) -> None:
    words = command(["up", str(CONFIG), *SMALL, "--name", "small", "--timeout", "100s", "--json"])
    try:
        done = subprocess.run(words, cwd=tmp_path, env=environment(runs), capture_output=True, text=True, timeout=170, check=False)
        directory = runs / "small"
        assert done.returncode == 0, done.stderr + done.stdout[-2000:]
        assert remains(directory) == []
    finally:
        sweep(runs / "small")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines[-1]["kind"] == "end" and lines[-1]["state"] == "DONE"
    progress = [line for line in lines if line["kind"] == "progress"]
    pids = {node["pid"] for line in progress for node in line["nodes"] if node["pid"]}
    assert len(pids) == 5, "five nodes, each a process of its own, never restarted"
    assert not lock_held(directory)
    assert read_json(directory / "run.json")["exit_code"] == 0
    for file in ("config.yaml", "config.json", "config.origin.yaml", "command.txt", "versions.json", "hosts.json", "placement.json"):
        assert (directory / file).stat().st_size > 0, file
    for file in ("events.jsonl", "server.log", "metrics.csv", "summary.json", "nodes/agent-0/log.txt", "nodes/agent-3/metrics.jsonl"):
        assert (directory / file).stat().st_size > 0, file
    assert {path.name for path in (directory / "tensorboard").iterdir()} >= {"agent-0", "agent-1", "agent-2", "agent-3", "env-0"}
    assert not (directory / "control.json").exists()
    assert list((directory / "nodes" / "agent-0" / "checkpoints").glob("*.safetensors"))
    summary = json.loads(orchestrate("show", "small", "--json").stdout)
    names = {curve["name"] for curve in summary["evaluation"]}
    assert {"eval.own.success.individual", "eval.own.return", "eval.aligned.return"} <= names
    assert set(summary["time"]) == {"agent-0", "agent-1", "agent-2", "agent-3", "env-0"}
    assert summary["links"] and summary["restarts"] == {}
    records = [json.loads(line) for line in orchestrate("logs", "small", "--json").stdout.splitlines()]
    assert {"server", "agent-0", "env-0"} <= {record["node"] for record in records}
    assert [record["t"] for record in records] == sorted(record["t"] for record in records)
    assert not [record for record in records if record["level"] in ("ERROR", "CRITICAL")]
