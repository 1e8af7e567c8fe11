"""Messages of `orchestrate experiment` about missing metrics, giving up, and missing cells; nothing is really played."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from orchestrator.cli.app import app, hoist
from orchestrator.experiments.design.experiment_cell import Cell
from orchestrator.experiments.design.experiment_design import ExperimentLimits
from orchestrator.experiments.results.experiment_results import load
from orchestrator.experiments.running import experiment_runner as runner
from orchestrator.experiments.running.cell_runners import CellEnd
from protocols.runtime.errors import UsageError
from tests.orchestrator.experiments.small import PLAYED, written

Experiment = Callable[..., Result]


class Player:
    """A run of no time in which `env-0` wrote its return, or one that has failed."""

    def __init__(self, directory: Path, fails: bool) -> None:
        self._fails = fails
        home = directory / "nodes" / "env-0"
        home.mkdir(parents=True)
        line = {"t": 0.0, "step": 10, "episode": 1, "name": "return", "value": 0.5}
        (home / "metrics.jsonl").write_text(json.dumps(line) + "\n")
        if not fails:
            (directory / "summary.json").write_text(json.dumps({"exit_code": 0}))

    def poll(self) -> CellEnd:
        return CellEnd("FAILED", "it broke") if self._fails else CellEnd("DONE", seconds=1.0)

    def stop(self, now: bool) -> None: ...

    def close(self) -> None: ...


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Experiment:
    """`orchestrate experiment` with a design and options."""

    def made(cell: Cell, directory: Path, code: str, limits: ExperimentLimits) -> Player:
        return Player(directory, cell.factors.get("averaging") == "seldom" and "broken" in str(directory))

    monkeypatch.setattr(runner, "player", made)

    def call(*options: str, **changes: Any) -> Result:
        file = written(tmp_path, PLAYED, **{"report": [], "seeds": "0..1", "measure": [{"metric": "return"}], **changes})
        words = hoist(["experiment", str(file), *options, "--experiments-dir", str(tmp_path / "experiments")])
        return CliRunner().invoke(app, words, prog_name="orchestrate")

    return call


MISSPELT = [{"metric": "return"}, {"metric": "retrun"}]
WHY = 'no node has written retrun; did you mean "return"?'


def test_a_misspelt_measure_is_warned_of_told_of_at_once_and_at_the_end_and_costs_nothing(play: Experiment) -> None:
    found = play("--plain", measure=MISSPELT)
    assert found.exit_code == 0, found.output
    lines = found.output.splitlines()
    warned = next(number for number, line in enumerate(lines) if "docs/reference/metrics.md has no metric retrun" in line)
    assert 'did you mean "return"?' in lines[warned] and "warning" in lines[warned]
    done = [number for number, line in enumerate(lines) if "  DONE  " in line]
    assert warned < done[0] and len(done) == 4
    assert lines[done[0] + 1] == f"averaging=often seed 0 is done, and has no retrun: {WHY}"
    assert found.output.count("is done, and has no retrun") == 1, "the same reason once"
    assert f"4 metrics of finished cells missing: retrun ({WHY}). If a name is wrong: correcting it costs nothing" in found.output
    again = play("--plain", measure=[{"metric": "return"}, {"metric": "return", "name": "again", "over": "last"}])
    assert "4 done before, 0 to run" in again.output and "missing" not in again.output, again.output


def test_programs_are_told_too(play: Experiment) -> None:
    lines = [json.loads(line) for line in play("--json", measure=MISSPELT).stdout.splitlines()]
    assert [line["text"] for line in lines if line["kind"] == "notice"] == [f"averaging=often seed 0 is done, and has no retrun: {WHY}"]
    assert lines[-1]["missing"] == [{"metric": "retrun", "reason": WHY, "cells": 4}]
    assert "has no retrun" in play("--quiet", measure=MISSPELT, name="silent").output


def test_why_no_further_cell_was_started_is_said(play: Experiment) -> None:
    limits = {"retries": 0, "stop_after_failures": 1}
    said = "no further cell was started: 1 has failed (limits.stop_after_failures)"
    found = play("--plain", "--jobs", "1", name="broken", limits=limits)
    assert found.exit_code == 20 and said in found.output, found.output
    end = json.loads(play("--json", "--jobs", "1", name="broken-too", limits=limits).stdout.splitlines()[-1])
    assert end["reason"] == said and end["cells"]["WAITING"] == 2
    whole = play("--plain", "--jobs", "1", name="broken-all", seeds=0, limits=limits)
    assert whole.exit_code == 20 and "no further cell" not in whole.output, "there was none that it could have started"


def test_a_dry_run_says_what_the_call_does(play: Experiment, tmp_path: Path) -> None:
    def to_run(**changes: Any) -> list[str]:
        found = json.loads(play("--dry-run", "--json", *changes.pop("options", ()), **changes).stdout.splitlines()[-1])
        assert found["to_run"] == sum(cell["state"] == "WAITING" for cell in found["cells"])
        return [f"{cell['factors']['averaging']} {cell['seed']}" for cell in found["cells"] if cell["state"] == "WAITING"]

    assert play("--plain").exit_code == 0 and to_run() == []
    gone = load(tmp_path / "experiments" / "tiny").cells[1]
    assert gone.directory is not None
    shutil.rmtree(gone.directory)
    assert to_run() == ["often 1"] == to_run(), "and it changes nothing"
    assert load(tmp_path / "experiments" / "tiny").count("DONE") == 4
    assert "3 done before, 1 to run" in play("--plain").output
    assert play("--plain", name="broken", limits={"retries": 0}).exit_code == 20
    assert to_run(name="broken") == []
    assert to_run(name="broken", options=["--retry-failed"]) == ["seldom 0", "seldom 1"]


def test_a_selection_that_fits_nothing_is_refused(play: Experiment) -> None:
    for wrong, said in (("seed=7", "7 is no seed of it; seeds are 0..1"), ("seed=0..2", "2 is no seed of it")):
        refused = play("--only", wrong).exception
        assert isinstance(refused, UsageError) and said in str(refused) and refused.exit_code == 2
    one = [{"averaging": "often"}]
    nothing = play("--only", "averaging=seldom", cells=one).exception
    assert isinstance(nothing, UsageError) and "no cell fits averaging=seldom" in str(nothing)


def test_directories_of_simulations_are_named_as_such(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "simulation.json").write_text("{}")
    for words in (["show", "a"], ["compare", "a", "b"], ["report", str(tmp_path / "a")]):
        refused = CliRunner().invoke(app, hoist(["--runs-dir", str(tmp_path), *words]), prog_name="orchestrate").exception
        assert isinstance(refused, UsageError) and "is no run, but a simulation's" in str(refused), words
