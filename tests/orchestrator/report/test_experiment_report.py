"""The report of an experiment: every number in it is one of its data, it needs no other file, and it names what is missing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from orchestrator.report import report
from orchestrator.report.experiment.experiment_analysis import analyse
from orchestrator.results.statistics.estimate import estimate, interquartile_mean
from orchestrator.results.statistics.group_comparison import probability_of_improvement
from orchestrator.results.statistics.runs_table import Curve, RunsTable
from orchestrator.results.statistics.time_to_threshold import time_to_threshold
from orchestrator.results.statistics.tolerance import tolerance
from tests.orchestrator.report.material import design, results
from tests.orchestrator.report.report_reading import data_of, numbers_in, page_of, unfounded


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a finished experiment."""
    return report(results(), tmp_path_factory.mktemp("whole")).parent


@pytest.fixture(scope="module")
def partial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of one that goes on: cell 7 has failed, 20 waits, 21 runs."""
    return report(results(states={7: "FAILED", 20: "WAITING", 21: "RUNNING"}), tmp_path_factory.mktemp("partial")).parent


def row_of(text: str, *labels: str) -> list[str]:
    """Cells of the first table row that begins with these."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| ")]
    return next(cells for cells in lines if tuple(cells[: len(labels)]) == labels)


def test_tables_have_the_figures_of_the_statistics(whole: Path) -> None:
    text, table = (whole / "report.md").read_text(), results().table
    for factors in design().combinations():
        sample = table.sample("return", factors)
        found = estimate(sample, interquartile_mean)
        assert found.value is not None and found.interval is not None
        cells = row_of(text, *factors.values())
        assert cells[2:4] == [f"{found.value:.3f}", f"[{found.interval[0]:.3f}, {found.interval[1]:.3f}]"]
        assert cells[5:7] == ["6", "0"]
        if factors["delay"] == "0ms":
            assert cells[7] == "baseline"
        else:
            better = probability_of_improvement(sample, table.sample("return", {**factors, "delay": "0ms"}))
            assert better.interval is not None
            assert cells[7] == f"{better.value:.2f} [{better.interval[0]:.2f}, {better.interval[1]:.2f}]"
        waiting = time_to_threshold(table.curves("return", factors), 0.6)
        assert cells[8].startswith(f"{waiting.median.value:,.0f} " if waiting.reached > 3 else ("never", "20,000"))
        assert cells[8].endswith(f"({waiting.reached} of 6)")


def test_the_answer_names_the_ends_and_the_verdicts(whole: Path) -> None:
    text, table = (whole / "report.md").read_text(), results().table
    answer = text.split("## ")[0]
    values = {tuple(f.values()): estimate(table.sample("return", f)).value or 0.0 for f in design().combinations()}
    best, worst = max(values, key=values.__getitem__), min(values, key=values.__getitem__)
    first = answer[answer.index("`return` was best") : answer.index("Against")]
    assert (
        first.index(f"delay={best[0]}, topology={best[1]}") < first.index("worst") < first.index(f"delay={worst[0]}, topology={worst[1]}")
    )
    assert f"{values[best]:.3f} [" in first and f"{values[worst]:.3f} [" in first
    assert "Of 2 expectations, 1 holds, 1 fails." in answer
    assert design().question in answer
    verdicts = results().verdicts
    assert [verdict.holds for verdict in verdicts] == [True, False]
    assert all(verdict.text.partition(": ")[2].split(" ")[0] in text for verdict in verdicts)


@pytest.mark.parametrize("which", ["whole", "partial"])
def test_every_number_is_one_of_the_data(which: str, request: pytest.FixtureRequest) -> None:
    directory = request.getfixturevalue(which)
    text = (directory / "report.md").read_text()
    assert len(list(numbers_in(text))) > 400
    assert unfounded(text, data_of(directory / "report.html")) == []


def test_a_typed_number_would_be_found(whole: Path) -> None:
    data = data_of(whole / "report.html")
    text = (whole / "report.md").read_text()
    assert unfounded(text + "\nabout 0.7391 of them\n", data) == ["0.7391"]
    moved = text.replace("Against the baseline", "In 41.75 % of all cases. Against the baseline")
    assert unfounded(moved, data) == ["41.75"]


def test_numbers_follow_the_table(whole: Path, tmp_path: Path) -> None:
    of = design(report=[])
    other = report(results(of, value=lambda factors, seed: 7.0 + 0.37 * seed + len(factors["topology"])), tmp_path)
    text = other.with_name("report.md").read_text()
    assert unfounded(text, data_of(other)) == []
    assert unfounded(text, data_of(whole / "report.html")), "numbers of another table are not those of this one"


def test_what_is_missing_is_said(partial: Path) -> None:
    text = (partial / "report.md").read_text()
    assert "33 of 36 are done; 1 waiting, 1 running, 1 failed." in text
    one = row_of(text, "0ms", "complete")
    assert one[5:8] == ["5", "1", "0"]
    points = sorted(
        results(states={20: "WAITING", 21: "RUNNING"}).table.sample("return", {"delay": "100ms", "topology": "complete"}).points
    )
    few = row_of(text, "100ms", "complete")
    assert few[3] == ", ".join(f"{point:.3f}" for point in points), "points in the place of an interval"
    assert few[5:8] == ["4", "0", "2"]
    failures = text[text.index("## Failures") : text.index("## How to read this")]
    assert "ValueError: <no> `reason` | at *all*" in failures
    assert "orchestrate up base.yaml delay=0ms topology=complete --seed 1" in failures


