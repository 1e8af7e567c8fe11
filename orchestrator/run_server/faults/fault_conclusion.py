"""The end of a run with faults: `faults.jsonl`, `verdict.json`, and the section `faults` of `summary.json`.

`verdict.json`: {"passed", "expectations": [{metric, op, value, measured, passed}], "repeat", "seed", "fault_seed", "config_digest",
"code_version", "versions", "by_hand", "figures"}. `by_hand`: faults that were requested while the run went on, as `faults.events` has them;
the command that repeats the run does not repeat them. An expectation whose metric was not measured has failed.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from orchestrator.config.configuration import Configuration
from orchestrator.results.metric_names import OPERATORS
from orchestrator.results.run_files import read_lines, write_json
from orchestrator.run_server.faults.fault_plan import asked_for
from orchestrator.run_server.faults.fault_report import FaultReport, merge_logs, report
from orchestrator.run_server.lead.run_leader import RunOutcome
from orchestrator.run_server.lead.status_snapshot import RunView
from protocols.faults.fault_schedule import ScheduledEvent
from protocols.faults.node_faults.fault_log import FILE
from protocols.faults.node_faults.scheduled_faults import schedule_of
from protocols.faults.settings import FaultExpectation, FaultsSettings, MembershipFault, ProcessFault
from protocols.runtime.errors import ExitCode
from protocols.runtime.suggestions import nearest

logger = logging.getLogger(__name__)


def conclude(view: RunView, outcome: RunOutcome) -> RunOutcome:
    """Write what the faults did and whether the run stood it; the outcome, which an expectation that failed changes."""
    settings, directory = view.configuration.faults, view.files.directory
    if settings is None and not any(directory.glob("nodes/*/faults.jsonl")):
        return outcome
    merge_logs(directory)
    done = _report(view)
    _into_summary(directory, done)
    asked = asked_for(directory)
    if settings is None and not asked:  # only links: there is nothing to judge
        return outcome
    settings = settings or FaultsSettings()
    judged = judge(settings.expect, {**done.metrics, **done.fault_metrics})
    command = directory / "command.txt"
    repeat = command.read_text(encoding="utf-8").strip() if command.exists() else f"orchestrate up {directory / 'config.yaml'}"
    facts = {
        "state": outcome.state,
        "repeat": repeat,
        "seed": view.configuration.seed,
        "fault_seed": settings.seed,
        "backend": settings.backend,
        "by_hand": [event.model_dump(mode="json") for event in asked],
        "config_digest": view.files.state.get("config_digest"),
        "code_version": view.files.state.get("code_version"),
        "versions": json.loads((directory / "versions.json").read_text(encoding="utf-8")),
    }
    write_json(directory / "verdict.json", verdict(judged, done.fault_metrics, facts))
    for one in judged:
        view.events.record("info" if one.passed else "error", "run.verdict", one.text())
    failed = [one for one in judged if not one.passed]
    if not failed or outcome.exit_code != ExitCode.OK:
        return outcome
    reason = f"{len(failed)} of {len(judged)} expectations failed: {'; '.join(one.text() for one in failed)}; to repeat: {repeat}"
    return replace(outcome, exit_code=int(ExitCode.EXPECTATION_FAILED), reason=reason)


def _report(view: RunView) -> FaultReport:
    directory = view.files.directory
    latest = max((float(line.get("time") or 0.0) for line in read_lines(directory / FILE)), default=0.0)
    events = scheduled(view.configuration, latest)
    absences = {event.id: absence(event.node_fault, view.configuration) for event in events}
    absences |= {event.id: absence(event.process or event.membership, view.configuration) for event in asked_for(directory)}
    counted = {
        "episodes.finished": float(view.progress.episodes),
        "episodes.lost": float(view.progress.episodes_lost),
        "node.restarts": float(sum(view.supervisor.restarts(name) for name in view.membership.members)),
    }
    virtual = [event.id for event in events] if view.configuration.clock == "logical" else None
    return report(directory, absences, counted, virtual)


def scheduled(configuration: Configuration, latest: float) -> list[ScheduledEvent]:
    """The events of the schedule, and those that were drawn at random up to `latest` seconds."""
    settings = configuration.faults
    if settings is None:
        return []
    schedule = schedule_of(settings, configuration.agent_names(), configuration.until.model_dump())
    asked = {event.id for event in settings.events}  # the schedule has the links' rules too
    return [event for event in schedule.events if event.id in asked] + schedule.random_events(latest + 1.0)


def absence(what: object, configuration: Configuration) -> float | None:
    """Seconds for which a fault holds its node back; None where only the return itself ends it. Under the logical clock all nodes follow
    the schedule alone, so it is known of deaths without `restart_after` too."""
    logical = configuration.clock == "logical"
    if isinstance(what, ProcessFault):
        if what.restart_after is not None:
            return what.restart_after
        if not logical or what.action not in ("kill", "term", "exit", "oom"):
            return 0.0
        return configuration.supervision.restart_delay if what.returns else None
    if isinstance(what, MembershipFault):
        if what.return_after is None:
            return None if logical else 0.0
        return what.return_after.time
    return 0.0


def _into_summary(directory: Path, done: FaultReport) -> None:
    path = directory / "summary.json"
    if path.exists():
        summary = json.loads(path.read_text(encoding="utf-8"))
        summary["faults"] = done.to_dict()
        write_json(path, summary)


@dataclass(frozen=True)
class JudgedExpectation:
    """One expectation against what was measured; None: nothing was."""

    metric: str
    op: str
    value: float
    measured: float | None
    passed: bool
    hint: str = ""

    def text(self) -> str:
        """`recovery_time.max < 20: measured 31.2, failed`."""
        measured = "not measured" if self.measured is None else f"measured {self.measured:g}"
        return f"{self.metric} {self.op} {self.value:g}: {measured}, {'passed' if self.passed else 'failed'}{self.hint}"


def judge(expectations: Sequence[FaultExpectation], metrics: Mapping[str, float]) -> list[JudgedExpectation]:
    """Compare the metrics of the run with every expectation, in order; an expectation of a metric that was not measured fails."""
    judged = []
    for expected in expectations:
        measured = metrics.get(expected.metric)
        passed = measured is not None and OPERATORS[expected.op](measured, expected.value)
        hint = ""
        if measured is None and (near := nearest(expected.metric, metrics)):
            hint = f" (measured is {near})"
        judged.append(JudgedExpectation(expected.metric, expected.op, expected.value, measured, passed, hint))
    return judged


def verdict(judged: Sequence[JudgedExpectation], metrics: Mapping[str, float], facts: Mapping[str, Any]) -> dict[str, Any]:
    """The contents of `verdict.json`; `facts`: seeds, digest, versions, and the command that repeats the run."""
    expectations = [{**asdict(one), "measured": _json(one.measured)} for one in judged]
    return {
        "passed": all(one.passed for one in judged),
        "expectations": expectations,
        **facts,
        "figures": {name: _json(value) for name, value in sorted(metrics.items())},
    }


def _json(value: float | None) -> float | str | None:
    """JSON has no infinity: an event that never came is `never`."""
    return "never" if value is not None and math.isinf(value) else value
