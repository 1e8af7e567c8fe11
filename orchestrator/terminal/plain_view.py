"""Progress without a terminal: one line a period and one an event, flushed, free of escapes."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TextIO

from orchestrator.results import number_text as numbers
from orchestrator.terminal import snapshot_figures as figures
from orchestrator.terminal.run_view import Event, WatchOutcome, event_text, outcome_text, startup_lines, worth_a_line

_FIGURES = (("return", numbers.decimal), ("success", numbers.decimal), ("aligned", numbers.decimal), ("disagree", numbers.small))
_ENDING = ("STOPPING", "DONE", "FAILED", "STOPPED")
PERIOD = 10.0
"""seconds between two lines of progress"""


def progress_text(snapshot: dict[str, Any]) -> str:
    """Progress in one line: share done, times, nodes, and the agents' mean figures."""
    agents = figures.agents(snapshot)
    up, all_nodes = figures.up_count(snapshot)
    parts = [
        f"{100 * float(snapshot.get('progress') or 0):.0f} %",
        f"elapsed {numbers.elapsed(snapshot.get('elapsed'))}",
        f"left {numbers.elapsed(snapshot.get('left'))}",
        f"nodes {up}/{all_nodes}",
        f"episodes {numbers.count(snapshot.get('episodes'))}",
        f"steps {numbers.count(snapshot.get('steps'))}",
    ]
    for figure, form in _FIGURES:
        if (number := figures.average(agents, figure)) is not None:
            bar = numbers.sparkline(figures.history(agents[0], figure), ascii_only=True) if figure == "return" else ""
            parts.append(f"{figure} {form(number)}{' ' + bar if bar else ''}")
    if phase := figures.phase(snapshot):
        parts.append(phase)
    return "  ".join(parts)


class PlainView:
    """Writes lines to `stream`. `clock` is monotonic seconds."""

    period = 0.5

    def __init__(self, stream: TextIO, every: float = PERIOD, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._every = every
        self._clock = clock
        self._next = clock() + every
        self._seen: set[str] = set()

    def __enter__(self) -> PlainView:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.flush()

    def notice(self, text: str) -> None:
        """A line from the client itself."""
        self._stream.write(text + "\n")
        self._stream.flush()

    def show(self, snapshot: dict[str, Any], events: list[Event]) -> None:
        """Events at once, progress when its time has come."""
        for event in events:
            if worth_a_line(event, snapshot, self._seen):
                self.notice(event_text(event))
        for line in startup_lines(snapshot, self._seen):
            self.notice(line)
        now = self._clock()
        if now >= self._next and snapshot.get("state") not in _ENDING:
            self._next = now + self._every
            self.notice(f"{numbers.clock(datetime.now(UTC))} {progress_text(snapshot)}")

    def end(self, outcome: WatchOutcome, summary: str = "") -> None:
        """The summary and the last line."""
        for text in filter(None, (summary, outcome_text(outcome))):
            self.notice(text)
