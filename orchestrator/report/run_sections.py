"""Sections of a run's report that have charts of their own. Each gives its section, if it has content, and what its numbers are
taken from."""

from __future__ import annotations

from typing import Any

from orchestrator.report.charts.experiment_charts import Axis
from orchestrator.report.charts.fault_charts import FaultPanel, FaultSpan, fault_spans, shares, timelines
from orchestrator.report.charts.line_panels import line_panels
from orchestrator.report.charts.run_charts import STEPS, learning_panels
from orchestrator.report.experiment.experiment_tables import links_table, table_of_lines
from orchestrator.report.report_document import Block, Code, DocumentTable, Fold, Paragraph, Plot, Section, Words
from orchestrator.results.metric_series import MetricCurve
from orchestrator.results.number_text import NOTHING, alone, duration, figure, form, size
from orchestrator.results.recorded_run import FaultRecord, RecordedRun
from orchestrator.results.run_summary import RunSummary

Part = tuple[Section | None, dict[str, Any]]
_SPEED = "steps_per_second"


def learning_section(summary: RunSummary, recorded: RecordedRun) -> Part:
    """Curves of training and of evaluations, and both in a table."""
    blocks: list[Block] = []
    if panels := learning_panels(recorded.series):
        blocks.append(Plot(line_panels("learning", f"Learning over {STEPS}", panels, STEPS)))
    for title, curves, prefix in (("Training", summary.training, ""), ("Evaluation", summary.evaluation, "eval.")):
        if curves:
            blocks.append(_curves_table(title, curves, prefix))
    if summary.world_model:
        blocks.append(_curves_table("World model", summary.world_model, "world_model."))
    curves_data = {
        panel.title: {line.label: [list(map(float, point)) for point in line.points] for line in panel.drawn} for panel in panels
    }
    return (Section("Learning", blocks) if blocks else None), {"learning": curves_data}


def _curves_table(title: str, curves: list[MetricCurve], prefix: str) -> DocumentTable:
    rows: list[list[Words]] = []
    for curve in curves:
        values = (curve.first, curve.best, curve.last)
        # One form for the three, unless it would hide the smallest.
        shape = form(values) if max(map(abs, values)) < 30 * min(map(abs, values)) else ""
        cells = [figure(value, shape) if shape else alone(value) for value in values]
        rows.append([Code(curve.name.removeprefix(prefix)), *cells, f"{curve.best_episode:,}", f"{curve.points:,}"])
    return DocumentTable(title, ["figure", "first", "best", "last", "best at episode", "points"], rows)


def disagreement_section(summary: RunSummary, recorded: RecordedRun) -> Part:
    """How far the agents are from each other, with the time of faults shaded."""
    name, points = recorded.disagreement
    curve, here = recorded.over_time(points), recorded.faults
    if curve is None:
        return None, {}
    time = f"{recorded.seconds} of training"
    last = max(curve.end, *(fault.end or 0.0 for fault in here)) if here else curve.end
    panel = FaultPanel({name: curve}, [fault.window(last) for fault in here])
    title = f"{name} over time" + ("; faults shaded" if here else "")
    drawn = timelines("disagreement", title, f"{title}. {table_of_lines({'': panel})}.", {"": panel}, time, Axis(name, log=True))
    blocks: list[Block] = [Plot(drawn)]
    of_rounds = summary.averaged in name or (summary.averaged == "consensus" and name == "models.disagreement")
    if summary.contraction_measured is not None and of_rounds:
        predicted = summary.contraction_predicted
        beside = "" if predicted is None else f"; the graph predicts at most {alone(predicted)}"
        blocks.append(Paragraph(f"Contraction in a round, median: {alone(summary.contraction_measured)}{beside}."))
    return Section("Disagreement", blocks), {"disagreement": [curve.steps.tolist(), curve.values.tolist()]}


