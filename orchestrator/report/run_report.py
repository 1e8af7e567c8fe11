"""The report of a single run, from its directory alone; of a run that has not ended, what it has shown so far."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orchestrator.report.experiment.experiment_appendix import versions_blocks
from orchestrator.report.report_document import Block, Code, Document, DocumentTable, Fold, Listing, Paragraph, Section, Strong, Words
from orchestrator.report.run_sections import (
    disagreement_section,
    faults_section,
    learning_section,
    nodes_section,
    time_section,
    traffic_section,
)
from orchestrator.results import run_directories as runs
from orchestrator.results.metric_series import MetricCurve
from orchestrator.results.number_text import alone, count, counted, duration
from orchestrator.results.recorded_run import RecordedRun
from orchestrator.results.run_summary import RunSummary, summarize

_TAIL = 40
"""newest events that are listed"""
_SHOWN = ("return.normalised", "return", "aligned", "success.cooperative", "success.individual")
"""metrics of evaluations that the first sentences name, where a run has them"""


def document(directory: Path) -> Document:
    """The report of the run in `directory`, with all sections in order."""
    recorded = RecordedRun(directory)
    summary, config = summarize(recorded), recorded.configuration
    versions = runs.read_json(directory / "versions.json")
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
    words: list[str | Code | Strong] = [Strong(state), f"{ended} after {duration(summary.elapsed)}"]
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


def _joined(clauses: list[tuple[Code, str]]) -> list[str | Code]:
    words: list[str | Code] = []
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
            tail = path.read_text(encoding="utf-8", errors="replace").splitlines()[-15:]
            if tail:
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
