"""The live table: nodes, metrics and the progress bar, redrawn in place while events scroll above it."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from rich.console import Console, ConsoleRenderable, Group
from rich.live import Live
from rich.text import Text

from orchestrator.results import number_text as numbers
from orchestrator.terminal import snapshot_metrics as shown
from orchestrator.terminal.run_view import Event, ProgressView, WatchOutcome, news
from orchestrator.terminal.snapshot_metrics import Node

_AWAY = ("dead", "lost")
FOLD_ABOVE = 16
"""agents above this number are folded into quartiles and the three worst"""
_STYLES = {"up": "green", "starting": "cyan", "STUCK": "yellow", "SILENT": "yellow", "left": "dim", "RESTART": "bold red", "LOST": "red"}
_SEVERITIES = {"warning": "yellow", "error": "bold red"}


@dataclass(frozen=True)
class Column:
    """One column: heading, text of a node, and its side."""

    heading: str
    text: Callable[[Node], str]
    right: bool = True


def _return(node: Node) -> str:
    number = numbers.decimal(shown.value(node, "return"))
    bar = numbers.sparkline(shown.history(node, "return"))
    return f"{number:>5} {bar:<6}"


def _peers(node: Node) -> str:
    peers = node.get("peers")
    return f"{peers[0]}/{peers[1]}" if isinstance(peers, list) and len(peers) == 2 else "-"


COLUMNS = (
    Column("node", lambda node: str(node.get("name", "")), right=False),
    Column("state", lambda node: shown.state(node), right=False),
    Column("episode", lambda node: numbers.count(shown.value(node, "episode"))),
    Column("steps/s", lambda node: numbers.count(shown.value(node, "steps/s"))),
    Column("return", _return, right=False),
    Column("success", lambda node: numbers.decimal(shown.value(node, "success"))),
    Column("aligned", lambda node: numbers.decimal(shown.value(node, "aligned"))),
    Column("disagree", lambda node: numbers.small(shown.value(node, "disagree"))),
    Column("peers", _peers),
    Column("msg/s", lambda node: numbers.count(shown.value(node, "msg/s"))),
)
"""in order of importance: a narrow terminal drops them from the right"""


def agent_rows(agents: list[Node]) -> list[Node]:
    """The rows to show: all agents, or above `FOLD_ABOVE` quartiles and the three worst (those that are not up, then lowest return)."""
    if len(agents) <= FOLD_ABOVE:
        return agents

    def quartile(index: int) -> dict[str, float]:
        metrics = {}
        for name in sorted({name for node in agents for name in node.get("metrics") or {}}):
            values = [v for node in agents if (v := shown.value(node, name)) is not None]
            if len(values) > 1:
                metrics[name] = statistics.quantiles(values, n=4, method="inclusive")[index]
            elif values:
                metrics[name] = values[0]
        return metrics

    up = sum(shown.state(node) == "up" for node in agents)
    names = ("lower quarter", "median", "upper quarter")
    folded: list[Node] = [{"name": name, "state": f"{up}/{len(agents)}", "metrics": quartile(i)} for i, name in enumerate(names)]

    def badness(node: Node) -> tuple[bool, float]:
        return shown.state(node) == "up", shown.value(node, "return") or 0.0

    return folded + sorted(agents, key=badness)[:3]


def node_table(snapshot: dict[str, Any], width: int) -> Text:
    """The agents' rows, with as many columns as fit into `width` characters (those without any value are left
    out), then a row for each environment server."""
    if not snapshot.get("nodes"):  # the host is not there yet
        return Text()
    rows = agent_rows(shown.agents(snapshot))
    cells = [[column.heading for column in COLUMNS]] + [[column.text(node) for column in COLUMNS] for node in rows]
    filled = [i for i in range(len(COLUMNS)) if i < 2 or any(row[i].strip(" -") for row in cells[1:])]
    cells = [[row[i] for i in filled] for row in cells]
    columns = [COLUMNS[i] for i in filled]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    fitting, used = 0, 1
    for column_width in widths:
        if used + column_width > width:
            break
        used += column_width + 2
        fitting += 1
    text = Text(no_wrap=True, overflow="ellipsis")
    for number, row in enumerate(cells):
        text.append(" ")
        node = rows[number - 1] if number else {}
        if node.get("state") in _AWAY and node.get("detail"):  # what happened matters more than old metrics
            text.append(f"{row[0]:<{widths[0]}}  ").append(f"{row[1]:<{widths[1]}}", _STYLES.get(row[1], ""))
            text.append(f"  ({node['detail']})"[: max(0, width - widths[0] - widths[1] - 4)] + "\n")
            continue
        for i in range(fitting):
            cell = row[i].rjust(widths[i]) if columns[i].right else row[i].ljust(widths[i])
            style = "bold" if number == 0 else _STYLES.get(row[i], "") if i == 1 else ""
            text.append(cell, style).append("  ")
        text.rstrip()
        text.append("\n")
    for server in shown.servers(snapshot):
        state = shown.state(server)
        parts = [str(server.get("detail") or "")]
        for heading in ("own", "together"):
            if (share := shown.value(server, heading)) is not None:
                parts.append(f"{heading} {numbers.decimal(share)}")
        if (rate := shown.value(server, "steps/s")) is not None:
            parts.append(f"{numbers.count(rate)} steps/s")
        if (late := shown.value(server, "substituted")) is not None:
            parts.append(f"substituted {100 * late:.1f} %")
        text.append(f" {server.get('name', '')!s:<{widths[0]}}  ").append(f"{state:<{widths[1]}}", _STYLES.get(state, ""))
        text.append("  " + "   ".join(part for part in parts if part) + "\n")
    text.rstrip()
    return text


def progress_line(snapshot: dict[str, Any], width: int) -> str:
    """`[████░░░░] 52 %   elapsed 2:31   left ≈ 2:20   training`, the bar as wide as there is room (at most 40)."""
    share = min(1.0, max(0.0, float(snapshot.get("progress") or 0.0)))
    tail = f" {100 * share:.0f} %   elapsed {numbers.elapsed(snapshot.get('elapsed'))}"
    if snapshot.get("left") is not None and share < 1 and snapshot.get("state") in ("RUNNING", "STARTING"):
        tail += f"   left ≈ {numbers.elapsed(snapshot.get('left'))}"
    if phase := shown.phase(snapshot):
        tail += f"   {phase}"
    bar = max(0, min(40, width - len(tail) - 4))
    filled = round(share * bar)
    return f" [{'█' * filled}{'░' * (bar - filled)}]{tail}"[:width]


def fault_line(snapshot: dict[str, Any]) -> str:
    """`faults: freeze: process.pause agent-1   next fault: split: partition agent-0 | agent-1 at episode 1500`; empty where none is."""
    faults = snapshot.get("faults") or {}
    parts = [f"faults: {', '.join(faults['active'])}"] if faults.get("active") else []
    parts += [f"next fault: {faults['next']}"] if faults.get("next") else []
    return "   ".join(parts)


class TableView(ProgressView):
    """Redraws in place on a terminal; everything else is printed above."""

    def __init__(self, console: Console, hint: str = "") -> None:
        self._console = console
        self._hint = hint
        self._seen: set[str] = set()
        self._live = Live(console=console, auto_refresh=False, transient=False, vertical_overflow="crop")

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def notice(self, text: str) -> None:
        """A line above the table."""
        self._console.print(Text(text), soft_wrap=True)

    def show(self, snapshot: dict[str, Any], events: list[Event]) -> None:
        """Redraw the table with the newest snapshot and events."""
        for line, severity in news(snapshot, events, self._seen):
            self._console.print(Text(line, _SEVERITIES.get(severity, "")), soft_wrap=True)
        self._live.update(self.render(snapshot), refresh=True)

    def render(self, snapshot: dict[str, Any]) -> ConsoleRenderable:
        """Table and progress bar for the present width of the terminal."""
        width = self._console.width
        table = node_table(snapshot, width)
        lines: list[ConsoleRenderable] = [table] if table else []
        lines.append(Text(progress_line(snapshot, width), no_wrap=True, overflow="crop"))
        if faults := fault_line(snapshot):
            lines.append(Text(" " + faults, "yellow", no_wrap=True, overflow="ellipsis"))
        if self._hint:
            lines.append(Text(" " + self._hint, "dim", no_wrap=True, overflow="ellipsis"))
        return Group(*lines)

    def end(self, outcome: WatchOutcome, summary: str = "") -> None:
        """The table stays as it was last; below it the summary and the last line."""
        self._live.stop()
        super().end(outcome, summary)
