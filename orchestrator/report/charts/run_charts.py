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
from orchestrator.report.charts.curve_panels import BLUE, GREEN, GREY, ORANGE, PURPLE, CurvePanel, PanelCurve, Point, sheet
from orchestrator.results import run_directories as runs
from orchestrator.results.metric_series import ENVIRONMENT, EVALUATION, RUN, Series, pooled, read_series
from orchestrator.terminal import snapshot_figures as figures
from protocols.runtime.atomic_files import write_whole

logger = logging.getLogger(__name__)

TABLE = "game/table"
"""name of the coordination table in an agent's checkpoint"""
_MODES = (("", "training", BLUE), ("eval.own.", "evaluation, own", ORANGE), ("eval.aligned.", "evaluation, given", GREEN))
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
    """(Re)write the pictures that there is anything for, and return their paths. `OSError` where they can't be written."""
    series, pictures = read_series(directory), {}
    panels = learning_panels(series)
    if any(curve.points for panel in panels for curve in panel.curves):
        pictures["learning.svg"] = sheet(f"Learning in {directory.name}", panels, "environment steps, all copies together")
    tables = read_tables(directory)
    if tables:
        shape = next(iter(tables.values())).shape
        names, individual = _goals(directory, shape[0])
        episodes = max((point.episode for point in series.get("steps", {}).get(ENVIRONMENT, [])), default=0)
        title = f"Coordination tables in {directory.name}" + (f" after {figures.count(episodes)} training episodes" if episodes else "")
        alike = {agent: table for agent, table in tables.items() if table.shape == shape}
        pictures["coordination_tables.svg"] = coordination_tables.picture(alike, names, individual, title)
    paths = []
    for name, content in pictures.items():
        (directory / "plots").mkdir(exist_ok=True)
        write_whole(directory / "plots" / name, content.encode())
        paths.append(directory / "plots" / name)
    return paths


def learning_panels(series: Series) -> list[CurvePanel]:
    """What `learning.svg` shows: figures of training and of both evaluations over environment steps."""

    def curve(name: str, label: str, colour: str, node: str = ENVIRONMENT, dotted: bool = False) -> PanelCurve:
        training = node == ENVIRONMENT and not name.startswith(EVALUATION)
        points = pooled(series, name, _BINS) if training else series.get(name, {}).get(node, [])
        return PanelCurve(label, colour, [(point.step, point.value) for point in points], dotted)

    panels: list[CurvePanel] = []
    normalised = "return.normalised" in series
    for name, title, top in _BY_MODE:
        if name == "return.normalised" and not normalised:
            name, title, top = "return", "Return, sum over the members", None
        panels.append(CurvePanel(title, [curve(mode + name, label, colour, dotted=bool(mode)) for mode, label, colour in _MODES], top))
    own = PanelCurve("each itself", GREY, _own_understanding(series))
    panels.append(CurvePanel("Accuracy of the convention", [curve("convention.accuracy", "all pairs", PURPLE, RUN), own], 1.0))
    mastered = curve("eval.aligned.diversity", "mastered", GREEN, dotted=True)
    panels.append(CurvePanel("Diversity of goals", [curve("goals.pursued_entropy", "entropy of pursued ones", BLUE), mastered], 1.0))
    published = curve("eval.aligned.specialization.published", "as published", GREY, dotted=True)
    panels.append(
        CurvePanel("Specialization", [curve("eval.aligned.specialization", "evaluation, given", GREEN, dotted=True), published], 1.0)
    )
    return panels


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
    """Names of the goals, and how many of them need one body only; numbers where the environment does not say."""
    from env_server.environments.landmarks.settings import LandmarksOptions

    environment = runs.read_json(directory / "config.json").get("environment") or {}
    if environment.get("id") == "landmarks":
        with suppress(ValidationError):
            space = LandmarksOptions.model_validate(environment.get("options") or {}).goal_space
            if space.count == count:
                return [space.name(goal) for goal in range(count)], int((~space.cooperative).sum())
    return [str(goal) for goal in range(count)], 0
