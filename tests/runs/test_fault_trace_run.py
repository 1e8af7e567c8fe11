"""A run of real processes under fault traces: what it records equals the files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.runs.system import CONFIG, SMALL, events, orchestrate

pytestmark = [pytest.mark.runs, pytest.mark.cluster, pytest.mark.timeout(150)]
NODES = "time,node,state\n2,agent-2,down\n2.5,agent-2,up\n"
LINKS = "time,from,to,delay,loss,rate\n1,agent-0,agent-1,20ms,,\n2s,agent-0,agent-1,,0.5,\n3,agent-0,agent-1,,,\n"


def recorded(directory: Path, node: str, *what: str) -> list[tuple[Any, ...]]:
    lines = [json.loads(line) for line in (directory / "nodes" / node / "faults.jsonl").read_text().splitlines()]
    found = [(line["what"], line["id"], line.get("time", line.get("t"))) for line in lines if line.get("what") in what]
    # What is active when a restarted agent makes all begin anew at a checkpoint is recorded once more.
    return list({line[:2]: line for line in reversed(found)}.values())[::-1]


def test_recorded_faults_equal_the_trace(tmp_path: Path) -> None:
    (tmp_path / "nodes.csv").write_text(NODES)
    (tmp_path / "links.csv").write_text(LINKS)
    small = [change for change in SMALL if not change.startswith(("until", "supervision"))]
    done = orchestrate(
        tmp_path / "runs", "up", str(CONFIG), "--name", "traced", *small, "clock=logical", "until={time: 4s}",
        "faults.traces=[nodes.csv, links.csv]", "--plain", timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    directory = tmp_path / "runs" / "traced"
    assert recorded(directory, "agent-0", "on", "off") == [
        ("on", "trace2-line2", 1.0), ("off", "trace2-line2", 2.0), ("on", "trace2-line3", 2.0), ("off", "trace2-line3", 3.0),
    ]  # fmt: skip
    assert recorded(directory, "agent-2", "begin") == [("begin", "trace1-line2", 2.0)]
    assert [event["node"] for event in events(directory, "node.restart")] == ["agent-2"]
