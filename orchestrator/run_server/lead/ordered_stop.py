"""The order in which a run ends: agents first, so that they leave checkpoints behind, then environment servers; no wait is
without a deadline. A state machine: it computes the next signals, the run server sends them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

Measure = Literal["stop", "term", "kill"]
"""a `stop` command that the node obeys in its own time, SIGTERM, SIGKILL"""


@dataclass(frozen=True)
class StopTimeouts:
    """Seconds from the stop command to SIGTERM, from there to SIGKILL, and from there until the process is left to the sweep."""

    stop: float = 10.0
    term: float = 5.0
    kill: float = 5.0


class OrderedStop:
    """Ends nodes in `stages`, each stage after the one before it."""

    def __init__(self, stages: Sequence[Collection[str]], at_once: bool = False, grace: StopTimeouts = StopTimeouts()) -> None:
        self._stages = [set(stage) for stage in stages]
        self._grace = grace
        self._next: list[tuple[float, Measure | None]] = []
        self._entered: float | None = None
        self.at_once = False
        if at_once:
            self.hurry()

    @property
    def done(self) -> bool:
        """No node is left to wait for."""
        return not self._stages

    def waiting(self, living: Collection[str]) -> tuple[list[str], float | None]:
        """Nodes of the present stage that have not ended, and until when it waits for them."""
        stage = self._stages[0] & set(living) if self._stages else set()
        return sorted(stage), self._next[-1][0] if self._next else None

    def hurry(self) -> None:
        """No more order: all nodes are killed at the next tick."""
        if not self.at_once:
            self.at_once = True
            self._stages = [set().union(*self._stages)] if self._stages else []
            self._entered = None

    def tick(self, now: float, living: Collection[str]) -> list[tuple[str, Measure]]:
        """What is to be done now to nodes whose processes live."""
        measures: list[tuple[str, Measure]] = []
        while self._stages:
            remaining = self._stages[0] & set(living)
            if not remaining:
                self._advance()
                continue
            if self._entered is None:
                self._enter(now)
            while self._next and self._next[0][0] <= now:
                measure = self._next.pop(0)[1]
                if measure is not None:
                    measures += [(node, measure) for node in sorted(remaining)]
            if self._next:
                break
            self._advance()
        return measures

    def _enter(self, now: float) -> None:
        self._entered = now
        grace = self._grace
        if self.at_once:
            self._next = [(now, "kill"), (now + grace.kill, None)]
        else:
            term = now + grace.stop
            self._next = [(now, "stop"), (term, "term"), (term + grace.term, "kill"), (term + grace.term + grace.kill, None)]

    def _advance(self) -> None:
        self._stages.pop(0)
        self._entered = None
        self._next = []
