"""Pictures of a run, from its directory alone: `plots/learning.svg`, small panels of lines beside each other, and, where goals are
negotiated, `plots/coordination_tables.svg`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from orchestrator.launch.placement import natural
from orchestrator.report.charts import coordination_table_chart as coordination_tables
from orchestrator.report.charts.chart_style import Picture, colour, dashes, drawing, legend_above, marker, ticks
from orchestrator.results import number_text as numbers
from orchestrator.results.metric_series import ENVIRONMENT, EVALUATION, RUN, Series, pooled, read_series
from orchestrator.results.number_text import from_to
from orchestrator.results.run_files import read_json
from protocols.runtime.atomic_files import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes

logger = logging.getLogger(__name__)

TABLE = "negotiation/table"
"""name of the coordination table in an agent's checkpoint"""
_MODES = (("", "training"), ("eval.own.", "evaluation, own"), ("eval.aligned.", "evaluation, given"))
STEPS = "environment steps, all copies together"
"""the horizontal axis"""
_BINS = 60
"""points of a curve of training"""
_BY_MODE = (
    ("return.normalised", "Return, as a share of the best", 1.0),
    ("success.cooperative", "Success, cooperative goals", 1.0),
    ("success.individual", "Success, individual goals", 1.0),
    ("aligned", "Alignment of goals", 1.0),
    ("length", "Episode length, steps", None),
)
_OF_ONE_AGENT = {
    "Returns in the memories": {
        "mi.superior.greatest": "superior, greatest", "mi.superior.least": "superior, least",
        "mi.inferior.greatest": "inferior, greatest", "mi.inferior.least": "inferior, least",
    },
    "Bounds of mutual information": {"mi.low": "lower", "mi.up": "upper"},
}  # fmt: skip
"""panels of metrics of the first agent that has them, with the labels of their lines"""


def draw(directory: Path) -> list[Path]:
    """(Re)write the charts that have data, and return their paths. `OSError` where they can't be written."""
    series, pictures = read_series(directory), []
    if panels := learning_panels(series):
        pictures.append(line_panels("learning", f"Learning in {directory.name}", panels, STEPS, headed=True))
    if tables := read_tables(directory):
        shape = next(iter(tables.values())).shape
        names, individual = _goals(directory, shape[0])
        episodes = max((point.episode for point in series.get("steps", {}).get(ENVIRONMENT, [])), default=0)
        title = f"Coordination tables in {directory.name}" + (f" after {numbers.count(episodes)} training episodes" if episodes else "")
        alike = {agent: table for agent, table in tables.items() if table.shape == shape}
        pictures.append(coordination_tables.picture(alike, names, individual, title))
    paths = []
    for picture in pictures:
        (directory / "plots").mkdir(exist_ok=True)
        paths.append(directory / "plots" / f"{picture.name}.svg")
        write_whole(paths[-1], picture.svg.encode())
    return paths


def learning_panels(series: Series) -> list[CurvePanel]:
    """What `learning.svg` shows: metrics of training and of both evaluations over environment steps; panels without points are left out."""

    def line(name: str, label: str, node: str = ENVIRONMENT, sparse: bool = False) -> PanelLine:
        training = node == ENVIRONMENT and not name.startswith(EVALUATION)
        points = pooled(series, name, _BINS) if training else series.get(name, {}).get(node, [])
        return PanelLine(label, [(point.step, point.value) for point in points], sparse)

    panels: list[CurvePanel] = []
    normalised = "return.normalised" in series
    for name, title, top in _BY_MODE:
        if name == "return.normalised" and not normalised:
            name, title, top = "return", "Return, sum over the members", None
        panels.append(CurvePanel(title, [line(mode + name, label, sparse=bool(mode)) for mode, label in _MODES], top))
    own = PanelLine("each itself", _own_understanding(series))
    panels.append(CurvePanel("Accuracy of the convention", [line("convention.accuracy", "all pairs", RUN), own], 1.0))
    mastered = line("eval.aligned.diversity", "mastered", sparse=True)
    panels.append(CurvePanel("Diversity of goals", [line("goals.pursued_entropy", "entropy of pursued ones"), mastered], 1.0))
    published = line("eval.aligned.specialization.published", "as published", sparse=True)
    panels.append(CurvePanel("Specialization", [line("eval.aligned.specialization", "evaluation, given", sparse=True), published], 1.0))
    for title, names in _OF_ONE_AGENT.items():
        agent = min((node for name in names for node in series.get(name, {})), key=natural, default="")
        panels.append(CurvePanel(f"{title} of {agent}", [line(name, label, agent) for name, label in names.items()], None))
    return [panel for panel in panels if panel.drawn]


def _own_understanding(series: Series) -> list[Point]:
    """How far agents understand themselves, mean over the agents' k-th reports, over environment steps; up to the last that most have."""
    reports = []
    for node, points in series.get("negotiation.self_consistency", {}).items():
        steps = {point.time: point.value for point in series.get("environment.steps", {}).get(node, [])}
        reports.append([(steps[point.time], point.value) for point in points if point.time in steps])
    length = max(map(len, reports), default=0)
    there = [[report[k] for report in reports if k < len(report)] for k in range(length)]
    return [(sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)) for part in there if 2 * len(part) > len(reports)]


