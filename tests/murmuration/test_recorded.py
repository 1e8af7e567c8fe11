"""Recorded runs as tables: times, wide forms, faults, and names that do not exist."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

import murmuration


def write(path: Path, *lines: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def point(t: float, name: str, value: float, step: int = 10) -> dict[str, Any]:
    return {"t": t, "step": step, "episode": step // 5, "name": name, "value": value}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A run whose nodes were up at 1000 s, with two agents and a fault."""
    run = tmp_path / "night"
    write(
        run / "nodes/agent-0/metrics.jsonl", point(1001.0, "return", 0.5), point(1003.0, "return", 0.75, 20), point(1003.0, "loss", 2.0, 20)
    )
    write(run / "nodes/agent-1/metrics.jsonl", point(1002.0, "return", 0.25))
    running = {
        "id": 1,
        "t": "1970-01-01T00:16:40.000Z",
        "severity": "info",
        "code": "run.running",
        "node": "run",
        "text": "all nodes are up",
    }
    write(run / "events.jsonl", running)
    fault = {"id": "cut", "kind": "partition", "node": "agent-1", "begin": 1001.5, "end": 1002.5, "detection": 0.25, "recovery": None}
    (run / "summary.json").write_text(json.dumps({"faults": {"faults": [fault]}}))
    (run / "config.json").write_text(json.dumps({"seed": 3, "clock": "wall", "agents": {"count": 2}}))
    (run / "run.json").write_text(json.dumps({"state": "DONE", "exit_code": 0, "reason": "3 s of training"}))
    return run


def test_metrics_are_tidy_and_in_order_of_training_time(directory: Path) -> None:
    run = murmuration.load(directory)
    assert (run.name, run.state, run.exit_code, run.reason, run.agents) == ("night", "DONE", 0, "3 s of training", ["agent-0", "agent-1"])
    assert repr(run) == f"<Run night: done, {directory}>"
    rows = [tuple(row) for row in run.metrics.itertuples(index=False)]
    assert rows == [
        ("agent-0", "return", 1.0, 10, 2, 0.5),
        ("agent-1", "return", 2.0, 10, 2, 0.25),
        ("agent-0", "return", 3.0, 20, 4, 0.75),
        ("agent-0", "loss", 3.0, 20, 4, 2.0),
    ]
    assert run.metrics["step"].dtype == "int64" and run.metrics["value"].dtype == "float64"


def test_wide_metrics_have_one_column_per_name(directory: Path) -> None:
    run = murmuration.load("night", runs_dir=directory.parent)
    wide = run.metrics_wide("return", "loss")
    assert list(wide.columns) == ["return", "loss"]
    assert wide.loc[("agent-0", 20)].tolist() == [0.75, 2.0] and math.isnan(wide.loc[("agent-1", 10), "loss"])
    assert run.metrics_wide(by="time").loc["agent-0"].index.tolist() == [1.0, 3.0]
    with pytest.raises(KeyError, match=r"no metric 'retrun'; similar: return"):
        run.metrics_wide("retrun")


def test_faults_are_a_table_in_training_time(directory: Path) -> None:
    (fault,) = murmuration.load(directory).faults.to_dict("records")
    assert math.isnan(fault.pop("recovery"))
    assert fault == {"name": "cut", "kind": "partition", "node": "agent-1", "begin": 1.5, "end": 2.5, "detection": 0.25}


def test_times_of_the_logical_clock_are_virtual(directory: Path) -> None:
    (directory / "config.json").write_text(json.dumps({"clock": "logical", "agents": {"count": 1}}))
    write(directory / "nodes/agent-0/metrics.jsonl", point(0.25, "return", 0.5))
    write(directory / "nodes/agent-0/usage.jsonl", point(1.7e9, "steps_per_second", 9.0))
    table = murmuration.load(directory).metrics.set_index("name")["time"]
    assert table["return"].min() == 0.25 and math.isnan(table["steps_per_second"])


def test_an_empty_run_has_empty_tables(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "config.json").write_text("{}")
    run = murmuration.load(tmp_path / "new")
    assert len(run.metrics) == len(run.faults) == 0 and list(run.metrics.columns) == ["node", "name", "time", "step", "episode", "value"]
    assert run.summary == run.verdict == {} and run.events == [] and run.checkpoints("agent-0") == []


def test_the_folder_of_runs_is_that_of_the_command_line(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRATE_RUNS", str(directory.parent))
    assert murmuration.load().directory == directory
    with pytest.raises(murmuration.UsageError, match='did you mean "night"'):
        murmuration.load("nigth")
