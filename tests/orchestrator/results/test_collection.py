"""Metrics on their way into the live table and the summary."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from orchestrator.config.configuration import Configuration
from orchestrator.results.summary_file import summarize
from orchestrator.run_server.metrics.metrics_collector import HISTORY, MetricsCollector
from protocols.conversations.control.control_messages import Metrics


def metrics(step: int, **values: float) -> tuple[Metrics, dict[str, np.ndarray]]:
    message = Metrics(step=step, episode=step // 2, names=list(values), stamp=step / 100)
    message.ts = 1000.0 + step
    return message, {"values": np.array(list(values.values()))}


def test_newest_values_and_history(tmp_path: Path) -> None:
    warnings: list[str] = []
    collector = MetricsCollector(tmp_path, [], warnings.append)
    for step in range(HISTORY + 10):
        collector.receive("agent-0", *metrics(step, **{"return": step / 2, "loss.critic": 1.0}), ["agent-0"])
    assert collector.newest["agent-0"] == {"return": (HISTORY + 9) / 2, "loss.critic": 1.0}
    assert list(collector.history["agent-0"]["return"]) == [step / 2 for step in range(10, HISTORY + 10)]
    collector.close()
    collector.close()
    assert warnings == []


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


def write_rows(directory: Path, node: str, rows: list[tuple[float, str, float]], torn: str = "") -> None:
    folder = directory / "nodes" / node
    folder.mkdir(parents=True)
    lines = [json.dumps({"t": t, "step": 10, "episode": 2, "name": name, "value": value}) for t, name, value in rows]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n" + torn)


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
