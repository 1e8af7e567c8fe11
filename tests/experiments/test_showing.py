"""Lines of an experiment that goes on."""

from __future__ import annotations

import io
import json
from math import inf
from types import SimpleNamespace
from typing import Any

from orchestrator.experiments.players import Ended
from orchestrator.experiments.runner import Progress
from orchestrator.experiments.showing import JsonView, PlainView
from orchestrator.statistics.table import Row


def test_a_cell_that_never_came_to_it_says_so() -> None:
    playing: Any = SimpleNamespace(cell=SimpleNamespace(label="loss=half seed 0", factors={"loss": "half"}, seed=0), identity="f")
    lines, objects = io.StringIO(), io.StringIO()
    for view in (
        PlainView(lines, "x", "1 cell", lambda _: [Row({"loss": "half"}, 0, "rounds", inf)]),
        JsonView(objects, "x", "1 cell", lambda _: [Row({"loss": "half"}, 0, "rounds", inf)]),
    ):
        view.finished(playing, Ended("DONE", seconds=2.0), False, Progress(1, 1, 0, 0, (), None))
    assert lines.getvalue() == "1/1  loss=half seed 0  DONE  2 s  rounds never\n"
    assert json.loads(objects.getvalue())["figure"] == {"rounds": "inf"}
