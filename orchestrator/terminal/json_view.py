"""Progress for a script: one JSON object a line, `{"t", "kind": state | progress | event | notice | end, ...}`; the last is `end`."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TextIO

from orchestrator.terminal.run_view import Event, WatchOutcome

_STATE = ("run", "directory", "reason", "seed", "engine", "phase")
_PROGRESS = ("elapsed", "left", "progress", "episodes", "steps", "phase", "nodes")


def now_text() -> str:
    """The present time in UTC, ISO 8601 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def finite(value: Any) -> Any:
    """The same value with null in place of numbers that JSON does not have (infinite, not a number)."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    return [finite(item) for item in value] if isinstance(value, list) else value


class JsonView:
    """Writes JSON lines to `stream`: a `state` when the run's state changes, `progress` every `every` seconds, events as they come."""

    period = 0.5

    def __init__(self, stream: TextIO, every: float = 2.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._every = every
        self._clock = clock
        self._next = clock()
        self._state = ""

    def __enter__(self) -> JsonView:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.flush()

    def write(self, kind: str, t: str | None = None, **fields: Any) -> None:
        """One line, flushed."""
        line = {"t": t or now_text(), "kind": kind, **fields}
        self._stream.write(json.dumps(finite(line), ensure_ascii=False, default=str, allow_nan=False) + "\n")
        self._stream.flush()

    def notice(self, text: str) -> None:
        """A line from the client itself."""
        self.write("notice", text=text)

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
        self.write(
            "end",
            exit_code=outcome.exit_code,
            directory=str(outcome.directory),
            state=outcome.state,
            reason=outcome.reason,
            elapsed=outcome.elapsed,
            left=outcome.left,
        )
