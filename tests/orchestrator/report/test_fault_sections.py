"""Measures around faults, from the files of runs that are made up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from orchestrator.report import report
from tests.orchestrator.report.material import design, results
from tests.orchestrator.report.report_reading import data_of, unfounded

BEGAN = 1_700_000_000.0
MEASURES = [
    {"metric": "learner.loss", "node": "agent-*", "higher": "worse"},
    {"metric": "learner.loss", "node": "agent-1", "name": "loss of one", "higher": "worse"},
]


def run(home: Path, clock: str) -> Path:
    """20 s with a fault from 8 to 12: the loss of agent-0 is 1, and in the fault 5; that of agent-1 is 3 all along. For a second of the
    fault no step is made."""
    zero = BEGAN if clock == "wall" else 0.0
    home.mkdir()
    (home / "config.json").write_text(json.dumps({"clock": clock}))
    (home / "events.jsonl").write_text(json.dumps({"t": "2023-11-14T22:13:20+00:00", "code": "run.running"}) + "\n")
    fault = {"id": "cut", "kind": "partition", "node": "", "begin": zero + 8, "end": zero + 12}
    (home / "summary.json").write_text(
        json.dumps({"faults": {"faults": [fault, {**fault, "id": "late", "begin": zero + 18, "end": None}]}})
    )
    files: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for second in range(20):
        for agent, value in (("agent-0", 5.0 if 8 <= second < 12 else 1.0), ("agent-1", 3.0)):
            line = {"t": zero + second + 0.5, "step": 100 * second, "name": "learner.loss", "value": value}
            files.setdefault((agent, "metrics.jsonl"), []).append(line)
            files[agent, "metrics.jsonl"].append({**line, "name": "consensus.disagreement"})
        # What is of the machine has the machine's time, whatever the clock.
        line = {"t": BEGAN + second + 0.5, "step": 100 * min(second, 9), "name": "steps_per_second", "value": 100.0 if second < 10 else 0.0}
        files.setdefault(("env-0", "usage.jsonl"), []).append(line)
    for (node, name), lines in files.items():
        (home / "nodes" / node).mkdir(parents=True, exist_ok=True)
        (home / "nodes" / node / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return home


@pytest.mark.parametrize("clock", ["wall", "logical"])
def test_measures_around_faults_are_of_the_nodes_that_they_name(tmp_path: Path, clock: str) -> None:
    of = design(factors={}, report=["time_bands"], seeds=0, expect=[], compare=None, measure=MEASURES)
    page = report(results(of, directories={0: run(tmp_path / "run", clock)}), tmp_path / "out")
    data = data_of(page)
    around = data["around_faults"]
    for title, before, during in (("learner.loss", 2.0, 4.0), ("loss of one", 3.0, 3.0)):
        cut = around[title]["all runs"][0]
        assert (cut["fault"], cut["before"]["value"], cut["during"]["value"]) == ("cut", before, during)
    assert around["windows"]["all runs"]["run"][1] == ["late", 18.0, 19.5], "until the last figure that has a time of the run"
    assert unfounded(page.with_name("report.md").read_text(), data) == []
    if clock == "logical":
        assert "steps_per_second" not in around
    else:
        assert around["steps_per_second"]["all runs"][0]["during"]["value"] == 50.0, "those of standing still count"


def test_panels_that_are_not_drawn_are_told_of(tmp_path: Path) -> None:
    factors = {"mode": {"key": "c", "values": [f"m{number}" for number in range(13)]}}
    of = design(factors=factors, report=["time_bands"], seeds=0, expect=[], compare=None, measure=MEASURES)
    one = run(tmp_path / "run", "logical")
    page = report(results(of, directories=dict.fromkeys(range(13), one)), tmp_path / "out")
    text = page.with_name("report.md").read_text()
    assert "The first 12 of 13 panels are drawn" in text[text.index("## Around faults") :]


@pytest.mark.parametrize(("clock", "axis"), [("wall", "seconds"), ("logical", "virtual seconds")])
def test_curves_and_times_to_a_threshold_over_time_say_which_time(tmp_path: Path, clock: str, axis: str) -> None:
    of = design(curves_over="time", expect=[], report=["curves"])
    page = report(results(of, directories={0: run(tmp_path / "run", clock)}), tmp_path / "out")
    text = page.with_name("report.md").read_text()
    assert f"**return over {axis}: interquartile mean with 95 % band**" in text
    assert f"| {axis} to 0.600 (reached by) |" in text and f"{axis.capitalize()} to a threshold: median over the runs" in text
    drawn = ElementTree.parse(tmp_path / "out" / "figures" / "curves-1.svg").getroot()
    assert axis in {element.text for element in drawn.iter("{http://www.w3.org/2000/svg}text")}
    assert unfounded(text, data_of(page)) == []


def test_curves_of_averaging_are_over_rounds_and_others_over_steps(tmp_path: Path) -> None:
    measures = [
        {"metric": "return", "threshold": 0.6},
        {"metric": "consensus.disagreement", "threshold": 0.1, "higher": "worse"},
        {"metric": "statistics.contraction", "name": "contraction", "higher": "worse"},
    ]
    page = report(results(design(expect=[], report=["curves"], measure=measures)), tmp_path / "out")
    text = page.with_name("report.md").read_text()
    for title, axis in (("return", "steps"), ("consensus.disagreement", "rounds"), ("contraction", "rounds")):
        assert f"**{title} over {axis}: interquartile mean" in text
    assert "| steps to 0.600 (reached by) |" in text and "| rounds to 0.100 (reached by) |" in text
    assert "Steps or rounds to a threshold: median over the runs" in text
    drawn = ElementTree.parse(tmp_path / "out" / "figures" / "curves-2.svg").getroot()
    words = {element.text for element in drawn.iter("{http://www.w3.org/2000/svg}text")}
    assert "rounds" in words and "steps" not in words
