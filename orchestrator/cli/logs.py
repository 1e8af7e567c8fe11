"""`orchestrate logs`: the logs of all processes of a run as one, in order of time."""

from __future__ import annotations

import fnmatch
import time
import zlib
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.command_options import GlobalOptions, app, examples, options, print_json, seconds
from orchestrator.cli.completion import complete_runs
from orchestrator.results import run_directories as runs
from orchestrator.results import run_logs as reader
from orchestrator.results.number_text import clock
from orchestrator.results.run_files import read_json, read_lines
from orchestrator.results.run_logs import Keep, LogEntry
from protocols.runtime.errors import UsageError
from protocols.runtime.logs import LogLine

if TYPE_CHECKING:
    from rich.console import Console

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "warn": 30, "error": 40, "critical": 50}
_SHORT = {"WARNING": "WARN", "CRITICAL": "CRIT"}
_COLORS = ("cyan", "green", "magenta", "blue", "bright_cyan", "bright_green", "bright_magenta", "bright_blue")
_POLL = 0.2


@app.command("logs", epilog=examples("orchestrate logs -f", "orchestrate logs night 'agent-*' --level warning --since 5m"))
def logs(
    context: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN] [NODE ...]", autocompletion=complete_runs, help="A run (the newest without), then nodes: names or globs."
        ),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run ends; Ctrl-C leaves.")] = False,
    count: Annotated[int | None, typer.Option("--tail", "-n", min=0, help="Only the newest records.")] = None,
    since: Annotated[str | None, typer.Option("--since", help="Only records younger than 5m, or since a time (ISO 8601).")] = None,
    level: Annotated[str, typer.Option("--level", help="Least severity: debug, info, warning, error.")] = "debug",
    no_prefix: Annotated[bool, typer.Option("--no-prefix", help="Without the time and the node's name.")] = False,
    events: Annotated[bool, typer.Option("--events", help="The run's events (states, restarts, faults) instead of the logs.")] = False,
) -> None:
    """Show the logs of the run server, the hosts and the nodes, merged by time (local zone; files hold UTC)."""
    settings = options(context)
    least = _LEVELS.get(level.lower())
    if least is None:
        raise UsageError(f'--level: "{level}" is not one of debug, info, warning, error')
    directory, nodes = _split(settings, names or [])
    begin = _since(since)
    if count is None and begin is None and follow:
        count = 100

    def keep(record: LogEntry) -> bool:
        return record.line.severity >= least and (begin is None or record.time >= begin)

    printer = _Printer(settings, no_prefix)
    try:
        for record in (_events if events else _logs)(directory, nodes, keep, count, follow):
            printer.record(record)
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


def _split(settings: GlobalOptions, names: list[str]) -> tuple[Path, list[str]]:
    """The run and the nodes: the first name is a run if there is one of that name, else a node of the newest run."""
    if not names:
        return settings.find(None).directory, []
    try:
        return runs.find(settings.runs_dir, names[0]).directory, names[1:]
    except UsageError:
        found = runs.all_runs(settings.runs_dir)
        if found and reader.sources(found[0].directory, [names[0]]):
            return found[0].directory, names
        raise


def _since(text: str | None) -> datetime | None:
    if text is None:
        return None
    if text[:1].isdigit() and "-" in text:
        moment = runs.parse_time(text)
        if moment is None:
            raise UsageError(f'--since: "{text}" is not a time; write 5m, 2h or 2026-11-21T14:00:00')
        return moment if text.endswith("Z") or "+" in text else moment.replace(tzinfo=None).astimezone()
    return datetime.now(UTC) - timedelta(seconds=seconds(text, "--since"))


class _Printer:
    """Records on standard output: coloured prefix per process, or JSON."""

    def __init__(self, settings: GlobalOptions, no_prefix: bool) -> None:
        self._json = settings.json
        self._no_prefix = no_prefix
        self._console: Console = settings.console()
        self._width = 7

    def record(self, record: LogEntry) -> None:
        """One log record; further lines are indented below the first."""
        line = record.line
        if self._json:
            fields: dict[str, Any] = {"level": line.level, "logger": line.logger, "text": line.text}
            print_json({"t": line.time.isoformat(timespec="milliseconds").replace("+00:00", "Z"), "node": record.source, **fields})
            return
        from rich.text import Text

        self._width = max(self._width, len(record.source))
        severity = f"{_SHORT.get(line.level, line.level):<5} "
        style = "red" if line.severity >= 40 else "yellow" if line.severity >= 30 else "dim" if line.severity < 20 else ""
        text = Text()
        for number, part in enumerate(line.text.split("\n")):
            if number:
                text.append("\n")
            if not self._no_prefix:
                color = _COLORS[zlib.crc32(record.source.encode()) % len(_COLORS)]
                moment = clock(line.time, milliseconds=True) if line.time.year > 1970 else " " * 12
                text.append(f"{moment} {record.source:<{self._width}} | ", color)
            text.append(severity if number == 0 else " " * len(severity), style)
            text.append(_printable(part), style)
        self._console.print(text, soft_wrap=True)
        self._console.file.flush()


def _printable(text: str) -> str:
    """Without control characters: a log line must not drive the terminal."""
    return "".join(c if c.isprintable() or c == "\t" else f"\\x{ord(c):02x}" for c in text)


def _logs(directory: Path, nodes: list[str], keep: Keep, count: int | None, follow: bool) -> Iterator[LogEntry]:
    files = reader.sources(directory, nodes)
    expected = [*reader.sources(directory), *(_to_come(directory) if follow else ())]
    if nodes and not any(fnmatch.fnmatchcase(name, wanted) for name in expected for wanted in nodes):
        known = ", ".join(dict.fromkeys(expected)) or "none yet"
        raise UsageError(f"{directory.name} has no log of {' '.join(nodes)}; there are: {known}")
    if not follow:
        yield from reader.merge(files, count, keep)
        return
    with closing(reader.Follower(directory, nodes, keep)) as follower:
        yield from reader.merge(files, count, keep)
        while not runs.read(directory).over:
            yield from follower.poll()
            time.sleep(_POLL)
        yield from follower.drain()


def _to_come(directory: Path) -> list[str]:
    """Nodes of a run, whose logs may be written later."""
    count = read_json(directory / "config.json").get("agents", {}).get("count", 0)
    return ["env-0", *(f"agent-{i}" for i in range(count))]


def _events(directory: Path, nodes: list[str], keep: Keep, count: int | None, follow: bool) -> Iterator[LogEntry]:
    shown = 0
    while True:
        over = runs.read(directory).over
        found = []
        for event in read_lines(directory / "events.jsonl"):
            node, moment = str(event.get("node") or "run"), runs.parse_time(event.get("t"))
            if moment is not None and (not nodes or any(fnmatch.fnmatchcase(node, wanted) for wanted in nodes)):
                severity = str(event.get("severity", "info")).upper()
                found.append(LogEntry(node, LogLine(moment, severity, str(event.get("code", "")), str(event.get("text") or ""))))
        fresh = [record for record in found[shown:] if keep(record)]
        yield from fresh if shown or count is None else fresh[max(0, len(fresh) - count) :]
        shown = len(found)
        if not follow or over:
            return
        time.sleep(_POLL)
