"""Rows of an experiment: what groups are made of them, and that no run is lost on the way."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from orchestrator.results.statistics.estimate import estimate
from orchestrator.results.statistics.group_comparison import probability_of_improvement
from orchestrator.results.statistics.runs_table import Curve, RunRow, RunsTable


def row(method: str, task: str, seed: int, value: float | None, metric: str = "return", failure: str = "") -> RunRow:
    curve = None if value is None else Curve(np.array([0.0, 10.0]), np.array([0.0, value]))
    return RunRow({"method": method, "delay": task}, seed, metric, value, curve, failure)


ROWS = [row(method, task, seed, seed + 10.0 * (task == "50ms")) for method in ("a", "b") for task in ("0ms", "50ms") for seed in (0, 1)]


def test_groups() -> None:
    table = RunsTable.of(ROWS)
    assert table.levels("method") == ["a", "b"]
    assert table.sample("return", {"method": "a"}).points == (0.0, 1.0, 10.0, 11.0)
    assert table.sample("return", {"method": "a", "delay": "50ms"}).points == (10.0, 11.0)
    assert set(table.curves("return", {"method": "a", "delay": "0ms"}).curves) == {"delay=0ms method=a seed 0", "delay=0ms method=a seed 1"}


def test_no_failed_run_is_dropped_in_silence() -> None:
    table = RunsTable.of(
        [
            *ROWS,
            row("a", "0ms", 2, None, failure="exit 20: fewer than 2 agents alive"),
            RunRow({"method": "a", "delay": "0ms"}, 3, "return", float("nan")),
            row("a", "0ms", 4, 1.0, metric="success"),
        ]
    )
    sample = table.sample("return", {"method": "a", "delay": "0ms"})
    assert sample.n == 2
    assert sample.missing == (
        "delay=0ms method=a seed 2: exit 20: fewer than 2 agents alive",
        "delay=0ms method=a seed 3: the figure is nan",
        "delay=0ms method=a seed 4: no figure",
    ), "a run that has another figure is a run too"
    assert estimate(sample).text(".1f") == "0.5 (0.0, 1.0) n=2 of 5"
    assert len(table.curves("return", {"method": "a", "delay": "0ms"}).missing) == 3


def test_runs_to_come_have_not_failed() -> None:
    to_come = RunRow({"method": "a", "delay": "0ms"}, 3, "return", failure="it has not been run yet", to_come=True)
    table = RunsTable.of([*ROWS, row("a", "0ms", 2, None, failure="killed"), to_come])
    found = estimate(table.sample("return", {"method": "a", "delay": "0ms"}))
    assert (found.n, found.failed, found.to_come) == (2, 1, 1) and found.text(".1f") == "0.5 (0.0, 1.0) n=2 of 4"
    record = json.loads(json.dumps(found.record()))
    assert (record["failed"], record["to_come"], len(record["missing"])) == (1, 1, 2)
    both = probability_of_improvement(table.sample("return", {"method": "b"}), table.sample("return", {"method": "a", "delay": "0ms"}))
    assert (both.failed, both.to_come) == (1, 1), "also of two groups"


def test_two_results_of_one_run_are_refused() -> None:
    with pytest.raises(ValueError, match="two rows for delay=0ms method=a seed 0, return"):
        RunsTable.of([*ROWS, replace(ROWS[0], value=3.0)])


def test_samples_hold_numbers_only() -> None:
    table = RunsTable.of(ROWS)
    assert table.sample("return", {"method": "nobody"}).n == 0
    from orchestrator.results.statistics.runs_table import ScoreSample

    with pytest.raises(ValueError, match="must be numbers"):
        ScoreSample.of([1.0, float("nan")])
