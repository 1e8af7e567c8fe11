"""`orchestrate ps`: runs and their nodes."""

from __future__ import annotations

import contextlib
import json
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.command_options import GlobalOptions, app, examples, options, print_json
from orchestrator.cli.completion import complete_runs
from orchestrator.results import number_text as numbers
from orchestrator.results import run_directories as runs
from orchestrator.results.run_directories import Run
from orchestrator.results.run_files import read_lines
from orchestrator.terminal import snapshot_metrics as shown
from orchestrator.terminal.interrupts import Interrupts
from protocols.runtime.errors import MurmurationError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_ANSWER = 2.0
_PERIOD = 1.0
_TAIL = 65536
"""bytes at the end of a node's metrics that are read for the newest of each"""


@app.command("ps", epilog=examples("orchestrate ps -a", "orchestrate ps night --watch", "orchestrate ps -a --json"))
def ps(
    context: typer.Context,
    run: Annotated[str | None, typer.Argument(metavar="[RUN]", autocompletion=complete_runs, help="Show the nodes of this run.")] = None,
    every: Annotated[bool, typer.Option("--all", "-a", help="Finished runs too.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Look again every second; Ctrl-C leaves.")] = False,
) -> None:
    """List the runs that are under way, newest first, or the nodes of one."""
    settings = options(context)
    if not watch:
        _once(settings, run, every)
        return

    # An exception at any instant may be lost in clean-up code of a library; a signal that is counted is not.
    with Interrupts((signal.SIGINT,)) as interrupts:
        if settings.json or not settings.console().is_terminal:
            while not interrupts.count:
                _once(settings, run, every)
                interrupts.wait(_PERIOD)
            return
        from rich.live import Live

        console = settings.console()
        with Live(console=console, auto_refresh=False, screen=False) as live:
            while not interrupts.count:
                live.update(_table(settings, run, every, console), refresh=True)
                interrupts.wait(_PERIOD)


def _once(settings: GlobalOptions, run: str | None, every: bool) -> None:
    if settings.json:
        for line in _node_lines(settings, run) if run is not None else _run_lines(settings, every):
            print_json(line)
        return
    console = settings.console()
    console.print(_table(settings, run, every, console), soft_wrap=True)


def _table(settings: GlobalOptions, run: str | None, every: bool, console: Console) -> Text:
    from rich.text import Text

    from orchestrator.terminal.tables import columns

    width = console.width if console.is_terminal else None
    if run is not None:
        return _node_table(_node_lines(settings, run), width)
    lines = _run_lines(settings, every)
    if not lines:
        if every or not runs.all_runs(settings.runs_dir):
            return Text(f"there is no run in {settings.runs_dir}/")
        return Text("no run is under way; orchestrate ps -a lists finished ones")
    keys = ("run", "state", "engine", "nodes", "progress_text", "started_text", "elapsed_text", "note")
    rows = [[line[key].lower() if key == "state" else line[key] for key in keys] for line in lines]
    headings = ("RUN", "STATE", "ENGINE", "NODES", "PROGRESS", "STARTED", "ELAPSED", "")
    return columns(headings, rows, width, ("ENGINE", "STARTED", "NODES", "PROGRESS"))


def _run_lines(settings: GlobalOptions, every: bool) -> list[dict[str, Any]]:
    found = runs.all_runs(settings.runs_dir)
    return [_run_line(run) for run in found if every or run.alive or run.state in ("STARTING", "LOST")]


