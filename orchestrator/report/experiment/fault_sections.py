"""What faults did to the runs of an experiment, and what went over their links."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from orchestrator.experiments.design.experiment_design import Measure
from orchestrator.experiments.results.run_measures import MeasuredRun, NotMeasured
from orchestrator.report.charts.experiment_charts import PANELS, Axis
from orchestrator.report.charts.fault_charts import FaultPanel, timelines
from orchestrator.report.experiment.experiment_analysis import ExperimentAnalysis, Group
from orchestrator.report.experiment.experiment_tables import (
    around_table,
    channel_means,
    left_out,
    link_means,
    links_table,
    table_of_lines,
    traffic_table,
)
from orchestrator.report.report_document import Block, Fold, Paragraph, Section
from orchestrator.results.recorded_run import Link, RecordedRun
from orchestrator.results.statistics.fault_bands import FaultEffect, FaultWindow, around
from orchestrator.results.statistics.runs_table import Curve, RunCurves
from orchestrator.run_server.faults.fault_report import BEFORE

SPEED = Measure(metric="steps_per_second")
"""what is compared around faults beside the measures; it has no virtual time"""


def faults_section(analysis: ExperimentAnalysis) -> tuple[Section | None, dict[str, Any]]:
    """Disagreement over time with the faults of one run of each group, and every measure before, during and after each fault; and what the
    numbers are taken from."""
    panels: dict[str, FaultPanel] = {}
    curves: dict[str, dict[str, dict[str, Curve]]] = {}
    windows: dict[str, dict[str, list[FaultWindow]]] = {}
    figure_name, seconds = "", "seconds"
    for group in analysis.groups:
        for directory in _directories(group):
            recorded = RecordedRun(directory)
            if not (here := recorded.faults):
                continue
            seconds = recorded.seconds
            measured = _measured(analysis, recorded)
            figure, points = recorded.disagreement
            far = recorded.over_time(points)
            last = max((curve.end for curve in (*measured.values(), far) if curve is not None), default=0.0)
            spans = [fault.window(last) for fault in here]
            windows.setdefault(group.label, {})[directory.name] = spans
            for title, curve in measured.items():
                curves.setdefault(title, {}).setdefault(group.label, {})[directory.name] = curve
            if far is not None and group.label not in panels:
                figure_name = figure
                panels[group.label] = FaultPanel({"one run": far}, spans)
    if not windows:
        return None, {}
    blocks: list[Block] = []
    data: dict[str, Any] = {"before": BEFORE, "windows": {label: _spans(spans) for label, spans in windows.items()}}
    if panels:
        shown = dict(list(panels.items())[:PANELS])
        title = f"{figure_name} over time, first finished run of each group; faults shaded"
        words = f"{title}. {table_of_lines(shown)}."
        blocks.append(timelines("disagreement", title, words, shown, f"{seconds} of training", Axis(figure_name, log=True)))
        blocks += left_out(panels)
        data["over_time"] = {
            label: {name: [curve.steps.tolist(), curve.values.tolist()] for name, curve in panel.lines.items()}
            for label, panel in panels.items()
        }
    for title, measure in _measures(analysis).items():
        if title not in curves:
            continue
        found = {label: around(RunCurves(by_run), windows[label], BEFORE) for label, by_run in curves[title].items()}
        blocks.append(around_table(f"{title} around faults", found, measure.scale == "log"))
        data[title] = {label: [_record(one) for one in faults_] for label, faults_ in found.items()}
    blocks.append(
        Paragraph(
            f"Before and after are the {BEFORE:.0f} {seconds} next to a fault, cut where another one begins or ends there. Each run makes "
            "one mean; the table has the mean over the runs, changes are differences within runs.",
            "note",
        )
    )
    return Section("Around faults", blocks), data


def _spans(by_run: Mapping[str, Sequence[FaultWindow]]) -> dict[str, list[tuple[str, float, float]]]:
    return {run: [(window.name, window.start, window.end) for window in windows] for run, windows in by_run.items()}


def _record(found: FaultEffect) -> dict[str, Any]:
    parts = {"before": found.before, "during": found.during, "after": found.after}
    changes = {"change_during": found.change_during, "change_after": found.change_after}
    return {"fault": found.window, **{name: one.record() for name, one in (parts | changes).items()}}


def _measures(analysis: ExperimentAnalysis) -> dict[str, Measure]:
    """What is held against faults, by title: every measure, and the speed."""
    own = {measure.title: measure for measure in analysis.results.design.measure}
    return own if SPEED.title in own else {**own, SPEED.title: SPEED}


def _measured(analysis: ExperimentAnalysis, recorded: RecordedRun) -> dict[str, Curve]:
    """Over time, by title, what has a curve, of the nodes that the measure names."""
    measures = _measures(analysis)
    run = MeasuredRun(recorded, by_time=True)
    found = {}
    for title, measure in measures.items():
        with suppress(NotMeasured):
            _, curve = run.value(measure)
            if curve is not None:
                found[title] = curve
    return found


def links_section(analysis: ExperimentAnalysis) -> tuple[Section | None, dict[str, Any]]:
    """What went over the links: in all for each group and channel, and link by link; and what the numbers are taken from."""
    found: dict[str, list[dict[Link, dict[str, float]]]] = {}
    for group in analysis.groups:
        links = [counts for directory in _directories(group) if (counts := RecordedRun(directory).traffic)]
        if links:
            found[group.label] = links
    if not found:
        return None, {}
    blocks: list[Block] = [traffic_table("Sent in a run by all nodes together, mean over runs", found)]
    blocks += [
        Fold(f"Links of {label}", [links_table(f"{label}: sent on each link, mean over runs", many)]) for label, many in found.items()
    ]
    data = {
        label: {
            "runs": len(many),
            "channels": channel_means(many),
            "links": [[*link, counts] for link, counts in link_means(many).items()],
        }
        for label, many in found.items()
    }
    return Section("Traffic", blocks), data


def _directories(group: Group) -> list[Path]:
    """Of the cells that are done, by seed."""
    return [cell.directory for cell in group.cells if cell.state == "DONE" and cell.directory is not None]
