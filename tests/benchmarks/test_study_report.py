"""Metrics of experiments: from a run's rows to curves, intervals and lines of a document."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import study_report as report
from benchmarks.study_report import Report

REPORT = Report(Path("page.md"), ("success.cooperative", "return"), ("eval.own.success.cooperative",))


def run(directory: Path) -> Path:
    """Two windows of training in each twentieth of 2,000 steps, and an evaluation at both ends."""
    rows = [{"name": "eval.own.success.cooperative", "step": step, "value": value} for step, value in ((0, 0.1), (2000, 0.8))]
    for window in range(40):
        step = 50 * (window + 1)
        rows.append({"name": "success.cooperative", "step": step, "value": window % 2})
        rows.append({"name": "return", "step": step, "value": step / 1000})
        rows.append({"name": "episodes", "step": step, "value": 30 if window % 2 else 10})
        rows.append({"name": "of no interest", "step": step, "value": 1.0})
    rows.append({"name": "return", "step": 2300, "value": 2.0})
    rows.append({"name": "episodes", "step": 2300, "value": 40})
    write(directory / "nodes" / "env-0", [row | {"t": row["step"] / 100} for row in rows])
    (directory / "config.json").write_text(json.dumps({"until": {"steps": 2000}}))
    return directory


def write(node: Path, rows: list[dict[str, Any]]) -> None:
    node.mkdir(parents=True)
    (node / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_windows_are_weighted_by_their_episodes(tmp_path: Path) -> None:
    curves = REPORT.summarise(run(tmp_path))
    assert curves["success.cooperative"][0] == (200, 0.75)
    assert [steps for steps, _ in curves["return"]] == list(range(200, 2001, 100)), "of the first episodes only the short ones have ended"
    assert curves["eval.own.success.cooperative"] == [(0, 0.1), (2000, 0.8)]
    assert curves["return"][-1][1] == pytest.approx((1.95 * 10 + 2.0 * 30 + 2.0 * 40) / 80), "steps of evaluations that ran on"
    assert "of no interest" not in curves


def test_figures_of_agents_stand_at_what_the_environment_had_played_by_then(tmp_path: Path) -> None:
    directory = run(tmp_path)
    for agent, value in ((0, 1.0), (1, 3.0)):  # who counts its steps twice as fast
        write(
            directory / "nodes" / f"agent-{agent}",
            [{"t": t, "step": 2 * 100 * t, "name": "teacher.reached", "value": value + t} for t in (0.5, 1.5, 20.0)],
        )
    curves = replace(REPORT, agents=("teacher.reached",)).summarise(directory)
    assert curves["teacher.reached"] == [(100, 2.5), (200, 3.5), (2000, 22.0)]


def test_marks_are_made_of_all_rows(tmp_path: Path) -> None:
    directory = run(tmp_path)
    write(directory / "nodes" / "agent-0", [{"name": "loss", "step": 7, "t": 10.0, "value": 3.0}])
    marked = replace(REPORT, agents=("loss",), marks=lambda rows, agents: {"first": rows["of no interest"][:1], "last": agents["loss"]})
    curves = marked.summarise(directory)
    assert curves["first"] == [(50, 1.0)] and curves["last"] == [(1000, 3.0)], "at what the environment had played by then"


def test_figures_are_kept_and_replaced(tmp_path: Path) -> None:
    kept = replace(REPORT, document=tmp_path / "figures.md")
    directory = run(tmp_path / "run")
    for seed in (0, 1, 0):
        kept.keep("methods", "game", seed, directory)
    figures = kept.read()
    assert figures.keys() == {("methods", "game", 0), ("methods", "game", 1)}
    assert figures["methods", "game", 0]["success.cooperative"][-1] == (2000, 0.75)
    assert len(report.rows_of("methods", ["game"], {"unknown": ("unknown", ".2f")}, figures)) == 2, "a line without any figure is left out"
    lines = report.rows_of("methods", ["game", "nobody"], {"pairs": ("success.cooperative", ".2f")}, figures)
    assert lines[2:] == ["| game | 2 | 2,000 | 0.75, 0.75 |"]


def test_a_cell_is_the_interquartile_mean_and_its_interval() -> None:
    middle, low, high = (float(word.strip("[],")) for word in report.cell([0.0, 0.4, 0.5, 0.6, 1.0], ".2f").split())
    assert middle == pytest.approx(0.5)
    assert 0.0 <= low < 0.5 < high <= 1.0
    assert report.cell([], ".2f") == "–"
    assert report.cell([0.123], ".2f") == "0.12"
    assert report.cell([0.1, 0.4, 0.2, 0.3], ".1f") == "0.1, 0.4, 0.2, 0.3", "no interval of fewer than five"


def test_tukeys_test_names_the_pairs_that_are_apart() -> None:
    low, high, higher = [0.1, 0.12, 0.11, 0.1, 0.12], [0.9, 0.91, 0.92, 0.9, 0.92], [0.9, 0.93, 0.91, 0.92, 0.9]
    text = report.differences({"low": low, "high": high, "higher": higher, "four": [0.5] * 4})
    assert "low and high" in text and "low and higher" in text
    assert "high and higher" not in text and "four" not in text
    assert report.differences({"low": [0.1] * 5}) == ""
    assert report.differences({"low": [0.1] * 5, "same": [0.1] * 5}) == "All values are equal."


def test_tables_go_to_their_places(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text("before\n<!-- methods -->\nold\n<!-- end of methods -->\nafter\n")
    kept = replace(REPORT, document=document)
    kept.write({"methods": ["| a |", "| b |"]})
    assert document.read_text() == "before\n<!-- methods -->\n| a |\n| b |\n<!-- end of methods -->\nafter\n"
    with pytest.raises(ValueError, match="has no place for six"):
        kept.write({"six": ["x"]})
