"""The report of a single run, from its directory alone; of a run that has not ended, what it has shown so far."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orchestrator.report.charts.experiment_charts import Axis
from orchestrator.report.charts.fault_charts import FaultPanel, fault_spans, shares, timelines
from orchestrator.report.charts.run_charts import STEPS, learning_panels, line_panels
from orchestrator.report.experiment.experiment_sections import versions_blocks
from orchestrator.report.experiment.experiment_tables import links_table, table_of_lines
from orchestrator.report.report_document import Block, Code, Document, DocumentTable, Fold, Listing, Paragraph, Section, Strong, Word, Words
from orchestrator.results.metric_series import MetricCurve
from orchestrator.results.number_text import NOTHING, alone, count, counted, duration, figure, form, size
from orchestrator.results.recorded_run import FaultRecord, RecordedRun
from orchestrator.results.run_files import last_lines, read_json
from orchestrator.results.run_summary import RunSummary, summarize

_TAIL = 40
"""newest events that are listed"""
_SHOWN = ("return.normalised", "return", "aligned", "success.cooperative", "success.individual")
"""metrics of evaluations that the first sentences name, where a run has them"""


def document(directory: Path) -> Document:
    """The report of the run in `directory`, with all sections in order."""
    recorded = RecordedRun(directory)
    summary, config = summarize(recorded), recorded.configuration
    versions = read_json(directory / "versions.json")
    sections = [
        learning_section(summary, recorded),
        disagreement_section(summary, recorded),
        faults_section(recorded),
        _verdict(summary),
        traffic_section(recorded),
        time_section(summary),
        nodes_section(summary),
        _configuration(directory, config),
        _events(recorded, summary),
        _repeat(recorded, summary, versions),
    ]
    data = {"summary": summary.to_dict(), "config": config, "versions": versions}
    kept = [section for section, _ in sections if section is not None]
    for _, more in sections:
        data |= more
    return Document(f"Run {summary.run}", _lead(summary, versions), kept, data)


Part = tuple[Section | None, dict[str, Any]]
"""a section, and what its numbers are taken from"""


def _lead(summary: RunSummary, versions: dict[str, Any]) -> list[Block]:
    """How it ended, what it learnt, and what was expected of it."""
    state = summary.state.lower()
    ended = f" (exit {summary.exit_code})" if summary.exit_code is not None else ""
    words: list[Word] = [Strong(state), f"{ended} after {duration(summary.elapsed)}"]
    words.append(f": {summary.reason}. " if summary.reason else ". ")
    for mode, beginning in (("eval.own.", "In evaluation, by the agents' own goals, "), ("eval.aligned.", "With a goal given to all, ")):
        found = {curve.name.removeprefix(mode): curve for curve in summary.evaluation if curve.name.startswith(mode)}
        shown = [name for name in _SHOWN if name in found][:3]
        if shown:
            words += [beginning, *_joined([_change(name, found[name]) for name in shown]), ". "]
    if not summary.evaluation and summary.training:
        words += ["In training, ", *_joined([_change(curve.name, curve) for curve in summary.training[:3]]), ". "]
    if expected := summary.verdict.get("expectations") or []:
        failed = [one for one in expected if not one.get("passed")]
        words.append(
            f"Of {counted(len(expected), 'expectation')}, {counted(len(failed), 'one', 'ones').split()[0]} failed."
            if failed
            else ("What was expected holds." if len(expected) == 1 else f"All {len(expected)} expectations hold.")
        )
    blocks: list[Block] = [Paragraph(tuple(words), "answer")]
    if summary.state in ("FAILED", "LOST"):
        blocks.append(Paragraph((Strong("This run has not come to its end."), " What follows is what it had shown until then."), "warning"))
    elif summary.state not in ("DONE", "STOPPED"):
        blocks.append(Paragraph((Strong("This run still goes on."), " What follows is what it has shown so far."), "warning"))
    code = versions.get("code") or "unknown"
    seed = "unknown" if summary.seed is None else str(summary.seed)
    blocks.append(Paragraph(f"Seed {seed}, code {code}, started {summary.started or 'at an unknown time'}.", "note"))
    return blocks


def _change(name: str, curve: MetricCurve) -> tuple[Code, str]:
    if curve.points == 1:
        return Code(name), f" was {alone(curve.last)}"
    if curve.first == curve.last:
        return Code(name), f" stayed at {alone(curve.last)}"
    return Code(name), f" went from {alone(curve.first)} to {alone(curve.last)}"


def _joined(clauses: list[tuple[Code, str]]) -> list[Word]:
    words: list[Word] = []
    for number, clause in enumerate(clauses):
        words += [*([", " if number < len(clauses) - 1 else " and "] if number else []), *clause]
    return words


def _verdict(summary: RunSummary) -> Part:
    expected = summary.verdict.get("expectations") or []
    if not expected:
        return None, {}
    rows: list[tuple[Words, ...]] = [
        (
            f"{one.get('metric')} {one.get('op')} {_plain(one.get('value'))}",
            _plain(one.get("measured")) if one.get("measured") is not None else "not measured",
            "holds" if one.get("passed") else Strong("FAILS"),
        )
        for one in expected
    ]
    return Section("Verdict", [DocumentTable("What was expected", ["expected", "measured", "verdict"], rows, text=1)]), {}


def _plain(value: Any) -> str:
    return alone(float(value)) if isinstance(value, (int, float)) and not isinstance(value, bool) else str(value)


def _configuration(directory: Path, config: dict[str, Any]) -> Part:
    if not config:
        return None, {}
    rows = [(key, value) for key, value in short_configuration(config) if value]
    origin = directory / "config.origin.yaml"
    blocks: list[Block] = [DocumentTable("In short", ["key", "value"], rows, text=2)]
    for path, title in ((origin, "As it was given"), (directory / "config.yaml", "Resolved, every key")):
        try:
            blocks.append(Fold(title, [Listing(path.read_text(encoding="utf-8"), "yaml")]))
        except (OSError, UnicodeDecodeError):
            continue
    return Section("Configuration", blocks), {}


def short_configuration(config: dict[str, Any]) -> list[tuple[str, str]]:
    """What identifies a run, key by key; `none` where a part is switched off."""

    def at(path: str) -> Any:
        value: Any = config
        for part in path.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        return value

    def kind(path: str, *more: str) -> str:
        value = at(path)
        if value is None:
            return "none"
        if not isinstance(value, dict):
            return str(value)
        name = value.get("kind") or value.get("mode") or "on"
        shown = [f"{key} {_listed(value[key])}" for key in more if value.get(key) not in (None, [], {})]
        return ", ".join([str(name), *shown])

    options = at("environment.options") or {}
    settings = [f"{key} {_listed(value)}" for key, value in options.items() if value is not None]
    until = {key: value for key, value in (at("until") or {}).items() if value is not None}
    faults = at("faults") or {}
    return [
        ("environment", ", ".join([str(at("environment.id")), *settings])),
        ("copies", _text(at("environment.copies"))),
        ("agents", _text(at("agents.count"))),
        ("learner", kind("agents.learner", "learning_rate", "batch_size", "discount")),
        ("world model", kind("agents.world_model", "members", "imagined_ratio")),
        ("goals", kind("agents.goals")),
        ("overrides", ", ".join(at("agents.overrides") or {})),
        ("topology", kind("network.topology")),
        ("links", _listed([link.get("id") for link in at("network.links") or []])),
        ("negotiation", kind("exchange.negotiation")),
        ("hindsight", kind("exchange.hindsight", "strategies")),
        ("consensus", kind("exchange.consensus", "groups")),
        ("statistics", kind("exchange.statistics")),
        ("faults", _listed([one.get("id") for one in [*(faults.get("links") or []), *(faults.get("events") or [])]])),
        ("clock", _text(at("clock"))),
        ("until", ", ".join(f"{key} {_text(value)}" for key, value in until.items())),
        ("seed", _text(at("seed"))),
    ]  # fmt: skip


def _listed(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else _text(value)


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _events(recorded: RecordedRun, summary: RunSummary) -> Part:
    """Warnings and what ended the run; the end of the logs where it failed."""
    events = [event for event in recorded.events if event.get("severity") in ("warning", "error")]
    blocks: list[Block] = []
    if events:
        rows = [(str(event.get("t")), str(event.get("node")), str(event.get("text"))) for event in events[-_TAIL:]]
        title = "Warnings and errors" + (f", the newest {_TAIL} of {count(len(events))}" if len(events) > _TAIL else "")
        blocks.append(DocumentTable(title, ["time", "node", "what"], rows, text=3))
    if summary.state in ("FAILED", "LOST"):
        for path in sorted(recorded.directory.glob("nodes/*/log.txt")):
            if tail := last_lines(path, 15):
                blocks.append(Fold(f"End of the log of {path.parent.name}", [Listing("\n".join(tail))]))
    return (Section("Events", blocks) if blocks else None), {"events": events[-_TAIL:]}


def _repeat(recorded: RecordedRun, summary: RunSummary, versions: dict[str, Any]) -> Part:
    try:
        command = (recorded.directory / "command.txt").read_text(encoding="utf-8").strip()
    except OSError:
        command = str(summary.verdict.get("repeat") or "")
    record = recorded.record
    blocks: list[Block] = [Listing(command, "sh")] if command else []
    digest = record.get("config_digest")
    blocks.append(
        Paragraph(("Configuration digest ", Code(str(digest or "unknown")), f", engine {record.get('engine') or 'local'}."), "note")
    )
    facts = {key: value for key, value in versions.items() if key != "packages"}
    blocks += versions_blocks([({**facts, "packages": versions.get("packages")}, 1)], count=False) if versions else []
    return Section("To repeat it", blocks), {"command": command, "record": record}


def learning_section(summary: RunSummary, recorded: RecordedRun) -> Part:
    """Curves of training and of evaluations, and both in a table."""
    blocks: list[Block] = []
    if panels := learning_panels(recorded.series):
        blocks.append(line_panels("learning", f"Learning over {STEPS}", panels, STEPS))
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
        sizes = [abs(value) for value in values if value is not None]
        # One form for the three, unless it would hide the smallest.
        shape = form(values) if max(sizes) < 30 * min(sizes) else ""
        cells = [figure(value, shape) if shape else alone(value) for value in values]
        rows.append([Code(curve.name.removeprefix(prefix)), *cells, alone(curve.best_episode), f"{curve.points:,}"])
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
    blocks: list[Block] = [drawn]
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
    speed = recorded.over_time(recorded.points("steps_per_second"))
    ends = [fault.end + (fault.recovery or 0.0) for fault in found if fault.end is not None]
    last = max([*ends, *([speed.end] if speed is not None else []), *(fault.begin for fault in found)]) or 1.0
    title = f"Faults over {seconds} of training, and until the run had recovered (mark; hatched: not before the end)"
    drawn = fault_spans("faults", title, f"{title}. {_said(found)}.", found, last, f"{seconds} of training")
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
        drawn,
        DocumentTable("Faults, and environment steps a second around them", [*columns, "before", "during", "after"], rows, text=3),
    ]
    if metrics := recorded.fault_metrics:
        values = [(name, "never" if value is None else alone(value)) for name, value in metrics.items()]
        table = DocumentTable("", ["figure", "value"], [(Code(name), value) for name, value in values])
        blocks.append(Fold("Metrics of faults, as faults.expect names them", [table]))
    spans = [[fault.id, fault.begin, fault.end, fault.detection, fault.recovery, dict(fault.steps_per_second)] for fault in found]
    spans += [[fault.end - fault.begin] for fault in found if fault.end is not None]
    return Section("Faults", blocks), {"faults": spans}


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
    blocks: list[Block] = [shares("time", title, f"{title}. {said}.", summary.time), DocumentTable("", ["node", *parts], rows)]
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
