"""What happens when under the logical clock: the environment server decides it from the ticks alone, and everybody follows.

A checkpoint ends a part of the run. All nodes keep what has been learnt and forget what is under way (running episodes, negotiations,
messages), and the next part begins from the checkpoint: in the same processes or, after whatever happened to them, in others. Both do
the same, so a run that was resumed equals one that was never interrupted.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Any

from protocols.settings import parse_duration


class Course:
    """Of a run: when training ends, and when everybody makes a checkpoint."""

    def __init__(self, until: Mapping[str, Any], length: float, checkpoint: float) -> None:
        """`until`: the configuration's; `length` of a tick and time between two checkpoints in (virtual) seconds."""
        self._episodes, self._steps = until.get("episodes"), until.get("steps")
        time = until.get("time")
        self._ticks = None if time is None else max(1, ceil(parse_duration(time) / length - 1e-9))
        self._period = max(1, ceil(checkpoint / length - 1e-9))
        self._next = self._period

    def begin(self, tick: int) -> None:
        """A part of the run begins at a tick."""
        self._next = tick + self._period

    def over(self, tick: int, steps: int, episodes: int) -> str | None:
        """Why training ends at this tick, in words, or None."""
        if self._episodes is not None and episodes >= self._episodes:
            return f"{episodes} episodes"
        if self._steps is not None and steps >= self._steps:
            return f"{steps} steps"
        if self._ticks is not None and tick >= self._ticks:
            return f"{tick} ticks"
        return None

    def checkpoint(self, tick: int, busy: bool) -> bool:
        """Whether everybody makes a checkpoint at this tick; not while the environment server is `busy` with what no checkpoint keeps."""
        return tick >= self._next and not busy
