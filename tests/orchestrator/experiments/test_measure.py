"""From the files of a finished run to metrics: values by hand, and every reason for a missing one."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import Any

import pytest

from orchestrator.experiments.design.experiment_design import Measure
from orchestrator.experiments.results.run_measures import NotMeasured, number_at, rows, simulated_value
from orchestrator.results.statistics.runs_table import RunRow


@pytest.fixture
def run(tmp_path: Path) -> Path:
    def write(node: str, lines: list[tuple[int, str, float]], name: str = "metrics.jsonl") -> None:
        home = tmp_path / "nodes" / node
        home.mkdir(parents=True, exist_ok=True)
        text = "".join(json.dumps({"t": 0.0, "step": step, "episode": 0, "name": key, "value": value}) + "\n" for step, key, value in lines)
        (home / name).write_text(text + '{"torn')

    write("env-0", [(step, "return", float(step)) for step in range(10, 101, 10)])
    write("agent-0", [(10, "loss", 4.0), (20, "loss", 2.0), (30, "loss", 0.0), (20, "return", 99.0)])
    # Interrupted after 40 and resumed from 10: rows of later steps are of an incarnation that was lost.
    write("agent-1", [(10, "loss", 8.0), (30, "loss", 77.0), (40, "loss", 99.0), (20, "loss", 6.0), (30, "loss", 4.0)])
    write("agent-0", [(10, "steps_per_second", 50.0)], "usage.jsonl")
    nodes = {"agent-0": {"restarts": 0, "metrics": {"loss.policy": {"last": 1.5}}}, "agent-1": {"restarts": 3}, "env-0": {"restarts": 9}}
    summary = {"nodes": nodes, "links": [{"sent": 3}], "agreed": True, "reason": "x"}
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    (tmp_path / "verdict.json").write_text(json.dumps({"figures": {"recovery_time.max": "never", "faults.count": 2}}))
    return tmp_path


def row(run: Path, **measure: Any) -> RunRow:
    chosen = Measure.model_validate(measure)
    (found,) = rows(run, [chosen], {"a": "1"}, 7, False)
    assert (found.factors, found.seed, found.metric) == ({"a": "1"}, 7, chosen.title)
    return found


@pytest.mark.parametrize(
    ("measure", "value"),
    [
        ({"metric": "return", "over": "final 10%"}, 100.0),  # steps > 90
        ({"metric": "return", "over": "final 50%"}, 80.0),  # of 60, 70, 80, 90, 100
        ({"metric": "return", "over": "final 50%", "of": "min"}, 60.0),
        ({"metric": "return", "over": "all"}, 55.0),
        ({"metric": "return", "over": "all", "of": "max"}, 100.0),
        ({"metric": "return", "over": "last"}, 100.0),
        ({"metric": "return", "over": "all", "of": "last"}, 100.0),
        ({"metric": "return", "node": "agent-0", "over": "all"}, 99.0),
        ({"metric": "loss", "over": "all"}, 4.0),  # (2 + 6) / 2
        ({"metric": "loss", "node": "agent-*", "over": "last"}, 2.0),
        ({"metric": "steps_per_second", "over": "all"}, 50.0),
        ({"metric": "nodes.agent-0.metrics.loss.policy.last", "node": "summary"}, 1.5),
        ({"metric": "links.0.sent", "node": "summary"}, 3.0),
        ({"metric": "nodes.agent-*.restarts", "node": "summary"}, 1.5),
        ({"metric": "nodes.agent-*.restarts", "node": "summary", "of": "max"}, 3.0),
        ({"metric": "links.*.sent", "node": "summary", "of": "min"}, 3.0),
        ({"metric": "agreed", "node": "summary"}, 1.0),
        ({"metric": "faults.count", "node": "faults"}, 2.0),
        ({"metric": "recovery_time.max", "node": "faults"}, inf),
    ],
)
def test_values(run: Path, measure: dict[str, Any], value: float) -> None:
    found = row(run, **measure)
    assert found.value == value and not found.failure


@pytest.mark.parametrize("over", [None, 2.75, 60.0])
@pytest.mark.parametrize("clock", ["logical", "wall"])
def test_curves_over_time_have_the_same_values(run: Path, clock: str, over: float | None) -> None:
    """`over`: seconds after which training ends; what is measured later is of that moment."""
    zero = 0.0 if clock == "logical" else 1_700_000_000.0
    (run / "config.json").write_text(json.dumps({"clock": clock, "until": {"steps": 9000, "time": None if over is None else f"{over}s"}}))
    events = [{"t": "2023-11-14T22:13:20+00:00", "code": "run.running"}]
    if over is not None and clock == "wall":
        events.append({"t": datetime.fromtimestamp(zero + over, UTC).isoformat(), "code": "run.evaluation"})
    (run / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    lines = [(4000, 1.5, 1.0), (9000, 3.0, 2.0), (8000, 2.5, 9.0), (9000, 3.0, 5.0)]  # went on from 4000
    for node, more in (("agent-2", 0.0), ("agent-3", 2.0)):
        home = run / "nodes" / node
        home.mkdir()
        rows_ = [{"t": zero - 5 if clock == "wall" else 1.8e9, "step": 1, "name": "learnt", "value": 0.0}]  # at no time of training
        rows_ += [{"t": zero + t, "step": step, "name": "learnt", "value": value + more} for step, t, value in lines]
        (home / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in rows_))
    chosen = Measure.model_validate({"metric": "learnt", "node": "agent-*", "over": "last"})
    by_steps, by_time = (rows(run, [chosen], {}, 0, False, choice)[0] for choice in (False, True))
    assert by_steps.value == by_time.value == 6.0
    assert by_steps.curve is not None and by_steps.curve.steps.tolist() == [1, 4000, 8000, 9000]
    assert by_time.curve is not None and by_time.curve.steps.tolist() == [1.5, 2.5, min(3.0, over or inf)]
    assert by_time.curve.values.tolist() == [2.0, 10.0, 6.0]


def test_curves(run: Path) -> None:
    curve = row(run, metric="return").curve
    assert curve is not None and curve.steps.tolist() == curve.values.tolist() == list(range(10, 101, 10))
    mean = row(run, metric="loss", name="mean loss").curve
    assert mean is not None and mean.values.tolist() == [6.0, 4.0, 2.0]
    assert row(run, metric="agreed", node="summary").curve is None


@pytest.mark.parametrize(
    ("measure", "why"),
    [
        ({"metric": "retrun"}, "no node has written retrun"),
        ({"metric": "loss", "node": "env-*"}, "env-* has not written loss; agent-0, agent-1 has"),
        ({"metric": "nodes.agent-9.x", "node": "summary"}, "nothing is called agent-9 there"),
        ({"metric": "nodes.agent-*.x", "node": "summary"}, "nothing is called x there"),
        ({"metric": "nodes.agent-9*.restarts", "node": "summary"}, "nothing there is like agent-9*"),
        ({"metric": "reason", "node": "summary"}, 'reason of the summary is "x", no number'),
        ({"metric": "faults.cuont", "node": "faults"}, 'did you mean "faults.count"'),
    ],
)
def test_what_is_not_there_is_a_row_with_its_reason(run: Path, measure: dict[str, Any], why: str) -> None:
    found = row(run, **measure)
    assert found.value is None and why in found.failure


def test_a_run_without_a_summary_has_no_figures(run: Path) -> None:
    (run / "summary.json").unlink()
    assert "no summary.json" in row(run, metric="return").failure


def test_a_simulation() -> None:
    outcome = {
        "rounds": 12.0,
        "lost": {"cut": 3},
        "disagreement": 0.5,
        "curve": {"rounds": [0, 1, 1, 2], "disagreement": [1, 0.8, 0.7, 0.5]},
    }
    value, curve = simulated_value(outcome, Measure.model_validate({"metric": "disagreement"}))
    assert value == 0.5 and curve is not None
    assert (curve.steps.tolist(), curve.values.tolist()) == ([0, 1, 2], [1, 0.7, 0.5])
    assert simulated_value(outcome, Measure.model_validate({"metric": "rounds"})) == (12.0, None)
    assert simulated_value(outcome, Measure.model_validate({"metric": "lost.cut"})) == (3.0, None)
    with pytest.raises(NotMeasured):
        number_at(outcome, "curve")


def test_a_simulation_that_never_agreed_took_infinitely_long() -> None:
    outcome = {"agreed": False, "rounds": 60.0, "seconds": 3.0, "messages": 480, "predicted": None}
    values = {metric: simulated_value(outcome, Measure.model_validate({"metric": metric}))[0] for metric in outcome}
    assert values == {"agreed": 0.0, "rounds": inf, "seconds": inf, "messages": 480.0, "predicted": inf}
    assert simulated_value({**outcome, "agreed": True}, Measure.model_validate({"metric": "rounds"})) == (60.0, None)
