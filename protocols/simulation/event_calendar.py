"""What happens when, in virtual time: a bucket for each moment, and a heap of the moments only.

Where many messages share a moment, as in rounds over links of equal delay, none of them costs a heap operation.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from math import inf
from typing import Generic, TypeVar

Item = TypeVar("Item")
Action = Callable[[], None]


class MomentBucket(Generic[Item]):
    """What happens at one moment: first the actions, then the items, each in the order in which they were entered."""

    __slots__ = ("actions", "items")

    def __init__(self) -> None:
        self.actions: list[Action] = []
        self.items: list[Item] = []


class Calendar(Generic[Item]):
    """Buckets by time in seconds. `take` hands out the earliest; what is entered meanwhile for the same moment comes in the next one."""

    __slots__ = ("_buckets", "_times")

    def __init__(self) -> None:
        self._buckets: dict[float, MomentBucket[Item]] = {}
        self._times: list[float] = []

    def at(self, time: float) -> MomentBucket[Item]:
        """The bucket of that time, to enter something; it must be used before the next `take`."""
        bucket = self._buckets.get(time)
        if bucket is None:
            bucket = self._buckets[time] = MomentBucket()
            heappush(self._times, time)
        return bucket

    def next(self) -> float:
        """The earliest time at which anything happens; infinite if nothing does."""
        return self._times[0] if self._times else inf

    def take(self) -> tuple[float, MomentBucket[Item]]:
        """The earliest time and what happens then; `IndexError` if nothing does."""
        time = heappop(self._times)
        return time, self._buckets.pop(time)
