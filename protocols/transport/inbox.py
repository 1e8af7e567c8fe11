"""What waits for the application: filled by the communication thread, emptied by the main thread."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

from numpy.typing import NDArray

from protocols.messages import AnyMessage, Channel, Heartbeat, HeartbeatAck, Roster

_NEWEST_ONLY = (Heartbeat, HeartbeatAck, Roster)


@dataclass(frozen=True)
class Received:
    """A message that arrived, checked and decoded; arrays are read-only views that keep their frame alive."""

    channel: Channel
    src: str
    message: AnyMessage
    arrays: Mapping[str, NDArray[Any]]


class Inbox:
    """Batches in order of arrival; of messages where only the newest counts, older ones are left out on the way to the application."""

    def __init__(self) -> None:
        self._batches: SimpleQueue[list[Received]] = SimpleQueue()
        self._arrived = 0
        self._taken = 0

    @property
    def depth(self) -> int:
        """Messages that wait. Exact on the communication thread up to what the application takes meanwhile."""
        return self._arrived - self._taken

    def put(self, batch: list[Received]) -> None:
        """Add a batch (communication thread)."""
        self._arrived += len(batch)
        self._batches.put(batch)

    def get(self, timeout: float) -> list[Received]:
        """All that waits; up to `timeout` seconds for the first. Empty when nothing came (application thread)."""
        try:
            batch = self._batches.get(timeout=timeout) if timeout > 0 else self._batches.get_nowait()
        except Empty:
            return []
        received = list(batch)
        while True:
            try:
                received += self._batches.get_nowait()
            except Empty:
                break
        self._taken += len(received)
        if len(received) > 1:
            received = self._coalesced(received)
        return received

    @staticmethod
    def _coalesced(received: list[Received]) -> list[Received]:
        newest = {(item.channel, item.src, type(item.message)): i for i, item in enumerate(received)}
        return [
            item
            for i, item in enumerate(received)
            if not isinstance(item.message, _NEWEST_ONLY) or newest[item.channel, item.src, type(item.message)] == i
        ]
