"""A real run in which every node receives earlier messages again, as bytes and behind the guard, before and after a restart."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from orchestrator.config import loader as configuration_loader
from orchestrator.launch.process_control import MARK
from tests.runs.system import CONFIG, REPOSITORY, SMALL, events, eventually, metrics, pids, processes_of

pytestmark = [pytest.mark.runs, pytest.mark.cluster, pytest.mark.timeout(150)]

HEARD_BY = {
    "run": {"Hello", "Heartbeat", "CommandAck", "Event", "Metrics", "NodeStarted", "NodeEnded"},
    "env-0": {"Welcome", "Roster", "HeartbeatAck", "Command", "Join", "Act", "Goals"},
    "agent": {
        "Welcome",
        "Roster",
        "HeartbeatAck",
        "Joined",
        "Observation",
        "Offer",
        "Propose",
        "ProposeAck",
        "Trace",
        "TraceAck",
        "Average",
    },
}


def _up(server: subprocess.Popen[bytes]) -> bool:
    assert server.poll() is None, "the run ended too soon, see server.log"
    return True


def test_what_is_said_twice_counts_once(tmp_path: Path) -> None:
    directory = tmp_path / "runs" / "again"
    directory.mkdir(parents=True)
    changes = [*SMALL, "until={episodes: 100, time: 40s}", "evaluation={episodes: 0, final_episodes: 4}", "supervision.restart_delay=200ms"]
    loaded = configuration_loader.load(CONFIG, changes, {})
    (directory / "config.json").write_text(loaded.configuration.model_dump_json())
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), MARK: str(directory.resolve())}
    command = [sys.executable, "-m", "tests.runs.replaying", str(directory)]
    with (directory / "server.log").open("ab") as log:
        server = subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
    try:
        eventually("agents play", lambda: _up(server) and len(metrics(directory, "agent-1", "success")) >= 3, 60)
        os.kill(pids(directory)["agent-1"], signal.SIGKILL)
        eventually("agent-1 is back", lambda: len(events(directory, "node.alive", "agent-1")) == 2, 30)
        assert server.wait(90) == 0, (directory / "server.log").read_text()[-3000:]
    finally:
        if server.poll() is None:
            server.kill()
            server.wait(5)
    assert processes_of(directory) == []
    assert [event["node"] for event in events(directory, "node.restart")] == ["agent-1"]
    reports = {"run": json.loads((directory / "replay.json").read_text())}
    for name in ("env-0", *(f"agent-{i}" for i in range(4))):
        reports[name] = json.loads((directory / "nodes" / name / "replay.json").read_text())
    for name, report in reports.items():
        assert not report["changed"], (name, report["changed"][:10])
    heard = {name: set(report["bytes"]) for name, report in reports.items()}
    agents = [f"agent-{i}" for i in (0, 2, 3)]
    assert heard["run"] >= HEARD_BY["run"] and heard["env-0"] >= HEARD_BY["env-0"] - {"Join"}
    assert set.union(*(heard[name] for name in agents)) >= HEARD_BY["agent"]
    codes = Counter(
        {code: sum(kind.get(code, 0) for r in reports.values() for kind in r["bytes"].values()) for code in ("rx.dup", "rx.stale")}
    )
    assert codes["rx.dup"] > 200 and codes["rx.stale"] > 5, codes
    handled = set.union(*(set(reports[name]["handled"]) for name in agents))
    assert handled >= {"Roster", "Observation", "Offer", "Propose", "ProposeAck", "Trace", "TraceAck", "Average"}
    assert {"Act", "Goals"} <= set(reports["env-0"]["handled"])
    wire = json.loads((directory / "nodes" / "env-0" / "wire.json").read_text())
    assert wire["rx.dup"] > 0 and wire["rx.stale"] > 0
