"""What a run leaves behind when it is over: `metrics.csv`, `summary.json` and the plots."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from orchestrator.config.configuration import Configuration
from orchestrator.report.charts.run_charts import draw
from orchestrator.results.run_files import RunFiles, utc_now, write_json
from orchestrator.results.summary_file import summarize
from orchestrator.run_server.lead.run_leader import RunOutcome
from orchestrator.run_server.lead.status_snapshot import RunView, snapshot
from orchestrator.run_server.metrics.sinks.live_sinks import SinkContext, export_tables
from protocols.runtime.node_start import RUN_SERVER
from protocols.runtime.telemetry import write_wire
from protocols.transport import Transport

logger = logging.getLogger(__name__)

_OF_A_NODE = ("role", "state", "incarnation", "restarts", "up_after")


def sum_up(view: RunView, outcome: RunOutcome, transport: Transport | None) -> None:
    """Write them; a failure here is named, and changes nothing about how the run ended. `transport`: that of the run server, for what it
    has counted."""
    directory = view.files.directory
    try:
        for kind, reason in export_tables(view.configuration.metrics.sinks, sink_context(view.files, view.configuration)).items():
            view.events.record("warning", "metrics.sink", f"the sink {kind} failed: {reason}")
        if transport is not None:
            (directory / "nodes" / RUN_SERVER).mkdir(parents=True, exist_ok=True)
            write_wire(directory / "nodes" / RUN_SERVER, transport)
        seen = snapshot(view, time.monotonic())
        nodes = {node["name"]: {key: node[key] for key in _OF_A_NODE} for node in seen["nodes"]}
        write_json(directory / "summary.json", summarize(directory, view.configuration, _run(view, outcome, seen), nodes))
    except Exception as error:
        logger.exception("the summary failed")
        view.events.record("error", "run.summary", f"the summary failed: {error}")
    try:
        draw(directory)
    except Exception as error:
        logger.exception("the plots failed")
        view.events.record("warning", "run.plots", f"the plots failed: {error}; try again: orchestrate show {directory.name} --plots")


def sink_context(files: RunFiles, configuration: Configuration) -> SinkContext:
    """The run as sinks see it."""
    started = datetime.fromisoformat(str(files.state.get("first_started") or utc_now())).astimezone(UTC).timestamp()
    return SinkContext(files.directory, configuration.model_dump(mode="json"), started)


def _run(view: RunView, outcome: RunOutcome, seen: Mapping[str, Any]) -> dict[str, object]:
    state = view.files.state
    return {
        "run": seen["run"],
        "state": outcome.state,
        "exit_code": int(outcome.exit_code),
        "reason": outcome.reason,
        **{name: seen[name] for name in ("seed", "engine")},
        **{name: state.get(name) for name in ("config_digest", "code_version", "started")},
        "wall_seconds": seen["elapsed"],
        "training_seconds": view.progress.seconds(time.monotonic()),
        **{name: seen[name] for name in ("episodes", "steps")},
        "server_cpu_seconds": time.process_time(),
    }
