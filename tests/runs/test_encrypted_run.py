"""A whole run whose connections are encrypted ends with the same bytes as one in the open: parameters, metrics, faults.

An agent is killed by the schedule and comes back, with a new key; links lose, delay and repeat messages.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.runs.system import command, environment, events
from tests.runs.test_logical_clock import CONFIG, FAULTS, RUN, finish, results

pytestmark = [pytest.mark.runs, pytest.mark.cluster, pytest.mark.timeout(300)]
SHORT: list[str] = [
    *(change for change in RUN if not change.startswith(("until", "faults"))),
    "until={steps: 700}",
    f"faults={json.dumps({**FAULTS, 'events': FAULTS['events'][:1]})}",  # type: ignore[index]
]


def _finished(runs: Path, mode: str, carrier: str) -> Path:
    runs.mkdir(parents=True, exist_ok=True)
    words = command("up", str(CONFIG), "--name", mode, *SHORT, f"security.mode={mode}", f"network.transport={carrier}", "--plain")
    options: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "start_new_session": True}
    finish(subprocess.Popen(words, cwd=runs.parent, env=environment(runs), text=True, **options))
    return runs / mode


def test_encryption_changes_nothing_but_who_can_read_it(tmp_path: Path) -> None:
    plain, encrypted = _finished(tmp_path / "runs", "none", "ipc"), _finished(tmp_path / "runs", "curve", "tcp")
    for directory in (plain, encrypted):
        assert [event["node"] for event in events(directory, "node.restart")] == ["agent-2"]
        assert len(results(directory)) > 15
    assert results(encrypted) == results(plain)
    # By keys or by the run's token. The environment server: four agents and the one that came back. Each agent: its two neighbours, and
    # agent-2 twice where it is one.
    for directory in (plain, encrypted):
        counters = {path.parent.name: json.loads(path.read_text()) for path in directory.glob("nodes/*/wire.json")}
        assert counters["env-0"]["rx.admitted"] >= 5
        assert counters["agent-1"]["rx.admitted"] >= 3
        assert not any(counted.get("tx.given_up") for counted in counters.values())
