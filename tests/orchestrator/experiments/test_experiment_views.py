"""Lines of an experiment that goes on."""

from __future__ import annotations

import io
import json
from math import inf
from types import SimpleNamespace
from typing import Any

from orchestrator.experiments.running.cell_runners import CellEnd
from orchestrator.experiments.running.experiment_runner import ExperimentProgress
from orchestrator.experiments.running.experiment_views import JsonExperimentView, PlainExperimentView
from orchestrator.results.statistics.runs_table import RunRow


def test_a_cell_that_never_came_to_it_says_so() -> None:
    playing: Any = SimpleNamespace(cell=SimpleNamespace(label="loss=half seed 0", factors={"loss": "half"}, seed=0), identity="f")
    lines, objects = io.StringIO(), io.StringIO()
    for view in (
        PlainExperimentView(lines, "x", "1 cell", lambda _: [RunRow({"loss": "half"}, 0, "rounds", inf)]),
        JsonExperimentView(objects, "x", "1 cell", lambda _: [RunRow({"loss": "half"}, 0, "rounds", inf)]),
    ):
        view.finished(playing, CellEnd("DONE", seconds=2.0), False, ExperimentProgress(1, 1, 0, 0, (), None))
    assert lines.getvalue() == "1/1  loss=half seed 0  DONE  2 s  rounds never\n"
    assert json.loads(objects.getvalue())["figure"] == {"rounds": "inf"}
