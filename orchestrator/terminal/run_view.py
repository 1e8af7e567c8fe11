"""What all views of a running run have in common: events and outcomes in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from orchestrator.results import number_text as numbers

Event = dict[str, Any]


@dataclass(frozen=True)
class WatchOutcome:
    """How watching a run ended: with the run (`left` false), or by leaving it to itself."""

    directory: Path
    state: str
    exit_code: int
    reason: str = ""
    elapsed: float | None = None
    left: bool = False


class ProgressView:
    """Shows snapshots of a run; this one shows nothing. A context manager, so that the terminal is restored however it ends."""

    period = 0.5
    """seconds between two looks"""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def notice(self, text: str) -> None:
        """A line from the client itself."""

    def show(self, snapshot: dict[str, Any], events: list[Event]) -> None:
        """The newest snapshot, and the events since the last one."""

    def end(self, outcome: WatchOutcome, summary: str = "") -> None:
        """The run has ended, or is left: `summary`, metrics of a run for people, and the last line."""
        for text in filter(None, (summary, outcome_text(outcome))):
            self.notice(text)


def event_text(event: Event) -> str:
    """`14:02:52 WARN  agent-2: killed by signal 9 ...`; the node is not named twice, and the run never."""
    node = str(event.get("node") or "")
    text = str(event.get("text") or event.get("code") or "")
    mark = {"warning": "WARN  ", "error": "ERROR "}.get(str(event.get("severity", "")), "")
    prefix = "" if node in ("", "run") or text.startswith(f"{node} ") else f"{node}: "
    return f"{numbers.clock(event.get('t'))} {mark}{prefix}{text}"


def worth_a_line(event: Event, snapshot: dict[str, Any], seen: set[str]) -> bool:
    """Whether it is worth a line: not the first coming of a node (`startup_lines` has it), nor its leaving at the end; one line
    for one death (that of the restart); not the end of the run, which the last line has. Adds to `seen`."""
    code = event.get("code")
    death = f"{event.get('node')} dead {event.get('incarnation')}"
    if code in ("node.restart", "node.dead"):
        again = death in seen
        seen.add(death)
        return not (again and code == "node.dead")
    if code == "run.ended":
        return False
    if event.get("severity") != "info":
        return True
    if code in ("node.joining", "node.alive"):
        again = event.get("node") in seen or int(event.get("incarnation") or 1) > 1
        return code == "node.alive" and again
    return code != "node.left" or snapshot.get("state") == "RUNNING"


def startup_lines(snapshot: dict[str, Any], seen: set[str]) -> list[str]:
    """One line for each node that came up since the last look: its parts and the seconds it took. Adds to `seen`."""
    lines = []
    for node in snapshot.get("nodes", ()):
        name = str(node.get("name", ""))
        if name in seen or node.get("state") != "alive":
            continue
        seen.add(name)
        after = node.get("up_after")
        took = f"{after:.1f} s" if isinstance(after, (int, float)) else ""
        lines.append(f" {name:<10} up  {node.get('detail') or '':<32} {took}".rstrip())
    return lines


def news(snapshot: dict[str, Any], events: list[Event], seen: set[str]) -> Iterator[tuple[str, str]]:
    """(line, severity) of what is new since the last look. Adds to `seen`."""
    for event in events:
        if worth_a_line(event, snapshot, seen):
            yield event_text(event), str(event.get("severity", ""))
    for line in startup_lines(snapshot, seen):
        yield line, ""


def outcome_text(outcome: WatchOutcome) -> str:
    """`done after 4:32 (exit 0)`, or why not."""
    name = outcome.directory.name
    if outcome.left:
        return f"{name} goes on; attach again: orchestrate attach {name}   stop it: orchestrate down {name}"
    words = {"DONE": "done", "FAILED": "failed", "STOPPED": "stopped", "LOST": "lost"}.get(outcome.state, outcome.state.lower())
    after = f" after {numbers.elapsed(outcome.elapsed)}" if outcome.elapsed is not None else ""
    reason = f": {outcome.reason}" if outcome.reason else ""
    return f"{name} {words}{after}{reason} (exit {outcome.exit_code})"


def heading(run: str, seed: object, engine: str, nodes: int, hosts: int, directory: Path | str) -> str:
    """The first line of every view of a run: its name and what was asked for."""
    machines = "1 host" if hosts == 1 else f"{hosts} hosts"
    return f"run {run}    seed {seed}    engine {engine}    {nodes} nodes on {machines}    {directory}"
