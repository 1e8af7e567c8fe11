"""Pictures of a run: what they show, from tables and figures made by hand."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from safetensors.numpy import save_file

from orchestrator.report.charts import coordination_table_chart as coordination_tables
from orchestrator.report.charts.coordination_table_chart import colour
from orchestrator.report.charts.curve_panels import CurvePanel, PanelCurve, levels, number, sheet, thinned, ticks
from orchestrator.report.charts.run_charts import draw, learning_panels, read_tables
from orchestrator.results.metric_series import BINS, MetricPoint, Series, pooled

SVG = "{http://www.w3.org/2000/svg}"
TABLE = np.array([[0.0, 0.0, 0.5, 0.0], [0.0, 0.25, 0.0, 0.0], [0.9, 0.0, 0.0, 0.0]])
"""goals 0, 1, 2 are messages 2, 1, 0; message 3 is nothing"""


def words(picture: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(picture).iter(f"{SVG}text")]


def cells(picture: str) -> list[str]:
    """What the cells say when they are pointed at."""
    return [element.text or "" for box in ElementTree.fromstring(picture).iter(f"{SVG}rect") for element in box.iter(f"{SVG}title")]


# --- tables -------------------------------------------------------------------------------------------------------------------------


def test_messages_stand_in_the_order_of_their_goals() -> None:
    assert coordination_tables.message_order(TABLE) == [2, 1, 0, 3]
    twice = np.array([[0.2, 0.0, 0.4], [0.0, 0.0, 0.0]])
    assert coordination_tables.message_order(twice) == [2, 0, 1], "the stronger synonym first, and last what means nothing"


def test_a_table_as_a_heat_map() -> None:
    picture = coordination_tables.picture({"agent-0": TABLE, "agent-1": np.zeros((3, 4))}, ["{0}", "{1}", "{0,1}"], 2, "Tables <of> x")
    assert cells(picture) == ["{0} message 2: 0.50", "{1} message 1: 0.25", "{0,1} message 0: 0.90"], "those of agent-0; none of agent-1"
    written = words(picture)
    assert written[0] == "Tables <of> x"
    for word in ("agent-0", "agent-1", "{0,1}", "message", "reward to be expected"):
        assert word in written
    at = written.index("agent-0")
    assert written[at + 1 : at + 8] == ["{0}", "{1}", "{0,1}", "2", "1", "0", "3"]


def test_colours_go_from_pale_to_dark() -> None:
    shades = [sum(bytes.fromhex(colour(value)[1:])) for value in (0.0, 0.1, 0.3, 0.5, 0.8, 1.0)]
    assert shades == sorted(shades, reverse=True) and len(set(shades)) == len(shades)
    assert [colour(value) for value in (2.0, -1.0)] == [colour(value) for value in (1.0, 0.0)]


def test_many_agents_and_large_tables_stay_a_picture() -> None:
    many = {f"agent-{i}": TABLE for i in range(coordination_tables.DRAWN + 5)}
    assert "and 5 agents more" in words(coordination_tables.picture(many, ["a", "b", "c"], 0, "many"))
    large = np.random.default_rng(0).random((210, 300)) * 0.9 + 0.1
    picture = coordination_tables.picture({"agent-0": large, "agent-1": large}, [str(g) for g in range(210)], 20, "large")
    assert len(cells(picture)) == coordination_tables.CELLS
    assert len(words(picture)) < 400, "labels that would overlap are left out"


# --- curves -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("end", "expected"),
    [(1.0, [0, 0.25, 0.5, 0.75, 1]), (60, [0, 20, 40, 60]), (95_000, [0, 25_000, 50_000, 75_000]), (4.2e7, [0, 2e7, 4e7]), (0.003, None)],
)
def test_ticks(end: float, expected: list[float] | None) -> None:
    found = ticks(end)
    assert found[0] == 0 and 3 <= len(found) <= 6 and found[-1] <= end * (1 + 1e-9)
    assert expected is None or found == expected


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.1, 1.0, [0, 0.25, 0.5, 0.75, 1]),
        (0.5, 1.2, [0, 0.5, 1, 1.5]),
        (-165.0, -73.0, [-200, -150, -100, -50, 0]),
        (-1.0, 3.0, [-1, 0, 1, 2, 3]),
        (0.0, 0.0, [0, 0.25]),
    ],
)
def test_levels_hold_all_values_and_zero(low: float, high: float, expected: list[float]) -> None:
    assert levels(low, high) == expected


def test_negative_returns_lie_below_zero() -> None:
    picture = sheet("title", [CurvePanel("return", [PanelCurve("training", "#1", [(0.0, -200.0), (10.0, -100.0), (20.0, 0.0)])])], "steps")
    (line,) = ElementTree.fromstring(picture).iter(f"{SVG}polyline")
    low, middle, high = (float(place.split(",")[1]) for place in line.attrib["points"].split())
    assert high == 0.0 and middle == low / 2 and "-200" in words(picture)


def test_numbers_of_axes() -> None:
    assert [number(v) for v in (0, 0.25, 40, 25_000, 1.5e6, 2e9)] == ["0", "0.25", "40", "25 k", "1.5 M", "2 G"]


def test_long_curves_are_thinned_to_means() -> None:
    assert thinned([(0.0, 1.0), (1.0, 3.0)], 2) == [(0.0, 1.0), (1.0, 3.0)]
    assert thinned([(float(k), float(k % 2)) for k in range(8)], 4) == [(0.5, 0.5), (2.5, 0.5), (4.5, 0.5), (6.5, 0.5)]


def test_points_lie_where_they_belong() -> None:
    """On axes from 0 to 100 steps and from 0 to 1; panels without points are left out."""
    curves = [
        PanelCurve("line", "#000001", [(100.0, 1.0), (0.0, 0.0)]),
        PanelCurve("dots", "#000002", [(50.0, 0.5)], True),
        PanelCurve("none", "#3", []),
    ]
    picture = sheet("title", [CurvePanel("first", curves, 1.0), CurvePanel("nothing", [PanelCurve("none", "#3", [])], 1.0)], "steps")
    root = ElementTree.fromstring(picture)
    (dot, line), (circle,) = root.iter(f"{SVG}polyline"), root.iter(f"{SVG}circle")
    (x0, y0), (x1, y1) = (tuple(map(float, place.split(","))) for place in line.attrib["points"].split())
    assert (float(circle.attrib["cx"]), float(circle.attrib["cy"])) == pytest.approx(((x0 + x1) / 2, (y0 + y1) / 2))
    assert x0 == 0.0 and y1 == 0.0 and y0 > 100 and x1 > 200 and dot.attrib["stroke"] == "#000002"
    written = words(picture)
    assert "first" in written and "nothing" not in written and "none" not in written
    assert {"line", "dots", "title", "steps", "0.75"} <= {*written}


def test_a_return_above_the_best_is_not_cut_off() -> None:
    picture = sheet("title", [CurvePanel("return", [PanelCurve("training", "#1", [(0.0, 0.5), (10.0, 1.2)])], 1.0)], "steps")
    assert "1.5" in words(picture)


# --- a run --------------------------------------------------------------------------------------------------------------------------


def series_of(**figures: list[float]) -> Series:
    return {name: {"env-0": [MetricPoint(float(k), 10 * k, k, v) for k, v in enumerate(values)]} for name, values in figures.items()}


def test_windows_are_pooled_by_their_episodes() -> None:
    series = series_of(length=[10.0, 20.0, 30.0, 40.0], episodes=[1.0, 3.0, 4.0, 1.0])
    # Half of nine episodes is 4.5: the first three windows have eight, and what is left is too little for a bin of its own.
    assert [(b.step, b.value) for b in pooled(series, "length", 2)] == [(30, pytest.approx((10 + 60 + 120 + 40) / 9))]
    assert [b.value for b in pooled(series, "length", 4)] == pytest.approx([70 / 4, 160 / 5])
    # Three of the four episodes of the third window lost a member: its mean is over the one that is left.
    fewer = series | series_of(**{"episodes.whole": [1.0, 3.0, 1.0, 1.0]})
    assert [b.value for b in pooled(fewer, "length", 1)] == pytest.approx([(10 + 60 + 30 + 40) / 6])
    many = series_of(length=[float(k) for k in range(1000)], episodes=[5.0] * 1000)
    found = pooled(many, "length")
    assert len(found) == BINS and [b.value for b in found] == pytest.approx([24.5 + 50 * k for k in range(BINS)])
    assert pooled(many, "aligned") == []


def test_without_goals_the_raw_return_is_drawn() -> None:
    panels = [panel for panel in learning_panels(series_of(**{"return": [1.0, 7.0]})) if any(curve.points for curve in panel.curves)]
    assert [(panel.title, panel.top) for panel in panels] == [("Return, sum over the members", None)]


def test_what_most_agents_have_reported_is_drawn_of_all() -> None:
    """agent-0 has one report more than agent-1."""
    series: Series = {}
    for agent, values in (("agent-0", [0.2, 0.4, 1.0]), ("agent-1", [0.4, 0.8])):
        series.setdefault("negotiation.self_consistency", {})[agent] = [
            MetricPoint(float(k), 0, 0, value) for k, value in enumerate(values)
        ]
        series.setdefault("environment.steps", {})[agent] = [MetricPoint(float(k), 0, 0, 100.0 * k) for k in range(len(values))]
    (own,) = [curve for panel in learning_panels(series) for curve in panel.curves if curve.points]
    assert own.label == "each itself" and own.points == [(0.0, pytest.approx(0.3)), (100.0, pytest.approx(0.6))]


def make_run(directory: Path) -> Path:
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps({"environment": {"id": "landmarks", "options": {"landmarks": 2}}}))
    for agent in ("agent-0", "agent-2", "agent-10"):
        folder = directory / "nodes" / agent / "checkpoints"
        folder.mkdir(parents=True)
        save_file({"game/table": TABLE, "learner/weight": np.zeros(3, np.float32)}, folder / "000000000007.safetensors")
        (folder / "LATEST").write_text("000000000007")
    (directory / "nodes" / "env-0").mkdir()
    rows = [{"t": float(k), "step": 100 * k, "episode": 9, "name": "steps", "value": 1.0} for k in range(3)]
    rows += [{"t": float(k), "step": 100 * k, "episode": 9, "name": "aligned", "value": k / 4} for k in range(3)]
    (directory / "nodes" / "env-0" / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return directory


def test_a_run_is_drawn_from_its_directory(tmp_path: Path) -> None:
    run = make_run(tmp_path / "night")
    assert list(read_tables(run)) == ["agent-0", "agent-2", "agent-10"]
    assert [path.name for path in draw(run)] == ["learning.svg", "coordination_tables.svg"]
    tables = words((run / "plots" / "coordination_tables.svg").read_text())
    assert tables[0] == "Coordination tables in night after 9 training episodes" and {"{0}", "{1}", "{0,1}"} <= {*tables}
    learning = words((run / "plots" / "learning.svg").read_text())
    assert "Alignment of goals" in learning and "Specialization" not in learning
    assert draw(run) and not list((run / "plots").glob(".*")), "again, and nothing is left beside"


def test_damaged_checkpoints_and_other_parts_are_left_out(tmp_path: Path) -> None:
    run = make_run(tmp_path / "night")
    (run / "nodes" / "agent-0" / "checkpoints" / "000000000007.safetensors").write_bytes(b"torn")
    (run / "nodes" / "agent-2" / "checkpoints" / "LATEST").write_text("000000000008")
    save_file({"learner/weight": np.zeros(3)}, run / "nodes" / "agent-10" / "checkpoints" / "000000000007.safetensors")
    assert read_tables(run) == {}
    assert [path.name for path in draw(run)] == ["learning.svg"]