def faults_section(recorded: RecordedRun) -> Part:
    """When faults were there, when the run had recovered, and what it did meanwhile."""
    found, logical, seconds = recorded.faults, recorded.logical, recorded.seconds
    if not found:
        return None, {}
    speed = recorded.over_time(recorded.points(_SPEED))
    ends = [fault.end + (fault.recovery or 0.0) for fault in found if fault.end is not None]
    last = max([*ends, *([speed.end] if speed is not None else []), *(fault.begin for fault in found)]) or 1.0
    title = f"Faults over {seconds} of training, and until the run had recovered (mark; hatched: not before the end)"
    shown = [_span(fault) for fault in found]
    drawn = fault_spans("faults", title, f"{title}. {_said(found)}.", shown, last, f"{seconds} of training")
    rows: list[list[Words]] = []
    shape = form(value for fault in found for value in fault.steps_per_second.values())
    for fault in found:
        length = None if fault.end is None else fault.end - fault.begin
        row: list[Words] = [fault.id, fault.kind, fault.node, f"{fault.begin:.1f}", "to the end" if length is None else duration(length)]
        recovery = "never" if fault.recovery is None else duration(fault.recovery)
        row += [recovery] if logical else [duration(fault.detection), recovery]
        rows.append(row + [figure(fault.steps_per_second.get(part), shape) for part in ("before", "during", "after")])
    # Under the logical clock all nodes have the schedule, and nothing has to be noticed.
    columns = ["fault", "kind", "where", "began (s)", "lasted", *([] if logical else ["noticed after"]), "recovered after"]
    blocks: list[Block] = [
        Plot(drawn),
        DocumentTable("Faults, and environment steps a second around them", [*columns, "before", "during", "after"], rows, text=3),
    ]
    if metrics := recorded.fault_metrics:
        values = [(name, "never" if value is None else alone(value)) for name, value in metrics.items()]
        table = DocumentTable("", ["figure", "value"], [(Code(name), value) for name, value in values])
        blocks.append(Fold("Metrics of faults, as faults.expect names them", [table]))
    spans = [[fault.id, fault.begin, fault.end, fault.detection, fault.recovery, dict(fault.steps_per_second)] for fault in found]
    spans += [[fault.end - fault.begin] for fault in found if fault.end is not None]
    return Section("Faults", blocks), {"faults": spans}


def _span(fault: FaultRecord) -> FaultSpan:
    recovered = None if fault.end is None or fault.recovery is None else fault.end + fault.recovery
    return FaultSpan(fault.id, fault.begin, fault.end, recovered)


def _said(found: list[FaultRecord]) -> str:
    parts = []
    for fault in found:
        end = "to the end" if fault.end is None else f"for {duration(fault.end - fault.begin)}"
        parts.append(f"{fault.id} ({fault.kind}) {end}")
    return "; ".join(parts)


def traffic_section(recorded: RecordedRun) -> Part:
    """What each node sent on each link."""
    found = recorded.traffic
    if not found:
        return None, {}
    blocks: list[Block] = [links_table("Sent between agents", [found], ["peer"])] if any(key[1] == "peer" for key in found) else []
    rest = sorted({channel for _, channel, _ in found} - {"peer"})
    if rest:
        blocks.append(links_table("Sent to the environment server and the run server, and by them", [found], rest))
    return Section("Traffic", blocks), {"links": [[*link, counts] for link, counts in sorted(found.items())]}


def time_section(summary: RunSummary) -> Part:
    """The share of each part in a node's time."""
    if not summary.time:
        return None, {}
    parts = sorted(
        {part for node in summary.time.values() for part in node}, key=lambda part: -sum(n.get(part, 0.0) for n in summary.time.values())
    )
    said = "; ".join(
        f"{node}: {', '.join(f'{part} {100 * share:.0f} %' for part, share in shown.items())}" for node, shown in summary.time.items()
    )
    title = "Share of each part in a node's time"
    rows = [[node, *(f"{100 * found[part]:.1f} %" if part in found else NOTHING for part in parts)] for node, found in summary.time.items()]
    blocks: list[Block] = [Plot(shares("time", title, f"{title}. {said}.", summary.time)), DocumentTable("", ["node", *parts], rows)]
    if summary.slowest:
        blocks.append(Paragraph(f"Slowest part: {summary.slowest}."))
    percent = {node: {part: 100 * share for part, share in found.items()} for node, found in summary.time.items()}
    return Section("Where the time goes", blocks), {"time_percent": percent}


def nodes_section(summary: RunSummary) -> Part:
    """Processor time and memory, restarts, and messages that did not simply arrive."""
    blocks: list[Block] = []
    if summary.resources:
        rows = [
            [
                node, duration(known.get("cpu_seconds")), *(size(known.get(kind), NOTHING) for kind in ("peak_resident", "proportional")),
                str(summary.restarts.get(node, 0)),
            ]
            for node, known in summary.resources.items()
        ]  # fmt: skip
        blocks.append(DocumentTable("Nodes", ["node", "processor time", "memory, peak", "memory, shared pages divided", "restarts"], rows))
    if summary.wire:
        kinds = sorted({kind for counters in summary.wire.values() for kind in counters})
        rows = [[node, *(f"{counters.get(kind, 0):,}" for kind in kinds)] for node, counters in summary.wire.items()]
        blocks.append(DocumentTable("Messages refused, dropped or repeated", ["node", *kinds], rows))
    return (Section("Nodes", blocks) if blocks else None), {"restarts": {node: summary.restarts.get(node, 0) for node in summary.resources}}
