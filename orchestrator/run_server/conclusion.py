"""The end of a run with faults: `faults.jsonl`, `verdict.json`, and the section `faults` of `summary.json`."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

from orchestrator.run_files import write_json
from orchestrator.run_server.fault_plan import asked_for
from orchestrator.run_server.fault_report import FaultReport, merge_logs, report
from orchestrator.run_server.leader import Outcome
from orchestrator.run_server.snapshot import RunView
from orchestrator.run_server.verdict import judge, verdict
from protocols.errors import ExitCode
from protocols.faults.settings import FaultsSettings, Process

logger = logging.getLogger(__name__)


def conclude(view: RunView, outcome: Outcome) -> Outcome:
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
    judged = judge(settings.expect, {**done.metrics, **done.figures})
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
    write_json(directory / "verdict.json", verdict(judged, done.figures, facts))
    for one in judged:
        view.events.record("info" if one.passed else "error", "run.verdict", one.text())
    failed = [one for one in judged if not one.passed]
    if not failed or outcome.exit_code != ExitCode.OK:
        return outcome
    reason = f"{len(failed)} of {len(judged)} expectations failed: {'; '.join(one.text() for one in failed)}; to repeat: {repeat}"
    return replace(outcome, exit_code=int(ExitCode.EXPECTATION_FAILED), reason=reason)


def _report(view: RunView) -> FaultReport:
    settings = view.configuration.faults
    absences: dict[str, float] = {}
    for event in [*(settings.events if settings is not None else ()), *asked_for(view.files.directory)]:
        if isinstance(event.process, Process) and event.process.restart_after is not None:
            absences[event.id] = event.process.restart_after
        elif event.membership is not None and event.membership.return_after is not None:
            absences[event.id] = event.membership.return_after.time or 0.0
    counted = {
        "episodes.finished": float(view.progress.episodes),
        "episodes.lost": float(view.progress.episodes_lost),
        "node.restarts": float(sum(view.supervisor.restarts(name) for name in view.membership.members)),
    }
    virtual = None
    if view.configuration.clock == "logical":
        virtual = [event.id for event in (settings.events if settings is not None else ())]
    return report(view.files.directory, absences, counted, virtual)


def _into_summary(directory: Path, done: FaultReport) -> None:
    path = directory / "summary.json"
    if path.exists():
        summary = json.loads(path.read_text(encoding="utf-8"))
        summary["faults"] = done.to_dict()
        write_json(path, summary)
