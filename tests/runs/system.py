"""The real system from the outside: `orchestrate` as a process, its run directory, its processes."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import psutil

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIG = REPOSITORY / "configs" / "4agents_ring.yaml"
SMALL = [
    "until={episodes: 160, time: 90s}",
    "environment.copies=8",
    "environment.options.horizon=20",
    "agents.learner.learning_starts=300",
    "agents.learner.replay_ratio=0.125",
    "agents.learner.batch_size=32",
    "agents.learner.hidden=[16]",
    "agents.world_model.hidden=[16]",
    "agents.world_model.held_out=0.2",
    "exchange.consensus.every={updates: 5}",
    "evaluation={every: 1000, episodes: 8, final_episodes: 8}",
    "metrics.every=200ms",
    "metrics.sinks=[csv]",
    "supervision.checkpoint_interval=300ms",
]
"""overrides that make the main configuration last seconds"""


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "orchestrator", *arguments]


def environment(runs: Path) -> dict[str, str]:
    names = ("PATH", "HOME", "TMPDIR", "LANG", "SLURM_CONF")
    kept = {name: value for name, value in os.environ.items() if name in names or name.startswith("RAY_")}
    return {**kept, "ORCHESTRATE_RUNS": str(runs), "COLUMNS": "160", "PYTHONPATH": str(REPOSITORY)}


def orchestrate(runs: Path, *arguments: str, timeout: float = 140.0) -> subprocess.CompletedProcess[str]:
    """`orchestrate ARGUMENTS` to its end."""
    runs.parent.mkdir(parents=True, exist_ok=True)
    return subprocess.run(
        command(*arguments), cwd=runs.parent, env=environment(runs), capture_output=True, text=True, timeout=timeout, check=False
    )


def eventually(what: str, holds: Callable[[], Any], seconds: float) -> Any:
    """Ask until it holds; fail loudly when it does not in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = holds()
        if value:
            return value
        time.sleep(0.02)  # a poll of another process, bounded by the deadline
    raise AssertionError(f"not within {seconds:g} s: {what}")


def pids(directory: Path) -> dict[str, int]:
    """The newest pid of each node."""
    try:
        records = json.loads((directory / "processes.json").read_text())
    except (OSError, ValueError):
        return {}
    return {record["name"]: record["pid"] for record in records}


def events(directory: Path, code: str, node: str | None = None) -> list[dict[str, Any]]:
    """Events of a code so far."""
    try:
        lines = (directory / "events.jsonl").read_text().splitlines()
    except OSError:
        return []
    return [event for line in lines if (event := json.loads(line))["code"] == code and node in (None, event["node"])]


def metrics(directory: Path, node: str, name: str) -> list[float]:
    """All values of a figure, in order."""
    path = directory / "nodes" / node / "metrics.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [row["value"] for row in rows if row["name"] == name]


def results(directory: Path) -> dict[str, str]:
    """Digest of every file of the nodes that depends on the run rather than on the machine: parameters, metrics, traces of faults."""
    kept = {}
    for home in sorted(path.parent for path in directory.glob("nodes/*/checkpoints")):
        for path in sorted([*(home / "checkpoints").iterdir(), home / "metrics.jsonl", *home.glob("faults.jsonl")]):
            kept[f"{home.name}/{path.name}"] = sha256(path.read_bytes()).hexdigest()
    return kept


def table(directory: Path) -> list[dict[str, str]]:
    with (directory / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def processes_of(directory: Path) -> list[str]:
    """Living processes that have this run in their command line, their working files or their environment."""
    found = []
    for process in psutil.process_iter(["pid", "cmdline", "status"]):
        words = " ".join(process.info["cmdline"] or [])
        if str(directory) in words and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(f"{process.info['pid']}: {words[:120]}")
    living = [f"{name} {pid}" for name, pid in pids(directory).items() if psutil.pid_exists(pid) and _is_ours(pid)]
    return found + living


def _is_ours(pid: int) -> bool:
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and "python" in process.name()
    except psutil.Error:
        return False
