"""A fault schedule that damages messages of nodes to the run server: its own doing, for which it must not shut them out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.runs.system import CONFIG, events, metrics, orchestrate, processes_of
from tests.runs.test_isolation import LIGHT

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(150)]


def test_the_run_server_bears_the_damage_of_its_own_schedule(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    faults = {"links": [{"id": "noise", "from": "agent-*", "to": "run", "channels": ["ctl"], "corrupt": {"p": 0.6, "what": "truncate"}}]}
    changes = [
        *LIGHT,
        "until={time: 4s}",
        "exchange.consensus=null",
        "supervision={heartbeat: 50ms, suspect: 3s, dead: 6s}",
        f"faults={json.dumps(faults)}",
    ]
    done = orchestrate(runs, "up", str(CONFIG), "--name", "noisy", *changes, "--plain")
    assert done.returncode == 0, done.stdout + done.stderr
    directory = runs / "noisy"
    wire = json.loads((directory / "nodes" / "run" / "wire.json").read_text())
    refused = sum(count for name, count in wire.items() if name.startswith("rx.bad."))
    assert refused > 40, wire
    assert not wire.get("rx.quarantines") and not wire.get("rx.quarantined"), wire
    for code in ("node.dead", "node.restart", "node.lost"):
        assert not events(directory, code)
    assert metrics(directory, "env-0", "episodes") and processes_of(directory) == []