def read_tables(directory: Path) -> dict[str, NDArray[Any]]:
    """agent -> coordination table `[|G|, |M|]` of its newest checkpoint; agents without one are absent."""
    from safetensors import SafetensorError, safe_open

    tables = {}
    for node in sorted(directory.glob("nodes/*/checkpoints"), key=lambda path: natural(path.parent.name)):
        try:
            path = node / f"{(node / 'LATEST').read_text(encoding='utf-8').strip()}.safetensors"
            with safe_open(path, framework="numpy") as file:
                if TABLE in set(file.keys()):
                    table = np.asarray(file.get_tensor(TABLE))
                    if table.ndim == 2 and table.size:
                        tables[node.parent.name] = table
        except (OSError, ValueError, SafetensorError) as error:
            logger.info("no coordination table of %s: %s", node.parent.name, error)
    return tables


def _goals(directory: Path, count: int) -> tuple[list[str], int]:
    """Names of the goals, and how many of them need one body only; numbers where the environment has no names."""
    from env_server.environments.landmarks.settings import LandmarksOptions

    environment = read_json(directory / "config.json").get("environment") or {}
    if environment.get("id") == "landmarks":
        with suppress(ValidationError):
            space = LandmarksOptions.model_validate(environment.get("options") or {}).goal_space
            if space.count == count:
                return [space.name(goal) for goal in range(count)], int((~space.cooperative).sum())
    return [str(goal) for goal in range(count)], 0


Point = tuple[float, float]
ACROSS = 2
_POINTS = 240
"""points of a line that are drawn; longer lines are averaged over equal numbers of their points"""
_MARKED = 40
"""points of a line up to which each of them is marked"""


@dataclass(frozen=True)
class PanelLine:
    """`points` are (x, y); `sparse`: few points, each of which is marked."""

    label: str
    points: Sequence[Point]
    sparse: bool = False


@dataclass(frozen=True)
class CurvePanel:
    """Lines on common axes. Where no value is negative, the vertical axis goes from 0 to the largest value, at least to `top`."""

    title: str
    lines: Sequence[PanelLine]
    top: float | None = None

    @property
    def drawn(self) -> list[PanelLine]:
        """Lines that have points."""
        return [line for line in self.lines if line.points]


def line_panels(name: str, title: str, panels: Sequence[CurvePanel], below: str, headed: bool = False) -> Picture:
    """The panels that have points, two in a row; lines with one label look the same in all. `below` names the horizontal axis; `headed`:
    the title is written over the drawing, for a file that stands alone."""
    panels = [panel for panel in panels if panel.drawn]
    order = list(dict.fromkeys(line.label for panel in panels for line in panel.drawn))
    end = max((x for panel in panels for line in panel.drawn for x, _ in line.points), default=0.0)
    height = 2.1 * ceil(len(panels) / ACROSS) + 0.3 + 0.3 * headed
    with drawing(height, len(panels), min(ACROSS, len(panels)), share_x=True) as (figure_, axes):
        for axes_, panel in zip(axes, panels, strict=True):
            _panel(axes_, panel, order)
            axes_.set_xlim(0, 1.02 * end or 1.0)
            ticks(axes_)
        figure_.supxlabel(below, fontsize=9)
        if headed:
            figure_.suptitle(title, fontsize=11)
    said = [f"{panel.title}, {line.label}: {from_to([y for _, y in line.points])}" for panel in panels for line in panel.drawn]
    return Picture(name, title, f"{title}. {'; '.join(said)}.", figure_)


def _panel(axes: Axes, panel: CurvePanel, order: Sequence[str]) -> None:
    for line in reversed(panel.drawn):  # the first one is on top
        number = order.index(line.label)
        points = thinned(sorted(line.points, key=lambda point: point[0]))
        marked = len(points) == 1 or (line.sparse and len(points) <= _MARKED)
        axes.plot(
            *zip(*points, strict=True), color=colour(number), linestyle=dashes(number), marker=marker(number) if marked else "",
            markersize=3.5, label=line.label,
        )  # fmt: skip
    axes.set_title(panel.title, loc="left", pad=18)
    legend_above(axes)
    values = [y for line in panel.drawn for _, y in line.points]
    if min(values) >= 0:
        top = max(*values, panel.top or 0.0) or 1.0
        axes.set_ylim(-0.02 * top, 1.05 * top)


def thinned(points: Sequence[Point], most: int = _POINTS) -> list[Point]:
    """At most so many points: means of (x, y) over parts of equal length, the last of which may be shorter."""
    if len(points) <= most:
        return list(points)
    length = ceil(len(points) / most)
    parts = [points[start : start + length] for start in range(0, len(points), length)]
    return [(sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)) for part in parts]
