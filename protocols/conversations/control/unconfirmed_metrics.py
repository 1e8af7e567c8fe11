"""Rows of metrics that the run server may not have: kept until it has answered for some time after they were sent.

Rows are numbered, and the run server takes each number once. While it does not answer, rows are kept and not sent; when it answers again,
or its successor does, all that are kept are sent (again). The number of rows is bounded: the oldest of more are dropped and counted. A
machine without socket or clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

from numpy.typing import NDArray

from protocols.conversations.control.control_messages import Metrics

MOST_ROWS = 4096
CONFIRMED_AFTER = 10.0
"""seconds after which a row that was sent is no longer kept, if the run server has answered since: metrics of the whole run need the rows
of all agents, and those of the others may be that much later"""
_AT_ONCE = 32
"""rows that are sent in one go"""


@dataclass(slots=True)
class _Row:
    message: Metrics
    arrays: Mapping[str, NDArray[Any]]
    sent: float = -1.0


class UnconfirmedMetrics:
    """The rows of one node. `dropped`: how many were never confirmed, for want of room."""

    def __init__(self, most: int = MOST_ROWS, confirmed_after: float = CONFIRMED_AFTER) -> None:
        self.dropped = 0
        self._most, self._after = most, confirmed_after
        self._rows: deque[_Row] = deque()
        self._unsent = 0
        """rows at the end of the queue that are to be sent"""
        self._numbers = count(1)
        self._confirmed = 0.0

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, message: Metrics, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Keep a row, to be sent by `send`; gives it its number."""
        message.number = next(self._numbers)
        self._rows.append(_Row(message, arrays))
        self._unsent += 1
        while len(self._rows) > self._most:
            oldest = self._rows.popleft()
            self.dropped += not 0.0 <= oldest.sent <= self._confirmed
            self._unsent = min(self._unsent, len(self._rows))

    def send(self, send: Callable[[Metrics, Mapping[str, NDArray[Any]]], bool], now: float) -> None:
        """Send rows that are due, oldest first, until `send` refuses one."""
        for _ in range(min(self._unsent, _AT_ONCE)):
            row = self._rows[-self._unsent]
            if not send(row.message, row.arrays):
                return
            row.sent = now
            self._unsent -= 1

    def answered(self, now: float) -> None:
        """The run server answers: what was sent long enough ago has arrived."""
        self._confirmed = now - self._after
        while self._rows and 0.0 <= self._rows[0].sent <= self._confirmed:
            self._rows.popleft()

    def send_again(self) -> None:
        """What was sent may be lost: all rows are due."""
        self._unsent = len(self._rows)
        for row in self._rows:
            row.sent = -1.0
