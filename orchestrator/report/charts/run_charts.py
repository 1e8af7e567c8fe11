"""Pictures of a run, from its directory alone: `plots/learning.svg` and, where goals are negotiated, `plots/coordination_tables.svg`."""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from orchestrator.launch.placement import natural
from orchestrator.report.charts import coordination_table_chart as coordination_tables
from orchestrator.report.charts.line_panels import CurvePanel, PanelLine, Point, line_panels
from orchestrator.results import number_text as numbers
from orchestrator.results import run_directories as runs
from orchestrator.results.metric_series import ENVIRONMENT, EVALUATION, RUN, Series, pooled, read_series
from protocols.runtime.atomic_files import write_whole

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

    environment = runs.read_json(directory / "config.json").get("environment") or {}
    if environment.get("id") == "landmarks":
        with suppress(ValidationError):
            space = LandmarksOptions.model_validate(environment.get("options") or {}).goal_space
            if space.count == count:
                return [space.name(goal) for goal in range(count)], int((~space.cooperative).sum())
    return [str(goal) for goal in range(count)], 0