def test_runs_that_never_came_to_it_are_no_failures_and_are_not_left_out(tmp_path: Path) -> None:
    factors = {"delay": {"key": "a", "values": ["0ms", "100ms", "500ms"]}}
    measure = [{"metric": "recovery_time.max", "node": "faults", "higher": "worse"}]
    of = design(factors=factors, measure=measure, expect=[], report=["profile", "heatmap"], seeds="0..4")
    values = {"0ms": [3.0, 3.1, 3.2, 3.3, 3.4], "100ms": [1.0, 1.1, 1.2, 1.3, inf], "500ms": [1.0, inf, inf, inf, inf]}
    made = results(of, value=lambda factors, seed: values[factors["delay"]][seed], curves=False)
    page = report(made, tmp_path)
    text = page.with_name("report.md").read_text()
    answer = text.split("## ")[0]
    assert "best with **delay=100ms**: 1.20 [1.07, ∞] (interquartile mean of 5 runs, 1 of them never; 95 % interval)" in answer
    assert "worst with **delay=500ms**: never [∞, ∞] (5 runs, 4 of them never)" in answer
    assert row_of(text, "500ms")[1] == "never" and row_of(text, "500ms")[4:6] == ["5", "0"]
    failures = text[text.index("## Failures") :]
    assert row_of(failures, "delay=100ms") == ["delay=100ms", "4", "recovery_time.max"]
    assert unfounded(text, data_of(page)) == []


def test_nothing_has_ended_yet(tmp_path: Path) -> None:
    page = report(results(states=dict.fromkeys(range(36), "WAITING")), tmp_path)
    text = page.with_name("report.md").read_text()
    assert "0 of 36 are done; 36 waiting. No statement is possible before one has ended." in text
    assert unfounded(text, data_of(page)) == []


def test_the_same_table_gives_the_same_bytes(whole: Path, tmp_path: Path) -> None:
    again = report(results(), tmp_path).parent
    files = sorted(path.relative_to(whole) for path in whole.rglob("*") if path.is_file())
    assert len(files) > 10
    assert files == sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    assert [(whole / path).read_bytes() == (again / path).read_bytes() for path in files] == [True] * len(files)


def test_the_page_needs_nothing_else(partial: Path) -> None:
    page = page_of(partial / "report.html")
    assert page.problems == []
    assert page.foreign == []
    assert page.scripts == ["application/json"]
    assert "default-src 'none'" in page.policy and "script" not in page.policy
    assert page.unresolved() == []
    assert len(page.ids) == len(set(page.ids)), "no identifier twice, with all plots in one page"
    assert page.drawings == page.described > 5


def test_drawings_are_xml_with_words(whole: Path) -> None:
    drawings = sorted((whole / "figures").glob("*.svg"))
    assert {path.stem for path in drawings} == {
        f"{kind}-{number}" for kind in ("curves", "heatmap", "improvement", "intervals", "profile") for number in (1, 2)
    }
    for path in drawings:
        root = ElementTree.parse(path).getroot()
        words = [element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}text")]
        assert words and all("$" not in word for word in words), "words stay words"
        assert len(root.findtext("{http://www.w3.org/2000/svg}desc") or "") > 40
        assert "http" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", path.read_text())


def test_what_is_asked_for_is_shown(tmp_path: Path) -> None:
    one = design(factors={"delay": {"key": "a", "values": ["0ms", "100ms"]}}, report=["curves"], expect=[], compare=None, seeds="0..1")
    page = report(results(one), tmp_path)
    assert {path.stem for path in (tmp_path / "figures").glob("*.svg")} == {"curves-1", "curves-2", "intervals-1", "intervals-2"}
    text = page.with_name("report.md").read_text()
    assert "P(better" not in text and "Expectations" not in text
    assert "fewer than 5 runs: no interval" in text


def test_three_factors_make_several_maps(tmp_path: Path) -> None:
    factors: Mapping[str, Any] = {
        "delay": {"key": "a", "values": ["0ms", "100ms"]},
        "topology": {"key": "b", "values": ["ring", "complete"]},
        "mode": {"key": "c", "values": ["mh", "pushsum", "trim"]},
    }
    of = design(factors=factors, report=["heatmap"], expect=[], seeds="0..1")
    report(results(of), tmp_path)
    words = {element.text for element in ElementTree.parse(tmp_path / "figures" / "heatmap-1.svg").getroot().iter() if element.text}
    assert {"mode=mh", "mode=pushsum", "mode=trim", "ring", "complete", "0ms", "100ms"} <= words


