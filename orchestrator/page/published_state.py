"""The newest state of a run, given to its readers: a snapshot first, then what changed. A reader that is slow misses states, never waits
for old ones, and no state is kept for it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Any

SHORTEST = 0.25
"""seconds between two messages to one reader"""
_ALIVE = 15.0
"""seconds after which a comment is sent where nothing changed, so that connections that are gone are noticed"""
_BY_NAME = ("nodes", "edges", "time", "goals")

State = Mapping[str, Any]


def changes(before: State, after: State) -> dict[str, Any]:
    """What differs in `after`: whole values by key; of parts that are by name, whole entries by name, None for those that are gone."""
    found: dict[str, Any] = {}
    for key, value in after.items():
        old = before.get(key)
        if old is value or old == value:
            continue
        if key in _BY_NAME and isinstance(old, dict):
            entries: dict[str, Any] = {name: entry for name, entry in value.items() if old.get(name) != entry}
            found[key] = entries | dict.fromkeys(name for name in old if name not in value)
        else:
            found[key] = value
    return found


def encoded(value: Any) -> str:
    """Compact JSON; a value that is not finite can't be written in it, and none is in a state."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


class PublishedState:
    """Hands the states that one thread publishes to asynchronous readers."""

    def __init__(self) -> None:
        self.state: State | None = None
        self.version = 0
        self._lock = threading.Lock()
        self._readers: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}
        self._delta: tuple[int, int, str] = (0, 0, "")

    @property
    def readers(self) -> int:
        """Number of readers that are connected."""
        return len(self._readers)

    def publish(self, state: State) -> None:
        """Make this the newest state. `state` must not be changed any more."""
        with self._lock:
            self.state = state
            self.version += 1
            readers = list(self._readers.items())
        for event, loop in readers:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(event.set)

    async def stream(self) -> AsyncIterator[str]:
        """Messages of server-sent events: `snapshot`, then `delta` at most every `SHORTEST` seconds."""
        news = asyncio.Event()
        with self._lock:
            self._readers[news] = asyncio.get_running_loop()
        seen: State | None = None
        version = 0
        try:
            yield "retry: 1000\n\n"
            while True:
                with self._lock:
                    newest, number = self.state, self.version
                if newest is None or newest is seen:
                    try:
                        await asyncio.wait_for(news.wait(), _ALIVE)
                    except TimeoutError:
                        yield ": no change\n\n"
                    news.clear()
                    continue
                if seen is None:
                    yield f"id: {number}\nevent: snapshot\ndata: {encoded(newest)}\n\n"
                elif (text := self._delta_text(version, number, seen, newest)) != "{}":
                    yield f"id: {number}\nevent: delta\ndata: {text}\n\n"
                seen, version = newest, number
                await asyncio.sleep(SHORTEST)
        finally:
            with self._lock:
                self._readers.pop(news, None)

    def _delta_text(self, version: int, number: int, seen: State, newest: State) -> str:
        """The changes between two states as JSON; those that most readers need are computed once."""
        if self._delta[:2] != (version, number):
            self._delta = (version, number, encoded(changes(seen, newest)))
        return self._delta[2]
