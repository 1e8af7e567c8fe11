"""`orchestrate experiment` and `sweep` as a user calls them, with simulations and with runs of real processes."""

from __future__ import annotations

import csv
import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from orchestrator.cli.app import app, hoist
from orchestrator.experiments.results.experiment_results import load
from protocols.runtime.errors import ResourceError, UsageError
from tests.orchestrator.experiments.small import PLAYED, SIMULATED, orchestrate, start, written
from tests.orchestrator.experiments.test_killed_experiment import processes_below

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("experiments")
    yield path
    assert not processes_below(path), "something of an experiment was left behind"


def call(home: Path, command: str, *arguments: str) -> Result:
    """The command in this process."""
    words = hoist([command, *arguments, "--experiments-dir", str(home / "experiments")])
    return CliRunner().invoke(app, words, prog_name="orchestrate")


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def simulated(home: Path) -> Path:
    """Half of a simulated experiment, then the rest."""
    file = str(written(home / "simulated", SIMULATED))
    half = call(home, "experiment", file, "--only", "seed=0", "--plain")
    assert half.exit_code == 0, half.output
    assert "4 to run" in half.output and "4 of 8 cells done" in half.output
    return Path(file)


def test_a_simulated_experiment_goes_on_where_it_was(home: Path, simulated: Path) -> None:
    experiment = home / "experiments" / "simulated"
    before = {cell.identity: cell.directory for cell in load(experiment).cells if cell.state == "DONE"}
    stamps = {path: (path / "summary.json").stat().st_mtime_ns for path in before.values() if path is not None}
    done = call(home, "experiment", str(simulated), "--json")
    assert done.exit_code == 0
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert [line["kind"] for line in lines if line["kind"] != "progress"] == ["experiment", *["cell"] * 4, "verdict", "end"]
    assert lines[0]["done"] == 4 and lines[-1]["cells"] == {"DONE": 8, "FAILED": 0, "WAITING": 0}
    assert {path: (path / "summary.json").stat().st_mtime_ns for path in stamps} == stamps
    results = load(experiment)
    assert [verdict.holds for verdict in results.verdicts] == [True]
    rows = table(experiment / "results.csv")
    assert len(rows) == 16 and list(rows[0]) == ["topology", "agents", "seed", "metric", "value"]
    assert {row["value"] for row in rows if row["topology"] == "complete" and row["metric"] == "rounds"} == {"1.0"}
    curve = next(row.curve for row in results.table.rows if row.metric == "disagreement" and row.factors["topology"] == "ring")
    assert curve is not None and curve.values[0] > curve.values[-1]
    cells = table(experiment / "cells.csv")
    assert {cell["state"] for cell in cells} == {"DONE"} and all("--agents" in cell["command"] for cell in cells)


def test_it_is_exported_for_marl_eval(home: Path, simulated: Path) -> None:
    call(home, "experiment", str(simulated))
    named = ("simulated", "--metric", "disagreement", "--points", "7")
    assert "which factor is the algorithm? --algorithm topology or agents" in str(call(home, "export", "marl-eval", *named).exception)
    done = call(home, "export", "marl-eval", *named, "--algorithm", "topology")
    file = home / "experiments" / "simulated" / "marl_eval.json"
    assert done.exit_code == 0 and done.output.startswith(f"{file}: 8 runs, disagreement, rounds "), done.output
    found = json.loads(file.read_text())["simulation"]
    assert {task: set(methods) for task, methods in found.items()} == {f"agents={number}": {"ring", "complete"} for number in (4, 12)}
    assert set(found["agents=12"]["ring"]) == {"seed_0", "seed_1"}
    assert "no experiment simulate in" in str(call(home, "export", "marl-eval", "simulate").exception)
    whole = ("simulated", "--algorithm", "topology", "--metric")
    said = str(call(home, "export", "marl-eval", *whole, "rounds").exception)
    assert "one number of it" in said and "curves have disagreement (--metric)" in said, "all is done: nothing more would make a curve"
    elsewhere = home / "paper" / "figures" / "night.json"
    assert call(home, "export", "marl-eval", *whole, "disagreement", "-o", str(elsewhere)).exit_code == 0 and elsewhere.is_file()
    refused = call(home, "export", "marl-eval", *whole, "disagreement", "-o", str(elsewhere / "within.json")).exception
    assert isinstance(refused, ResourceError) and "choose another place with -o" in str(refused)


def test_a_command_repeats_its_cell(home: Path, simulated: Path) -> None:
    import shlex

    cell = next(one for one in load(home / "experiments" / "simulated").cells if one.state == "DONE" and one.directory is not None)
    assert cell.directory is not None
    repeated = CliRunner().invoke(app, hoist([*shlex.split(cell.command)[1:], "--json"]), prog_name="orchestrate")
    assert repeated.exit_code == 0
    again, before = json.loads(repeated.stdout), json.loads((cell.directory / "summary.json").read_text())
    assert {name: again[name] for name in again if name != "real"} == {name: before[name] for name in again if name != "real"}


def test_an_expectation_that_fails_is_exit_code_1(home: Path, simulated: Path) -> None:
    expect = [{"metric": "rounds", "op": "<", "value": 1}]
    done = call(home, "experiment", str(written(home / "expecting", SIMULATED, expect=expect, name="expecting", seeds=0, factors={})))
    assert done.exit_code == 1 and "FAILS: rounds iqm < 1" in done.output


