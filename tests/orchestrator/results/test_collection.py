"""Metrics on their way into the live table, the event files, the CSV and the summary."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from orchestrator.config.configuration import Configuration
from orchestrator.results.summary_file import summarize
from orchestrator.run_server.metrics.metrics_collector import HISTORY, MetricsCollector
from orchestrator.run_server.metrics.metrics_sinks import MetricRow, TensorBoardSink, write_metrics_csv
from protocols.conversations.control.control_messages import Metrics


def metrics(step: int, **values: float) -> tuple[Metrics, dict[str, np.ndarray]]:
    message = Metrics(step=step, episode=step // 2, names=list(values), stamp=step / 100)
    message.ts = 1000.0 + step
    return message, {"values": np.array(list(values.values()))}


def test_newest_history_and_event_files(tmp_path: Path) -> None:
    warnings: list[str] = []
    collector = MetricsCollector(tmp_path, ["tensorboard"], warnings.append)
    for step in range(HISTORY + 10):
        collector.receive("agent-0", *metrics(step, **{"return": step / 2, "loss.critic": 1.0}), ["agent-0"])
    assert collector.newest["agent-0"] == {"return": (HISTORY + 9) / 2, "loss.critic": 1.0}
    assert list(collector.history["agent-0"]["return"]) == [step / 2 for step in range(10, HISTORY + 10)]
    assert collector.steps["agent-0"] == HISTORY + 9
    collector.close()
    collector.close()
    assert warnings == []
    # An independent reader finds every value under its name, step and time.
    reader = EventAccumulator(str(tmp_path / "tensorboard" / "agent-0"))
    reader.Reload()
    scalars = reader.Scalars("return")
    assert [(s.step, s.value, s.wall_time) for s in scalars] == [(k, k / 2, 1000.0 + k) for k in range(HISTORY + 10)]


def test_broken_metrics_are_dropped_and_said_once(tmp_path: Path) -> None:
    warnings: list[str] = []
    collector = MetricsCollector(tmp_path, [], warnings.append)
    good, arrays = metrics(1, a=1.0, b=2.0)
    for bad in ({}, {"values": np.zeros(3)}, {"values": np.zeros(2, np.float32)}, {"values": np.zeros((2, 1))}):
        collector.receive("agent-0", good, bad, [])
    assert "agent-0" not in collector.newest and len(warnings) == 1
    collector.receive("agent-0", *metrics(1, **{"consensus.round": 4.0}), [])
    collector.receive("agent-0", good, arrays, [])
    message, arrays = metrics(1, **{"consensus.round": 4.0})
    collector.receive("agent-0", message, {**arrays, "sketch": np.zeros(3)}, [])
    assert len(warnings) == 2 and "sketch" in warnings[1]
    collector.close()


def test_disagreement_is_a_figure_of_the_run(tmp_path: Path) -> None:
    collector = MetricsCollector(tmp_path, [], lambda _: None)
    for agent, value in (("agent-0", 1.0), ("agent-1", 3.0)):
        message, arrays = metrics(50, **{"consensus.round": 7.0, "loss": 1.0})
        collector.receive(agent, message, {**arrays, "sketch": np.array([[value], [2.0]])}, ["agent-0", "agent-1"])
    collector.close()
    lines = [json.loads(line) for line in (tmp_path / "nodes" / "run" / "metrics.jsonl").read_text().splitlines()]
    assert {line["name"]: (line["step"], line["value"]) for line in lines} == {
        "consensus.disagreement_before": (7, 1.0),
        "consensus.disagreement": (7, 0.0),
        "consensus.contraction": (7, 0.0),
    }
    assert {line["t"] for line in lines} == {0.5}, "by the clock of the agents"
    assert collector.newest["run"]["consensus.disagreement_before"] == 1.0


def test_disagreement_of_sums_is_a_share_of_their_length(tmp_path: Path) -> None:
    collector, living = MetricsCollector(tmp_path, [], lambda _: None), ["agent-0", "agent-1", "agent-2"]

    def report(kind: str, round_: int, before: list[float], after: list[float]) -> None:
        for agent, was, became in zip(living, before, after, strict=True):
            message, arrays = metrics(50, **{f"{kind}.round": float(round_)})
            collector.receive(agent, message, {**arrays, "sketch": np.array([[was, 0.0], [became, 0.0]])}, living)

    report("statistics", 1, [8.0, 8.0, 14.0], [10.0, 9.0, 11.0])
    report("consensus", 1, [1.0, 1.0, 1.0], [1.0, 1.0, 1.0])
    report("statistics", 2, [10.0, 9.0, 11.0], [10.0, 10.0, 10.0 + 2e-12])
    report("statistics", 3, [0.0, 0.0, 0.0], [0.0, 0.0, 0.0])
    collector.close()
    lines = [json.loads(line) for line in (tmp_path / "nodes" / "run" / "metrics.jsonl").read_text().splitlines()]
    found = {(line["name"], line["step"]): line["value"] for line in lines if line["name"].startswith("statistics.")}
    root = 2 / 3
    assert found == {
        ("statistics.disagreement_before", 1): pytest.approx(8**0.5 / 10),
        ("statistics.disagreement", 1): pytest.approx(root**0.5 / 10),
        ("statistics.disagreement_min", 1): 0.0,
        ("statistics.contraction", 1): pytest.approx((root / 8) ** 0.5),
        ("statistics.disagreement_before", 2): pytest.approx(root**0.5 / 10),
        ("statistics.disagreement", 2): pytest.approx(0.0, abs=2e-13),
        ("statistics.disagreement_min", 2): pytest.approx(0.0, abs=1e-13),
    }, "no contraction of what is rounding, and nothing of sums that are zero"
    assert ("consensus.disagreement", 1) in {(line["name"], line["step"]) for line in lines}


def test_a_sink_that_fails_is_switched_off_with_one_warning(tmp_path: Path) -> None:
    (tmp_path / "tensorboard").write_text("a file where a folder should be")
    warnings: list[str] = []
    collector = MetricsCollector(tmp_path, ["tensorboard"], warnings.append)
    for step in range(100):
        collector.receive("agent-0", *metrics(step, loss=1.0), [])
    collector.close()
    collector.check()
    assert len(warnings) == 1 and "tensorboard is switched off" in warnings[0]
    assert collector.newest["agent-0"]["loss"] == 1.0, "the rest goes on"


def test_a_slow_sink_never_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.run_server.metrics.metrics_sinks._QUEUE", 8)
    monkeypatch.setattr(TensorBoardSink, "_run", lambda self: None)  # a thread that takes nothing
    sink = TensorBoardSink(tmp_path)
    for step in range(20):
        sink.write(MetricRow("a", 0.0, step, {"x": 1.0}))
    assert sink.dropped == 12


def test_the_sink_does_not_load_torch(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from orchestrator.run_server.metrics.metrics_sinks import Row, TensorBoardSink\n"
        "sink = TensorBoardSink(Path(sys.argv[1])); sink.write(Row('a', 1.0, 1, {'x': 1.0})); sink.close()\n"
        "assert sink.failure is None, sink.failure\nassert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, timeout=60)
    assert list((tmp_path / "a").iterdir())


def write_rows(directory: Path, node: str, rows: list[tuple[float, str, float]], torn: str = "") -> None:
    folder = directory / "nodes" / node
    folder.mkdir(parents=True)
    lines = [json.dumps({"t": t, "step": 10, "episode": 2, "name": name, "value": value}) for t, name, value in rows]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n" + torn)


def test_csv_is_in_order_of_time_and_cuts_torn_lines(tmp_path: Path) -> None:
    write_rows(tmp_path, "agent-0", [(100.5, "return", 0.1), (102.0, "return", 0.3)], torn='{"t": 103.0, "step": 1')
    write_rows(tmp_path, "env-0", [(101.0, "steps", 5.0)])
    (tmp_path / "nodes" / "env-0" / "metrics.jsonl").open("a").write("not json\n[1]\n")
    assert write_metrics_csv(tmp_path, 100.0) == 3
    with (tmp_path / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(r["t"], r["node"], r["name"], float(r["value"])) for r in rows] == [
        ("0.500", "agent-0", "return", 0.1),
        ("1.000", "env-0", "steps", 5.0),
        ("2.000", "agent-0", "return", 0.3),
    ]
    assert rows[0]["wall_time"] == "1970-01-01T00:01:40.500Z" and rows[0]["episode"] == "2"


def test_a_csv_of_the_logical_clock_has_virtual_times(tmp_path: Path) -> None:
    write_rows(tmp_path, "agent-0", [(0.01, "return", 0.1), (0.03, "return", 0.3)])
    write_rows(tmp_path, "run", [(0.02, "consensus.disagreement", 5.0)])
    (tmp_path / "nodes" / "agent-0" / "usage.jsonl").write_text(
        json.dumps({"t": 1.7e9 + 5, "step": 10, "episode": 2, "name": "steps_per_second", "value": 9.0}) + "\n"
    )
    assert write_metrics_csv(tmp_path, 1.7e9, virtual=True) == 4
    with (tmp_path / "metrics.csv").open() as file:
        rows = [(row["t"], row["wall_time"], row["node"]) for row in csv.DictReader(file)]
    assert rows == [
        ("0.010", "", "agent-0"),
        ("0.020", "", "run"),
        ("0.030", "", "agent-0"),
        ("5.000", "2023-11-14T22:13:25.000Z", "agent-0"),
    ]


def test_a_csv_of_a_run_that_an_earlier_version_began(tmp_path: Path) -> None:
    """It stamped the figures of node `run` with the time of day."""
    write_rows(tmp_path, "agent-0", [(0.01, "return", 0.1)])
    write_rows(tmp_path, "run", [(1.7e9 + 3, "consensus.disagreement", 5.0), (0.02, "consensus.disagreement", 4.0)])
    assert write_metrics_csv(tmp_path, 1.7e9, virtual=True) == 3
    with (tmp_path / "metrics.csv").open() as file:
        rows = [(row["t"], row["node"], float(row["value"])) for row in csv.DictReader(file)]
    assert rows == [("0.010", "agent-0", 0.1), ("0.020", "run", 4.0), ("3.000", "run", 5.0)]


def test_summary(tmp_path: Path) -> None:
    configuration = Configuration.model_validate(
        {"version": 2, "until": {"time": "1s"}, "environment": {"id": "landmarks"}, "exchange": {"consensus": {}}}
    )
    agent = [(float(t), "return", t / 100) for t in range(100)]
    agent += [(t, f"time.{part}", share) for t in (1.0, 2.0) for part, share in (("act", 0.1), ("learn", 0.3), ("wait", 0.4))]
    write_rows(tmp_path, "agent-0", agent)
    write_rows(tmp_path, "env-0", [(1.0, "eval.own.return", 0.2), (2.0, "eval.own.return", 0.5), (3.0, "eval.own.return", 0.9)])
    write_rows(tmp_path, "run", [(1.0, "consensus.contraction", c) for c in (0.3, 0.3, 0.9)] + [(1.0, "consensus.disagreement", 0.5)])
    (tmp_path / "hosts").mkdir()
    usage = {"cpu_seconds": 2.0, "peak_resident": 100, "proportional": 30}
    (tmp_path / "hosts" / "a.usage.json").write_text(json.dumps({"agent-0": usage}))
    (tmp_path / "hosts" / "b.usage.json").write_text(json.dumps({"agent-0": {**usage, "peak_resident": 200}}))
    link = {"channel": "peer", "peer": "agent-1", "sent_messages": 3, "sent_bytes": 99, "received_messages": 1, "received_bytes": 7}
    (tmp_path / "nodes" / "agent-0" / "links.json").write_text(json.dumps([link]))
    summary = summarize(tmp_path, configuration, {"exit_code": 0}, {"agent-0": {"restarts": 1}, "agent-1": {"restarts": 0}})
    node = summary["nodes"]["agent-0"]
    assert node["metrics"]["return"] == {
        "last": 0.99,
        "mean_of_last_tenth": pytest.approx(np.mean(np.arange(90, 100)) / 100),
        "samples": 100,
    }
    assert node["time"] == pytest.approx({"act": 0.125, "learn": 0.375, "wait": 0.5})
    assert summary["slowest"] == {"node": "agent-0", "part": "learn", "share": pytest.approx(0.375)}
    assert node["usage"] == {"cpu_seconds": 4.0, "peak_resident": 200, "proportional": 30} and node["restarts"] == 1
    assert summary["nodes"]["agent-1"] == {"restarts": 0, "metrics": {}, "usage": None, "time": None}
    assert summary["evaluation"] == {"eval.own.return": {"first": 0.2, "last": 0.9}}
    assert summary["links"] == [{"node": "agent-0", **link}]
    # Four agents in a ring, weights 1/3: eigenvalues 1, 1/3, 1/3, -1/3.
    assert summary["disagreement"]["contraction_predicted"] == pytest.approx(1 / 3)
    assert summary["disagreement"]["contraction_median"] == 0.3 and summary["disagreement"]["ratio"] == pytest.approx(0.9)
    assert summary["disagreement"]["of"] == "consensus"


def test_the_summary_tells_of_sums_where_no_parameters_are_averaged(tmp_path: Path) -> None:
    given = {"version": 2, "until": {"time": "1s"}, "environment": {"id": "landmarks"}, "exchange": {"consensus": None}}
    write_rows(tmp_path, "run", [(1.0, "statistics.contraction", c) for c in (0.3, 0.1, 0.3)] + [(1.0, "statistics.disagreement", 0.5)])
    found = summarize(tmp_path, Configuration.model_validate(given), {"exit_code": 0}, {})["disagreement"]
    assert (found["of"], found["contraction_median"], found["last"]) == ("statistics", 0.3, 0.5)
