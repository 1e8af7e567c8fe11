"""When training ends under the logical clock, by what the run has done: `until`, with its time counted in ticks.

A run that has ended may be continued with larger limits: the end recorded in a checkpoint is compared with the current limits.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Any

from protocols.runtime.settings_types import parse_duration


def in_ticks(seconds: float, length: float) -> int:
    """Ticks of `length` seconds that a duration lasts: whole ones, at least one."""
    return max(1, ceil(seconds / length - 1e-9))


class TrainingLimits:
    """`until` of the configuration, its time as text or in seconds; `length`: virtual seconds of a tick."""

    def __init__(self, until: Mapping[str, Any], length: float) -> None:
        self._episodes, self._steps = until.get("episodes"), until.get("steps")
        time = until.get("time")
        seconds = parse_duration(time) if isinstance(time, str) else time
        self._ticks = None if seconds is None else in_ticks(seconds, length)

    def reached(self, tick: int, steps: int, episodes: int) -> str | None:
        """Which limit is reached, in words, or None."""
        if self._episodes is not None and episodes >= self._episodes:
            return f"{episodes} episodes"
        if self._steps is not None and steps >= self._steps:
            return f"{steps} steps"
        if self._ticks is not None and tick >= self._ticks:
            return f"{tick} ticks"
        return None

    def still_over(self, checkpoint: Mapping[str, Any], tick: int) -> str | None:
        """Why training was over at a checkpoint of the environment server, where it still is; None where there is training left.

        What counts is where training ended: episodes that were under way then have been played to their end, and counted."""
        course, numbers = checkpoint["course"], checkpoint["numbers"]
        if course["training"]:
            return None
        # Earlier versions did not write down where it ended.
        return self.reached(*(course.get("end") or (tick, numbers["steps"], numbers["episodes"])))