def test_cells_that_take_too_long_are_tried_again_then_reported_and_tried_when_asked_to(home: Path) -> None:
    slow: dict[str, Any] = {"name": "slow", "factors": {}, "seeds": 0, "expect": [{"metric": "rounds", "op": ">", "value": 1}]}
    file = written(home / "slow", SIMULATED, **slow, limits={"cell_time": "100ms"})
    done = call(home, "experiment", str(file))
    assert done.exit_code == 20
    assert done.output.count("will be tried again") == 1 and "longer than limits.cell_time" in done.output
    assert "cannot be judged: rounds iqm > 1: no run of the group has a figure" in done.output
    experiment = home / "experiments" / "slow"
    (cell,) = load(experiment).cells
    assert (cell.state, cell.attempts) == ("FAILED", 2) and "longer than limits.cell_time" in cell.failure
    assert [row["value"] for row in table(experiment / "results.csv")] == ["", ""]
    written(home / "slow", SIMULATED, **slow)
    assert call(home, "experiment", str(file)).exit_code == 20  # what has failed is left alone ...
    assert call(home, "experiment", str(file), "--retry-failed").exit_code == 0  # ... until it is asked for
    assert load(experiment).cells[0].state == "DONE"


def test_a_dry_run_starts_nothing(home: Path) -> None:
    file = str(written(home / "dry", PLAYED, name="dry", set={**PLAYED["set"], "clock": "wall", "until": {"time": "60s"}}, seeds="0..4"))
    told = call(home, "experiment", file, "--dry-run", "--jobs", "2", "--only", "averaging=often")
    assert told.exit_code == 0 and not (home / "experiments" / "dry").exists()
    assert "5 to run; 2 side by side" in told.output and "about 2 min 42 s" in told.output
    assert "disturb each other's timings" in told.output
    record = json.loads(call(home, "experiment", file, "--dry-run", "--json").stdout)
    assert len(record["cells"]) == 10 and record["cell_seconds"] == 65
    written(home / "dry", PLAYED, name="dry", set={**PLAYED["set"], "clock": "logical", "until": {"time": "60s"}})
    assert "a cell     unknown (no cell has been run yet" in call(home, "experiment", file, "--dry-run").output, "these seconds are virtual"


@pytest.mark.parametrize(
    ("option", "given", "says"), [("--seeds", "0,x", "write for example 0..4, 3, or 0,2,5"), ("--name", "My Name", "is no name")]
)
def test_a_sweep_that_is_refused_leaves_nothing_behind(home: Path, option: str, given: str, says: str) -> None:
    done = call(home, "sweep", SIMULATED["base"], "simulate.agents=4,6", "--simulate", option, given)
    assert isinstance(done.exception, UsageError) and says in str(done.exception)
    assert not list(home.glob("**/sweep.yaml"))


def test_a_sweep_writes_an_experiment_and_plays_it(home: Path, simulated: Path) -> None:
    config = SIMULATED["base"]
    words = [config, "network.topology={kind: ring},{kind: complete}", "simulate.agents=4", "exchange.consensus.mode=mh"]
    options = ["--simulate", "--metric", "rounds", "--name", "line", "--seeds", "0,2"]
    done = call(home, "sweep", *words, *options)
    assert done.exit_code == 0, done.output
    rows = table(home / "experiments" / "line" / "results.csv")
    found = [(row["topology"], row["agents"], row["seed"], row["metric"]) for row in rows]
    assert found == [(topology, "4", seed, "rounds") for topology in ("ring", "complete") for seed in ("0", "2")]
    assert call(home, "sweep", *words, *options).exit_code == 0  # nothing is left to do
    other = call(home, "sweep", *words[:-1], *options)
    assert other.exception is not None and "is another sweep" in str(other.exception)


@pytest.mark.runs
def test_ctrl_c_stops_in_order_a_second_process_is_refused_and_it_goes_on(home: Path) -> None:
    file = str(written(home, PLAYED, name="stopped", set={**PLAYED["set"], "until": {"steps": 1200}}, factors={}))
    experiment = home / "experiments" / "stopped"
    process = start(home, "experiment", file, "--plain")
    deadline = time.monotonic() + 60
    while not list(experiment.glob("runs/*/nodes/agent-0/metrics.jsonl")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)  # a poll of another process, bounded by the deadline
    second = call(home, "experiment", file)
    assert second.exception is not None and f"another process (process {process.pid}) works on" in str(second.exception)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "stopping 1 running cell: checkpoints" in output and "go on with: orchestrate experiment" in output
    (cell,) = load(experiment).cells
    assert cell.state == "WAITING" and cell.directory is not None
    assert json.loads((cell.directory / "run.json").read_text())["state"] == "STOPPED"
    assert not processes_below(home)
    done = orchestrate(home, "experiment", file, "--plain")
    assert done.returncode == 0, done.stdout
    record = json.loads((cell.directory / "run.json").read_text())
    assert (record["state"], record["segment"]) == ("DONE", 2) and load(experiment).cells[0].attempts == 1
    assert [row["value"] for row in table(experiment / "results.csv") if row["metric"] == "return"] != [""]