def _run_line(run: Run) -> dict[str, Any]:
    snapshot = _snapshot(run) if run.alive else {}
    up, all_nodes = shown.up_count(snapshot) if snapshot else (0, len(_node_names(run)))
    episodes = snapshot.get("episodes") if snapshot else _newest(run.directory / "nodes" / "env-0").get("episode")
    share = snapshot.get("progress")
    progress = [f"episode {numbers.count(episodes)}"] if isinstance(episodes, (int, float)) else []
    progress += [f"{100 * share:.0f} %"] if isinstance(share, (int, float)) else []
    note = "" if run.exit_code is None else f"exit {run.exit_code}"
    if run.state == "LOST":
        from orchestrator.run_server.lead.living_run import advice

        note = f"its run server is gone; {advice(run.directory)}"
    note = ": ".join(part for part in (note, run.reason) if part)
    return {
        "run": run.name,
        "state": snapshot.get("state") or run.state,
        "engine": run.engine,
        "nodes": f"{up}/{all_nodes}",
        "progress_text": "  ".join(progress) or "-",
        "progress": share if isinstance(share, (int, float)) else None,
        "episodes": episodes if isinstance(episodes, (int, float)) else None,
        "started": run.record.get("started"),
        "started_text": numbers.day_and_time(run.started),
        "elapsed": run.elapsed,
        "elapsed_text": numbers.elapsed(run.elapsed),
        "exit_code": run.exit_code,
        "reason": run.reason,
        "note": note,
        "directory": str(run.directory),
    }


def _snapshot(run: Run) -> dict[str, Any]:
    """The status of the run server; empty when it does not answer in time."""
    try:
        with GlobalOptions().client(run, _ANSWER) as client:
            return client.status(timeout=_ANSWER)
    except MurmurationError:
        return {}


def _node_names(run: Run) -> list[str]:
    return sorted(path.name for path in (run.directory / "nodes").glob("*/") if path.name != "run")


def _node_lines(settings: GlobalOptions, which: str | None) -> list[dict[str, Any]]:
    run = settings.find(which)
    snapshot = _snapshot(run) if run.alive else {}
    if snapshot:
        return list(snapshot.get("nodes") or [])
    from orchestrator.launch.process_control import read_records, remains

    left = {process.pid for process in remains(run.directory)} if run.state == "LOST" else set()
    orphans = {record.name: record.pid for record in read_records(run.directory) if record.pid in left}

    return [
        {
            "name": name,
            "state": "orphan" if name in orphans else "ended",
            "pid": orphans.get(name),
            "incarnation": sum(1 for _ in read_lines(run.directory / "nodes" / name / "incarnations.jsonl")),
            "detail": f"runs without its run server; take it over: orchestrate up --resume {run.name}" if name in orphans else "",
            "metrics": _newest(run.directory / "nodes" / name),
        }
        for name in _node_names(run)
    ]


def _newest(node: Path) -> dict[str, float]:
    """The newest metrics of a node by its own file (of a long run its end), and its `episode`: what the live table showed last."""
    lines: list[bytes] = []
    for name in ("usage.jsonl", "metrics.jsonl"):
        with contextlib.suppress(OSError), (node / name).open("rb") as file:
            start = max(0, file.seek(0, 2) - _TAIL)
            file.seek(start)
            lines += file.read().split(b"\n")[1 if start else 0 :]
    newest: dict[str, float] = {}
    for line in lines:
        try:
            row = json.loads(line)
            newest |= {str(row["name"]): float(row["value"]), "episode": float(row["episode"])}
        except (ValueError, KeyError, TypeError):  # the last line of a node that was killed may be torn
            continue
    return newest


def _node_table(nodes: list[dict[str, Any]], width: int | None) -> Text:
    from orchestrator.terminal.tables import columns

    rows = [
        (
            str(node.get("name", "")),
            shown.state(node),
            str(node.get("pid") or "-"),
            str(node.get("restarts", max(0, int(node.get("incarnation") or 1) - 1))),
            numbers.count(shown.value(node, "episode")),
            numbers.count(shown.value(node, "steps/s")),
            numbers.decimal(shown.value(node, "return")),
            numbers.decimal(shown.value(node, "success")),
            str(node.get("detail") or ""),
        )
        for node in nodes
    ]
    headings = ("NODE", "STATE", "PID", "RESTARTS", "EPISODE", "STEPS/S", "RETURN", "SUCCESS", "DETAIL")
    return columns(headings, rows, width, ("STEPS/S", "SUCCESS", "EPISODE", "RESTARTS", "RETURN", "PID"))
