"""Pictures of a run: their content, from tables and numbers made by hand."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.lines import Line2D
from safetensors.numpy import save_file

from orchestrator.report.charts import coordination_table_chart as coordination_tables
from orchestrator.report.charts.chart_style import Picture
from orchestrator.report.charts.run_charts import CurvePanel, PanelLine, draw, learning_panels, line_panels, read_tables, thinned
from orchestrator.results.metric_series import BINS, MetricPoint, Series, pooled

SVG = "{http://www.w3.org/2000/svg}"
TABLE = np.array([[0.0, 0.0, 0.5, 0.0], [0.0, 0.25, 0.0, 0.0], [0.9, 0.0, 0.0, 0.0]])
"""goals 0, 1, 2 are messages 2, 1, 0; message 3 is nothing"""


def words(picture: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(picture).iter(f"{SVG}text")]


def written(picture: Picture) -> set[str]:
    """All text of a drawing."""
    return set(words(picture.svg))


def points(line: Line2D) -> list[list[float]]:
    found: list[list[float]] = np.column_stack(line.get_data()).tolist()
    return found


# --- tables -------------------------------------------------------------------------------------------------------------------------


def test_messages_stand_in_the_order_of_their_goals() -> None:
    assert coordination_tables.message_order(TABLE) == [2, 1, 0, 3]
    twice = np.array([[0.2, 0.0, 0.4], [0.0, 0.0, 0.0]])
    assert coordination_tables.message_order(twice) == [2, 0, 1], "the stronger synonym first, and last what means nothing"


def test_a_table_as_a_heat_map() -> None:
    picture = coordination_tables.picture({"agent-0": TABLE, "agent-1": np.zeros((3, 4))}, ["{0}", "{1}", "{0,1}"], 2, "Tables <of> x")
    first, second, _ = picture.figure.axes
    order = coordination_tables.message_order(TABLE)
    for axes, table in ((first, TABLE), (second, np.zeros((3, 4)))):
        (image,) = axes.images
        assert np.array_equal(np.asarray(image.get_array()), table[:, order]) and image.norm.vmin == 0 and image.norm.vmax == 1
    assert [label.get_text() for label in first.get_yticklabels()] == ["{0}", "{1}", "{0,1}"]
    assert [label.get_text() for label in first.get_xticklabels()] == ["2", "1", "0", "3"]
    assert {"Tables <of> x", "agent-0", "agent-1", "{0,1}", "message", "expected reward"} <= written(picture)
    assert "agent-0: {0} message 2, {1} message 1, {0,1} message 0; agent-1: no values" in picture.description


def test_many_agents_and_large_tables_stay_a_picture() -> None:
    many = coordination_tables.picture({f"agent-{i}": TABLE for i in range(coordination_tables.DRAWN + 5)}, ["a", "b", "c"], 0, "many")
    assert "many (and 5 more agents)" in written(many) and len(many.figure.axes) == coordination_tables.DRAWN + 1
    large = np.random.default_rng(0).random((210, 300)) * 0.9 + 0.1
    picture = coordination_tables.picture({"agent-0": large, "agent-1": large}, [str(g) for g in range(210)], 20, "large")
    assert np.asarray(picture.figure.axes[0].images[0].get_array()).shape == (210, 300)
    assert len(words(picture.svg)) < 200, "labels that would overlap are left out"
    assert len(picture.svg) < 1_000_000


# --- curves -------------------------------------------------------------------------------------------------------------------------


def test_long_curves_are_thinned_to_means() -> None:
    assert thinned([(0.0, 1.0), (1.0, 3.0)], 2) == [(0.0, 1.0), (1.0, 3.0)]
    assert thinned([(float(k), float(k % 2)) for k in range(8)], 4) == [(0.5, 0.5), (2.5, 0.5), (4.5, 0.5), (6.5, 0.5)]


def test_points_lie_where_they_belong() -> None:
    """Lines are sorted by step; panels and lines without points are left out."""
    lines = [PanelLine("line", [(100.0, 1.0), (0.0, 0.0)]), PanelLine("dots", [(50.0, 0.5)], True), PanelLine("none", [])]
    picture = line_panels(
        "name", "title", [CurvePanel("first", lines, 1.0), CurvePanel("nothing", [PanelLine("none", [])], 1.0)], "steps", headed=True
    )
    (axes,) = picture.figure.axes
    drawn = {line.get_label(): line for line in axes.lines}
    assert set(drawn) == {"line", "dots"}
    assert points(drawn["line"]) == [[0, 0], [100, 1]] and drawn["line"].get_marker() in ("", "None")
    assert points(drawn["dots"]) == [[50, 0.5]] and drawn["dots"].get_marker() == "s"
    assert drawn["line"].get_color() != drawn["dots"].get_color()
    found = written(picture)
    assert {"first", "line", "dots", "title", "steps", "0.75", "100"} <= found and not {"nothing", "none"} & found
    assert "title" not in written(line_panels("name", "title", [CurvePanel("first", lines)], "steps"))


def test_lines_with_one_label_look_alike_in_all_panels() -> None:
    rising = [(0.0, 1.0), (1.0, 2.0)]
    panels = [CurvePanel("a", [PanelLine("one", rising), PanelLine("two", rising)]), CurvePanel("b", [PanelLine("two", rising)])]
    first, second = line_panels("name", "title", panels, "steps").figure.axes
    looks = [{line.get_label(): (line.get_color(), line.get_linestyle()) for line in axes.lines} for axes in (first, second)]
    assert looks[0]["two"] == looks[1]["two"] != looks[0]["one"]


@pytest.mark.parametrize(
    ("values", "top", "limits"),
    [([0.1, 0.5], 1.0, (0.0, 1.0)), ([0.5, 1.2], 1.0, (0.0, 1.2)), ([-200.0, 0.0], None, (-200.0, 0.0)), ([0.0, 0.0], None, (0.0, 1.0))],
)
def test_the_vertical_axis_holds_all_values(values: list[float], top: float | None, limits: tuple[float, float]) -> None:
    panel = CurvePanel("return", [PanelLine("training", list(enumerate(values)))], top)
    (axes,) = line_panels("name", "title", [panel], "steps").figure.axes
    low, high = axes.get_ylim()
    room = 0.06 * (limits[1] - limits[0])
    assert limits[0] - room <= low <= limits[0] and limits[1] <= high <= limits[1] + room


def test_the_drawing_is_repeatable_and_its_identifiers_are_its_own() -> None:
    panels = [CurvePanel("a <b>", [PanelLine("one", [(0.0, 1.0), (1.0, 2.0)])])]
    first, again, other = (line_panels(name, "t & u", panels, "steps").svg for name in ("x", "x", "y"))
    assert first == again
    ids = [{element.get("id") for element in ElementTree.fromstring(svg).iter()} - {None} for svg in (first, other)]
    assert ids[0] and not ids[0] & ids[1]
    assert "a <b>" in words(first) and ElementTree.fromstring(first).findtext(f"{SVG}title") == "t & u"


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
    panels = learning_panels(series_of(**{"return": [1.0, 7.0]}))
    assert [(panel.title, panel.top) for panel in panels] == [("Return, sum over the members", None)]


def test_what_most_agents_have_reported_is_drawn_of_all() -> None:
    """agent-0 has one report more than agent-1."""
    series: Series = {}
    for agent, values in (("agent-0", [0.2, 0.4, 1.0]), ("agent-1", [0.4, 0.8])):
        series.setdefault("negotiation.self_consistency", {})[agent] = [
            MetricPoint(float(k), 0, 0, value) for k, value in enumerate(values)
        ]
        series.setdefault("environment.steps", {})[agent] = [MetricPoint(float(k), 0, 0, 100.0 * k) for k in range(len(values))]
    (own,) = [line for panel in learning_panels(series) for line in panel.drawn]
    assert own.label == "each itself" and own.points == [(0.0, pytest.approx(0.3)), (100.0, pytest.approx(0.6))]


def make_run(directory: Path) -> Path:
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps({"environment": {"id": "landmarks", "options": {"landmarks": 2}}}))
    for agent in ("agent-0", "agent-2", "agent-10"):
        folder = directory / "nodes" / agent / "checkpoints"
        folder.mkdir(parents=True)
        save_file({"negotiation/table": TABLE, "learner/weight": np.zeros(3, np.float32)}, folder / "000000000007.safetensors")
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
    assert {"Coordination tables in night after 9 training episodes", "{0}", "{1}", "{0,1}"} <= {*tables}
    learning = words((run / "plots" / "learning.svg").read_text())
    assert "Alignment of goals" in learning and "Specialization" not in learning
    assert draw(run) and not list((run / "plots").glob(".*")), "again, and nothing is left beside"


def test_memories_and_bounds_of_the_first_agent_are_drawn(tmp_path: Path) -> None:
    run = make_run(tmp_path / "night")
    for agent in ("agent-10", "agent-2"):
        rows = [
            {"t": float(k), "step": 100 * k, "episode": 9, "name": name, "value": k / 4}
            for k in range(3)
            for name in ("mi.superior.least", "mi.low")
        ]
        (run / "nodes" / agent / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    draw(run)
    learning = words((run / "plots" / "learning.svg").read_text())
    assert {"Returns in the memories of agent-2", "superior, least", "Bounds of mutual information of agent-2", "lower"} <= {*learning}
    assert "superior, greatest" not in learning


def test_damaged_checkpoints_and_other_parts_are_left_out(tmp_path: Path) -> None:
    run = make_run(tmp_path / "night")
    (run / "nodes" / "agent-0" / "checkpoints" / "000000000007.safetensors").write_bytes(b"torn")
    (run / "nodes" / "agent-2" / "checkpoints" / "LATEST").write_text("000000000008")
    save_file({"learner/weight": np.zeros(3)}, run / "nodes" / "agent-10" / "checkpoints" / "000000000007.safetensors")
    assert read_tables(run) == {}
    assert [path.name for path in draw(run)] == ["learning.svg"]
