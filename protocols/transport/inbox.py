"""Received messages that wait for the application: filled by the thread that drives the sockets, emptied by the application."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from protocols.wire.message_registry import newest_only
from protocols.wire.messages import Channel, Message


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """A message that arrived, checked and decoded; arrays are read-only views that keep their frame alive."""

    channel: Channel
    src: str
    message: Message
    arrays: Mapping[str, NDArray[Any]]


class Inbox:
    """Messages in order of arrival; of those where only the newest counts, older ones are left out on the way to the application.

    It is full from `messages` messages or `size` bytes on. Nothing is refused then: the driver must stop reading.
    """

    def __init__(self, messages: int, size: int) -> None:
        self._messages = messages
        self._size = size
        self._waiting: deque[tuple[ReceivedMessage, int]] = deque()
        # Each is written by one thread only: the difference is never too small for long, and exact when the other one rests.
        self._arrived_bytes = 0
        self._taken_bytes = 0

    @property
    def depth(self) -> int:
        """Number of messages that wait for `take`."""
        return len(self._waiting)

    @property
    def full(self) -> bool:
        """Whether the number or the bytes of the waiting messages have reached their limit; the driver then stops reading from the
        sockets."""
        return len(self._waiting) >= self._messages or self._arrived_bytes - self._taken_bytes >= self._size

    def put(self, received: ReceivedMessage, size: int) -> None:
        """Append a message of `size` bytes; called by the thread that drives the sockets."""
        self._arrived_bytes += size
        self._waiting.append((received, size))

    def take(self) -> list[ReceivedMessage]:
        """Remove and return all waiting messages in order of arrival (application). Of kinds of which only the newest counts, older ones
        may be left out."""
        received = []
        coalesce, only = False, newest_only()
        for _ in range(len(self._waiting)):
            item, size = self._waiting.popleft()
            self._taken_bytes += size
            coalesce = coalesce or type(item.message) in only
            received.append(item)
        return self._coalesced(received) if coalesce and len(received) > 1 else received

    @staticmethod
    def _coalesced(received: list[ReceivedMessage]) -> list[ReceivedMessage]:
        only = newest_only()
        newest = {_sort(item): i for i, item in enumerate(received)}
        return [item for i, item in enumerate(received) if type(item.message) not in only or newest[_sort(item)] == i]


def _sort(item: ReceivedMessage) -> tuple[Channel, str, type[Message]]:
    return item.channel, item.src, type(item.message)
