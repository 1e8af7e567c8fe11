"""An experiment in the layout of marl-eval: nothing is made up, and omissions are reported."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from orchestrator.experiments.results.experiment_results import ExperimentResults
from orchestrator.experiments.results.marl_eval_export import MarlEvalExport, marl_eval
from orchestrator.results.statistics.runs_table import Curve, RunsTable
from protocols.runtime.errors import UsageError
from tests.orchestrator.report.material import design, results

SIMULATION = {"with": "simulate", "simulate": {}}


def made(states: dict[int, str] | None = None, **changes: Any) -> ExperimentResults:
    """Three delays by two topologies with six seeds, curves of 20,000 steps."""
    return results(design(**SIMULATION, **changes), states=states)


def exported(of: ExperimentResults, algorithm: str | None = None, *metrics: str, common_seeds: bool = False) -> MarlEvalExport:
    return marl_eval(of, algorithm, metrics, 5, common_seeds)


def test_one_factor_is_the_algorithm_and_the_others_are_tasks() -> None:
    found = exported(made())
    assert (found.metrics, found.runs, found.steps, found.left_out) == (("return",), 36, (0, 20_000), ())
    tasks = found.content["simulation"]
    assert set(tasks) == {"topology=ring", "topology=complete"} and set(tasks["topology=ring"]) == {"0ms", "100ms", "500ms"}
    table = made().table
    for task, methods in tasks.items():
        for delay, runs in methods.items():
            sample = table.sample("return", {"delay": delay, "topology": task.removeprefix("topology=")})
            assert sorted(run["absolute_metrics"]["return"][0] for run in runs.values()) == list(sample.points)
    run = tasks["topology=ring"]["100ms"]["seed_3"]
    assert [run[f"step_{number}"]["step_count"] for number in range(5)] == [0, 5000, 10_000, 15_000, 20_000]
    (row,) = (row for row in table.rows if row.run == ((("delay", "100ms"), ("topology", "ring")), 3) and row.metric == "return")
    assert row.curve is not None
    values = [run[f"step_{number}"]["return"] for number in range(5)]
    assert values == [[value] for value in np.interp([0, 5000, 10_000, 15_000, 20_000], row.curve.steps, row.curve.values)]
    assert run["absolute_metrics"] == {"return": [row.value]} and list(run)[-1] == "absolute_metrics"
    other = exported(made(), "topology", "return", "consensus.disagreement").content["simulation"]
    assert set(other["delay=0ms"]) == {"ring", "complete"}
    assert set(other["delay=0ms"]["ring"]["seed_0"]["step_0"]) == {"step_count", "return", "consensus.disagreement"}


def test_runs_that_are_missing_are_named_or_their_seeds_left_out() -> None:
    holes = made(states={7: "FAILED", 20: "WAITING"})
    with pytest.raises(UsageError, match=r"(?s)seed 1 \(agent-2 ended .*seed 2 \(not begun\) lacking; --common-seeds"):
        exported(holes)
    found = exported(holes, common_seeds=True)
    assert found.left_out == (1, 2) and found.runs == 24
    assert {tuple(runs) for methods in found.content["simulation"].values() for runs in methods.values()} == {
        ("seed_0", "seed_3", "seed_4", "seed_5")
    }
    with pytest.raises(UsageError, match="no seed is whole"):
        exported(made(states=dict.fromkeys(range(6), "FAILED")), common_seeds=True)


@pytest.mark.parametrize(
    ("changes", "algorithm", "metric", "says"),
    [
        ({}, "delays", "return", 'did you mean "delay"'),
        ({}, None, "returns", 'did you mean "return"'),
        ({"compare": None}, None, "return", "--algorithm delay or topology"),
    ],
)
def test_what_is_not_there_is_said(changes: dict[str, Any], algorithm: str | None, metric: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        exported(made(**changes), algorithm, metric)


def test_nothing_to_export_yet() -> None:
    with pytest.raises(UsageError, match="has a curve of return"):
        exported(made(states=dict.fromkeys(range(36), "WAITING")), None, "return")


def test_curves_over_rounds_and_curves_over_steps_are_not_mixed() -> None:
    both = results(design())
    with pytest.raises(UsageError, match=r"return is over steps, consensus.disagreement is over rounds.*one by one"):
        exported(both, None, "return", "consensus.disagreement")


def test_curves_that_are_nowhere_together_point_to_another_measure() -> None:
    apart = made()
    rows = [
        replace(row, curve=Curve(row.curve.steps + 30_000 * row.seed, row.curve.values)) if row.curve is not None else row
        for row in apart.table.rows
    ]
    with pytest.raises(UsageError, match=r"no rounds in common: one of return begins at 150000, one of return ends at 20000.*--metric"):
        exported(replace(apart, table=RunsTable.of(rows)))


def test_a_figure_without_curves_is_not_promised() -> None:
    single = results(design(**SIMULATION), curves=False)
    with pytest.raises(UsageError, match=r"one number of it, not one of several over time, and can't be exported, nor has any other"):
        exported(single)


def test_the_layout_is_json() -> None:
    found = exported(made()).content
    assert json.loads(json.dumps(found, allow_nan=False)) == found
