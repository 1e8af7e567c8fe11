"""Progress as lines, flushed and free of escapes: plain text for people, JSON objects for scripts, nothing with --quiet.

JSON lines are `{"t", "kind": state | progress | event | notice | end, ...}`; the last one is `end`.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import IO, Any, Self

from orchestrator.results import number_text as numbers
from orchestrator.results.run_files import utc_now
from orchestrator.terminal import snapshot_metrics as shown
from orchestrator.terminal.run_view import Event, ProgressView, WatchOutcome, news

_FIGURES = (("return", numbers.decimal), ("success", numbers.decimal), ("aligned", numbers.decimal), ("disagree", numbers.small))
_ENDING = ("STOPPING", "DONE", "FAILED", "STOPPED")
_STATE = ("run", "directory", "reason", "seed", "engine", "phase")
_PROGRESS = ("elapsed", "left", "progress", "episodes", "steps", "phase", "evaluation", "nodes")
PERIOD = 10.0
"""seconds between two lines of progress"""


def finite(value: Any) -> Any:
    """The same value with null in place of numbers that JSON does not have (infinite, not a number)."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    return [finite(item) for item in value] if isinstance(value, list) else value


class LineWriter:
    """Writes lines to a stream; a context manager."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.flush()

    def notice(self, text: str) -> None:
        """A line from the client itself."""
        self._stream.write(text + "\n")
        self._stream.flush()


class JsonWriter(LineWriter):
    """JSON objects on a stream, one a line."""

    def write(self, kind: str, t: str | None = None, **fields: Any) -> None:
        """One line."""
        line = {"t": t or utc_now(), "kind": kind, **fields}
        super().notice(json.dumps(finite(line), ensure_ascii=False, default=_plain, allow_nan=False))

    def notice(self, text: str) -> None:
        """A line from the client itself."""
        self.write("notice", text=text)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (tuple, set, frozenset)) else str(value)


class JsonView(JsonWriter, ProgressView):
    """Lines for a script: `state` when the run's state changes, `progress` every `every` seconds, events as they come."""

    def __init__(self, stream: IO[str], every: float = 2.0, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(stream)
        self._every = every
        self._clock = clock
        self._next = clock()
        self._state = ""

    def show(self, snapshot: dict[str, Any], events: list[Event]) -> None:
        """What has changed since the last snapshot."""
        state = str(snapshot.get("state", ""))
        if state != self._state:
            self._state = state
            self.write("state", state=state, **{key: snapshot[key] for key in _STATE if key in snapshot})
        for event in events:
            self.write("event", t=event.get("t"), **{key: value for key, value in event.items() if key not in ("t", "kind")})
        if self._clock() >= self._next:
            self._next = self._clock() + self._every
            self.write("progress", **{key: snapshot.get(key) for key in _PROGRESS})

    def end(self, outcome: WatchOutcome, summary: str = "") -> None:
        """The last line, with the exit code and the directory."""
        facts = {name: getattr(outcome, name) for name in ("exit_code", "state", "reason", "elapsed", "left")}
        self.write("end", directory=str(outcome.directory), **facts)


def progress_text(snapshot: dict[str, Any]) -> str:
    """Progress in one line: share done, times, nodes, and the agents' mean metrics."""
    agents = shown.agents(snapshot)
    up, all_nodes = shown.up_count(snapshot)
    parts = [
        f"{100 * float(snapshot.get('progress') or 0):.0f} %",
        f"elapsed {numbers.elapsed(snapshot.get('elapsed'))}",
        f"left {numbers.elapsed(snapshot.get('left'))}",
        f"nodes {up}/{all_nodes}",
        f"episodes {numbers.count(snapshot.get('episodes'))}",
        f"steps {numbers.count(snapshot.get('steps'))}",
    ]
    for figure, form in _FIGURES:
        if (number := shown.average(agents, figure)) is not None:
            bar = numbers.sparkline(shown.history(agents[0], figure), ascii_only=True) if figure == "return" else ""
            who = " per agent" if figure == "return" and len(agents) > 1 else ""
            parts.append(f"{figure}{who} {form(number)}{' ' + bar if bar else ''}")
    if phase := shown.phase(snapshot):
        parts.append(phase)
    return "  ".join(parts)


class PlainView(LineWriter, ProgressView):
    """Lines for people: one a period and one an event. `clock` is monotonic seconds."""

    def __init__(self, stream: IO[str], every: float = PERIOD, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(stream)
        self._every = every
        self._clock = clock
        self._next = clock() + every
        self._seen: set[str] = set()

    def show(self, snapshot: dict[str, Any], events: list[Event]) -> None:
        """Events at once, progress when it is due."""
        for line, _ in news(snapshot, events, self._seen):
            self.notice(line)
        now = self._clock()
        if now >= self._next and snapshot.get("state") not in _ENDING:
            self._next = now + self._every
            self.notice(f"{numbers.clock(datetime.now(UTC))} {progress_text(snapshot)}")