def test_titles_of_panels_beside_each_other_keep_to_their_panels(tmp_path: Path) -> None:
    factors: Mapping[str, Any] = {
        "delay": {"key": "a", "values": ["0ms", "100ms"]},
        "topology": {"key": "b", "values": ["ring", "complete"]},
        "mode": {"key": "c", "values": ["naive", "mass-conserving"]},
    }
    report(results(design(factors=factors, report=["curves"], expect=[], seeds="0..1")), tmp_path)
    words = {element.text for element in ElementTree.parse(tmp_path / "figures" / "curves-1.svg").getroot().iter() if element.text}
    assert {"topology=ring, mode=naive", "topology=complete,", "mode=mass-conserving"} <= words


@pytest.mark.parametrize(("points", "end"), [(36, 17_500), (33, 16_000), (32, 20_000), (1, 20_000)])
def test_a_curve_ends_where_the_first_of_its_runs_ends_unless_that_is_long_before_the_others(points: int, end: int) -> None:
    made = results(design(factors={}, expect=[], compare=None, measure=[{"metric": "return"}]))
    first, *others = made.table.rows
    assert first.curve is not None
    short = replace(first, curve=Curve(first.curve.steps[:points], first.curve.values[:points]))
    (found,) = analyse(replace(made, table=RunsTable.of([short, *others]))).measures[0].groups
    assert found.band is not None
    known = ~np.isnan(found.band.value)
    assert found.band.steps[known][-1] == end and found.band.steps[-1] == 20_000
    assert known.sum() == (found.band.steps <= end).sum(), "without gaps"


def test_runs_that_have_no_step_in_common_are_drawn() -> None:
    made = results(design(factors={}, expect=[], compare=None, measure=[{"metric": "return"}], seeds="0..2"))
    rows = [replace(row, curve=Curve(np.array([10.0 * n]), np.array([1.0 + n]))) for n, row in enumerate(made.table.rows)]
    (found,) = analyse(replace(made, table=RunsTable.of(rows))).measures[0].groups
    assert found.band is not None and found.band.value.tolist() == [1, 2, 3]


def test_without_factors_there_is_one_group(tmp_path: Path) -> None:
    page = report(results(design(factors={}, expect=[], compare=None)), tmp_path)
    assert "| all runs | " in page.with_name("report.md").read_text()


def test_old_figures_go(tmp_path: Path) -> None:
    report(results(design(report=["heatmap"])), tmp_path)
    assert (tmp_path / "figures" / "heatmap-1.svg").exists()
    report(results(design(report=[])), tmp_path)
    assert not list((tmp_path / "figures").glob("heatmap-*.svg"))


def test_what_each_group_bears(tmp_path: Path) -> None:
    of = design(compare={"baseline": {"delay": "0ms"}, "tolerance": "5%"})
    page = report(results(of), tmp_path)
    text = page.with_name("report.md").read_text()
    table = results(of).table
    section = text[text.index("## How much delay costs 5 %") : text.index("## Results: return")]
    for topology, truth in (("ring", 0.05 * 0.83 / 0.0009), ("complete", 0.05 * 0.83 / 0.0004)):
        samples = [table.sample("return", {"delay": delay, "topology": topology}) for delay in ("0ms", "100ms", "500ms")]
        found = tolerance([0, 100, 500], samples, 0.05)
        assert found.value is not None and found.interval is not None
        assert found.interval[0] <= truth <= found.interval[1]
        cells = row_of(section, topology)
        assert cells[1] == f"{float(f'{found.value:.3g}'):g}ms" and cells[3] == "18"
        assert f"{cells[1]} {cells[2]} with **topology={topology}**" in text.split("## ")[0]
    assert unfounded(text, data_of(page)) == []
    flat = report(results(of, value=lambda factors, seed: 1.0 + 0.001 * seed), tmp_path / "flat").with_name("report.md").read_text()
    assert row_of(flat[flat.index("## How much") :], "ring")[1:3] == [r"\> 500ms", r"[\> 500ms, \> 500ms]"]


def test_what_is_borne_is_said_of_values_that_have_runs_only(tmp_path: Path) -> None:
    measure = [{"metric": "loss", "higher": "worse"}]
    of = design(compare={"baseline": {"delay": "0ms"}, "tolerance": "5%"}, measure=measure, expect=[], report=[])
    # Cells 24 to 29 are those of 500ms in the ring.
    made = results(of, value=lambda factors, seed: 1.0 + 0.001 * seed, states=dict.fromkeys(range(24, 30), "FAILED"), curves=False)
    page = report(made, tmp_path)
    text = page.with_name("report.md").read_text()
    assert row_of(text, "ring")[1:3] == [r"\> 100ms", r"[\> 100ms, \> 100ms]"]
    assert row_of(text, "complete")[1:3] == [r"\> 500ms", r"[\> 500ms, \> 500ms]"]
    assert "**No run has a figure at** 500ms with topology=ring" in text
    answer, section = text.split("## ")[:2]
    assert "`loss` rises by 5 % at a delay of" in answer and section.startswith("How much delay raises loss by 5 %")
    assert "Delay at which loss rises by 5 %" in section and "rises to 5 % more than at 0ms" in section
    assert "lost" not in section and "falls" not in section
    assert unfounded(text, data_of(page)) == []
