"""Statements of a report about groups and factors are supported by their runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.report import report
from orchestrator.report.experiment.experiment_analysis import analyse
from orchestrator.results.statistics.runs_table import Curve, RunRow, RunsTable
from tests.orchestrator.report.material import design, results
from tests.orchestrator.report.report_reading import data_of, unfounded


def test_differences_from_the_baseline_are_tested_together(tmp_path: Path) -> None:
    factors = {"delay": {"key": "a", "values": ["0ms", "100ms", "200ms", "500ms"]}}
    of = design(factors=factors, expect=[], report=[])
    level = {"0ms": 0.0, "100ms": 0.1, "200ms": 0.1, "500ms": 10.0}
    page = report(results(of, value=lambda factors, seed: seed - level[factors["delay"]], curves=False), tmp_path)
    answer = page.with_name("report.md").read_text().split("## ")[0]
    assert (
        "Against the baseline delay=0ms: significantly worse **delay=500ms** (0.00 [0.00, 0.00]); not distinguished **delay=100ms** ("
        in answer
    )
    assert "Mann and Whitney's rank test with Holm's correction, 5 %)." in answer
    found = {tuple(one["factors"].values()): one["p_value"] for one in data_of(page)["measures"][0]["against_baseline"]}
    assert found["500ms",] == pytest.approx(3 * 2 / 924) and found["100ms",] > 0.5
    few = design(factors=factors, expect=[], report=[], seeds="0..3")
    page = report(results(few, value=lambda factors, seed: seed - level[factors["delay"]], curves=False), tmp_path / "few")
    assert "there are too few runs to distinguish anything" in page.with_name("report.md").read_text()


def test_differences_from_the_baseline_are_those_within_the_other_factors(tmp_path: Path) -> None:
    of = design(expect=[], report=[], seeds="0..3")
    level = {"0ms": 0.0, "100ms": 0.3, "500ms": 2.5}

    def value(factors: Mapping[str, str], seed: int) -> float:
        return seed - level[factors["delay"]] + (100.0 if factors["topology"] == "ring" else 0.0)

    page = report(results(of, value=value, curves=False), tmp_path)
    text = page.with_name("report.md").read_text()
    start = "Against the baseline delay=0ms, over all values of topology: significantly worse **delay=500ms** ("
    assert start in text and "; not distinguished **delay=100ms** (" in text and "van Elteren's rank test" in text.split("## ")[0]
    assert unfounded(text, data_of(page)) == []


@pytest.mark.parametrize(("test", "told"), [("ratio", "ratio to it 0.194 ["), ("difference", "difference from it -2.50 [")])
def test_where_a_value_differs_for_some_of_the_others_alone_the_farthest_is_named(tmp_path: Path, test: str, told: str) -> None:
    def value(factors: Mapping[str, str], seed: int) -> float:
        return 3.0 + 0.1 * (seed % 3) - (2.5 if factors == {"delay": "500ms", "topology": "ring"} else 0.0)

    def sentence(**changes: Any) -> str:
        of = design(expect=[], report=[], compare={"baseline": {"delay": "0ms"}, "test": test}, **changes)
        page = report(results(of, value=value, curves=False), tmp_path)
        text = page.with_name("report.md").read_text()
        assert unfounded(text, data_of(page)) == []
        return text.split("## ")[0]

    assert f"Of single groups, **delay=500ms, topology=ring** is farthest from the baseline: {told}" in sentence()
    delays = {"key": "a", "values": ["0ms", "500ms"]}
    assert "farthest from" not in sentence(factors={"delay": delays}), "nothing is pooled"
    assert "farthest from" not in sentence(factors={"delay": delays, "topology": {"key": "b", "values": ["star", "complete"]}})


def test_factors_are_compared_over_what_their_values_have_in_common(tmp_path: Path) -> None:
    def value(factors: Mapping[str, str], seed: int) -> float:
        return {"0ms": 1.0, "500ms": 0.9}[factors["delay"]] - (0.5 if factors["topology"] == "ring" else 0.0) + 0.001 * seed

    def sentence(cells: list[dict[str, str]] | None, states: Mapping[int, str] | None = None) -> str:
        factors = {**design().model_dump()["factors"], "delay": {"key": "a", "values": ["0ms", "500ms"]}}
        of = design(factors=factors, cells=cells, expect=[], compare=None, report=[], seeds="0..4")
        page = report(results(of, value=value, states=states, curves=False), tmp_path)
        assert unfounded(page.with_name("report.md").read_text(), data_of(page)) == []
        return page.with_name("report.md").read_text().split("## ")[0]

    ring, slow, star = (
        {"delay": "0ms", "topology": "ring"},
        {"delay": "500ms", "topology": "ring"},
        {"delay": "0ms", "topology": "complete"},
    )
    assert "**topology** moves it most: 0.952 [0.951, 0.953] at complete, 0.452" in sentence(None), "delays are no chance"
    assert "over all values of the others" in sentence(None)
    shared = sentence([ring, slow, star])
    assert "**topology** moves it most: 1.00 [1.00, 1.00] at complete, 0.50 [0.50, 0.50]" in shared, "of 0ms alone, where both have runs"
    assert "over what its values have in common" in shared
    assert "moves it most" not in sentence([slow, star]), "nothing is in common"
    # 500ms, complete: cells 15 to 19.
    assert sentence(None, dict.fromkeys(range(15, 20), "FAILED")).count("over what its values have in common") == 1


def test_groups_without_figures_are_not_among_all(tmp_path: Path) -> None:
    expect = [{"metric": "return", "where": {"delay": "500ms"}, "op": ">", "value": 0.0}]
    for state, groups, judged in (
        ("FAILED", "in the 4 groups that have a figure (", "cannot be judged, which counts as failed."),
        ("WAITING", "in the 4 groups that have a figure yet (", "cannot be judged yet."),
    ):
        of = design(expect=expect, report=[])
        page = report(results(of, value=lambda factors, seed: 1.0, states=dict.fromkeys(range(24, 36), state), curves=False), tmp_path)
        answer = page.with_name("report.md").read_text().split("## ")[0]
        assert groups in answer and judged in answer


def test_of_a_baseline_is_said_how_much_it_has_in_common_with_the_others(tmp_path: Path) -> None:
    cells = [
        {"delay": "0ms", "topology": "ring"},
        {"delay": "0ms", "topology": "complete"},
        {"delay": "500ms", "topology": "ring"},
    ]
    page = report(results(design(cells=cells, expect=[], report=[]), curves=False), tmp_path)
    answer = page.with_name("report.md").read_text().split("## ")[0]
    assert "Against the baseline delay=0ms, over what its values have in common: " in answer and "over all values" not in answer
    assert "Mann and Whitney's rank test" in answer, "within the ring alone"


def test_groups_that_are_as_good_are_named_or_counted(tmp_path: Path) -> None:
    levels = {"a": 2.0, "b": 1.0, "c": 2.0, "d": 1.0, "e": 1.0, "f": 1.0}
    factors = {"kind": {"key": "k", "values": [*levels]}}
    of = design(factors=factors, expect=[], compare=None, report=[], seeds="0..1")
    page = report(results(of, value=lambda factors, seed: levels[factors["kind"]], curves=False), tmp_path)
    text = page.with_name("report.md").read_text()
    assert "was best with **kind=a** (as with **kind=c**): 2.00" in text
    assert "and worst with **kind=f** (as with 3 others): 1.00" in text
    assert unfounded(text, data_of(page)) == []


def test_copies_of_runs_are_told_of_and_are_no_evidence(tmp_path: Path) -> None:
    factors = {
        "loss": {"key": "a", "values": ["none", "some"]},
        "useless": {"key": "b", "values": [20, 30, 40, 50, 60]},
    }

    def answer(value: Callable[[Mapping[str, str], int], float]) -> tuple[str, list[dict[str, Any]]]:
        of = design(factors=factors, compare={"baseline": {"loss": "none"}}, expect=[], report=[], seeds="0..1")
        page = report(results(of, value=value, curves=False), tmp_path)
        return page.with_name("report.md").read_text().split("## ")[0], data_of(page)["measures"][0]["against_baseline"]

    def worse(factors: Mapping[str, str], seed: int) -> float:
        return seed - (10.0 if factors["loss"] == "some" else 0.0)

    text, (found,) = answer(worse)
    assert "**useless** changes no metric: its runs are copies of each other" in text
    assert "Against the baseline loss=none: not distinguished **loss=some**" in text and "too few runs" in text
    assert (found["n"], found["conditions"]) == (4, 1) and found["p_value"] == pytest.approx(2 / 6)
    text, (found,) = answer(lambda factors, seed: worse(factors, seed) + 0.001 * int(factors["useless"]))
    assert "changes no metric" not in text and "over all values of useless: significantly worse" in text
    assert (found["n"], found["conditions"]) == (20, 5)


def test_captions_say_what_a_figure_is_of(tmp_path: Path) -> None:
    measure = [{"metric": "return"}, {"metric": "recovery_time.max", "node": "faults"}, {"metric": "episodes", "node": "summary"}]
    caption = "**return, mean of the final 10% (higher is better)**"
    for with_, captions in (
        ("up", (caption, "**recovery_time.max (higher is better)**", "**episodes (higher is better)**")),
        ("simulate", ("**return, at the end (higher is better)**",)),
    ):
        of = design(**{"with": with_}, measure=measure if with_ == "up" else measure[:1], expect=[], report=[], seeds=0)
        for curves in (True, False):
            text = report(results(of, curves=curves), tmp_path).with_name("report.md").read_text()
            assert all(one in text for one in captions), "whether or not there are curves"


def test_the_data_tell_runs_to_come_from_failed_ones(tmp_path: Path) -> None:
    states = {0: "FAILED", 1: "WAITING", 2: "RUNNING"}  # of six of 0ms, ring
    data = data_of(report(results(states=states, curves=False), tmp_path))
    group = data["measures"][0]["groups"][0]
    assert (group["n"], group["failed"], group["to_come"]) == (3, 1, 2)
    against = data["measures"][0]["against_baseline"][0]
    assert (against["failed"], against["to_come"]) == (1, 2)
    judged = data["expectations"][0]
    assert judged["baseline"]["to_come"] == 0, "of complete"


def test_maps_that_are_not_drawn_are_told_of(tmp_path: Path) -> None:
    factors = {**design().model_dump()["factors"], "mode": {"key": "c", "values": [f"m{number}" for number in range(13)]}}
    of = design(factors=factors, expect=[], compare=None, report=["heatmap"], seeds=0, measure=[{"metric": "return"}])
    page = report(results(of, curves=False), tmp_path)
    assert "The first 12 of 13 panels are drawn" in page.with_name("report.md").read_text()


def test_a_group_has_no_curve_where_one_run_is_left(tmp_path: Path) -> None:
    of = design(factors={}, expect=[], compare=None, report=["curves"], seeds="0..2", measure=[{"metric": "return"}])

    def goes_on(row: RunRow) -> RunRow:
        steps = np.arange(0, 101.0 if row.seed == 2 else 51.0)
        return replace(row, curve=Curve(steps, np.where(steps > 50, 9.0, 0.5 + 0.1 * row.seed)))

    made = results(of)
    made = replace(made, table=RunsTable.of(map(goes_on, made.table.rows)))
    band = analyse(made).measures[0].groups[0].band
    assert band is not None and band.steps[-1] == 100 and np.isfinite(band.value[:51]).all() and np.isnan(band.value[51:]).all()
    assert "all runs: from 0.600 to 0.600" in report(made, tmp_path).with_name("report.md").read_text()
