"""What an experiment has shown so far, read from its directory alone: cells, table, verdicts. This is what reports are made of."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from orchestrator.experiments.design.experiment_design import ExperimentDesign
from orchestrator.experiments.results.experiment_verdicts import ExpectationVerdict, judge
from orchestrator.experiments.results.run_measures import failed_rows
from orchestrator.experiments.results.run_measures import rows as measured
from orchestrator.experiments.running.experiment_store import CellRecord, PlannedCell, State, Store
from orchestrator.results.run_files import write_json
from orchestrator.results.statistics.runs_table import RunRow, RunsTable
from protocols.runtime.atomic_files import write_whole


@dataclass(frozen=True)
class CellResult:
    """One cell: a combination of factors with one seed, and what has become of it."""

    factors: Mapping[str, str]
    """label of each factor, in the order of the file"""
    seed: int
    state: State
    directory: Path | None
    """of its run; None where it has not begun"""
    command: str
    """the command that repeats this cell"""
    identity: str
    """SHA-256 of configuration, code and seed"""
    code: str
    """version of the code that it was, or will be, made with"""
    seconds: float | None
    """wall-clock time"""
    cpu_seconds: float | None
    failure: str
    """why it failed, with the end of its log; empty where it did not"""
    attempts: int = 0
    """how often it was begun, resumptions not counted"""


@dataclass(frozen=True)
class ExperimentResults:
    """An experiment as its directory records it at present: its design and the state of its cells."""

    design: ExperimentDesign
    """as applied: with `small`, where that was asked for"""
    directory: Path
    cells: tuple[CellResult, ...]
    """in the order of the grid, then by seed"""
    table: RunsTable
    """one row for each cell and measure; rows of cells that have failed or not ended have `failure` set, the latter `to_come` too"""
    verdicts: tuple[ExpectationVerdict, ...]
    """one for each expectation, in the order of the file"""
    strangers: tuple[str, ...] = ()
    """codes of which the store holds cells that are not among these"""

    def count(self, state: State) -> int:
        """Number of cells in `state`."""
        return sum(cell.state == state for cell in self.cells)

    def lacking(self) -> dict[tuple[str, str], int]:
        """(measure, reason) -> number of finished cells that have not this figure."""
        done = {(tuple(cell.factors.items()), cell.seed) for cell in self.cells if cell.state == "DONE"}
        rows = [row for row in self.table.rows if row.value is None and (tuple(row.factors.items()), row.seed) in done]
        return dict(Counter((row.metric, row.why_not) for row in rows))


def load(directory: Path, over_time: bool | None = None) -> ExperimentResults:
    """Read an experiment from its directory: at any time, also while it runs. `over_time`: whether curves are over time, in the place of
    what the file has. `UsageError` where there is no experiment."""
    with Store(directory) as store:
        plan, records = store.plan(), store.records()
        design = ExperimentDesign.model_validate_json(json.dumps(store.meta("design")), strict=True)
    cells = tuple(_result(directory, planned, records[planned.identity]) for planned in plan)
    rows: list[RunRow] = []
    simulated = design.with_ == "simulate"
    by_time = design.curves_over == "time" if over_time is None else over_time
    for cell in cells:
        if cell.state == "DONE" and cell.directory is not None:
            rows += measured(cell.directory, design.measure, cell.factors, cell.seed, simulated, by_time)
        else:
            why = {"RUNNING": "it has not ended yet", "FAILED": (cell.failure.splitlines() or ["it failed"])[0]}
            reason = why.get(cell.state, "it has not been run yet")
            rows += failed_rows(design.measure, cell.factors, cell.seed, reason, to_come=cell.state in ("WAITING", "RUNNING"))
    table = RunsTable.of(rows)
    planned_ones = {cell.identity for cell in cells}
    codes = {record.code for record in records.values() if record.identity not in planned_ones and record.state == "DONE"}
    strangers = tuple(sorted(codes - {cell.code for cell in cells}))
    return ExperimentResults(design, directory, cells, table, judge(design, table), strangers)


def _result(directory: Path, planned: PlannedCell, record: CellRecord) -> CellResult:
    return CellResult(
        factors=planned.factors,
        seed=planned.seed,
        state=record.state,
        directory=directory / record.directory if record.directory is not None else None,
        command=planned.command,
        identity=planned.identity,
        code=record.code,
        seconds=record.seconds,
        cpu_seconds=record.cpu_seconds,
        failure=record.failure if record.state == "FAILED" else "",
        attempts=record.attempts,
    )


def write_tables(results: ExperimentResults) -> None:
    """Write `results.csv` (factors, seed, metric, value; sorted; nothing in it differs between two identical runs under the logical clock;
    a figure that is missing has no value), `cells.csv` (what may differ: times, directories, failures) and `verdicts.json`, each whole."""
    names = list(results.design.factors)
    order = {measure.title: number for number, measure in enumerate(results.design.measure)}
    grid = {(tuple(cell.factors.values()), cell.seed): number for number, cell in enumerate(results.cells)}
    rows = sorted(results.table.rows, key=lambda row: (grid[tuple(row.factors[name] for name in names), row.seed], order[row.metric]))
    _write_csv(
        results.directory / "results.csv",
        [*names, "seed", "metric", "value"],
        [[*(row.factors[name] for name in names), row.seed, row.metric, "" if row.value is None else repr(row.value)] for row in rows],
    )
    facts = ["state", "attempts", "seconds", "cpu_seconds", "directory", "code", "identity", "command", "failure"]
    _write_csv(
        results.directory / "cells.csv",
        [*names, "seed", *facts],
        [
            [*(cell.factors[name] for name in names), cell.seed, *("" if (fact := getattr(cell, name)) is None else fact for name in facts)]
            for cell in results.cells
        ],
    )
    write_json(results.directory / "verdicts.json", [verdict.record() for verdict in results.verdicts])


def _write_csv(path: Path, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    text = StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    write_whole(path, text.getvalue().encode())
