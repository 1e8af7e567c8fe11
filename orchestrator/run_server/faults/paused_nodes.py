"""Processes that stand still, by a signal of the run server or by themselves: who, by which faults, and how they go on again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from protocols.faults.schedule.run_moments import RunMoment

_AGAIN = (0.0, 0.5, 1.0)
"""seconds after which SIGCONT is sent (again): it does no harm"""


@dataclass(frozen=True)
class PausedNode:
    """One fault by which a process stands still, or hangs, until `until`."""

    node: str
    incarnation: int
    fault: str
    kind: str
    until: RunMoment | None


class PausedNodes:
    """A process goes on when the last of the faults that hold it is over. `signal(node, incarnation, what)` sends `stop` or `cont`."""

    def __init__(self, signal: Callable[[str, int, Literal["stop", "cont"]], None]) -> None:
        self._signal = signal
        self._held: dict[tuple[str, str], PausedNode] = {}
        self._continue: list[tuple[float, str, int]] = []

    @property
    def held(self) -> list[PausedNode]:
        """What holds nodes now, in the order in which it began."""
        return list(self._held.values())

    def of(self, node: str) -> list[PausedNode]:
        """The faults that hold `node` at present."""
        return [stopped for stopped in self._held.values() if stopped.node == node]

    def note(self, stopped: PausedNode) -> None:
        """Record that a fault has paused a process; pending repetitions of `cont` for this node are dropped."""
        self._held[stopped.node, stopped.fault] = stopped
        self._continue = [item for item in self._continue if item[1] != stopped.node]

    def stop(self, stopped: PausedNode) -> None:
        """Pause a process: record the fault and send the signal `stop`."""
        self.note(stopped)
        self._signal(stopped.node, stopped.incarnation, "stop")

    def forget(self, node: str, fault: str | None = None) -> list[PausedNode]:
        """That node's process is gone, or has gone on by itself after that fault; what held it."""
        gone = [stopped for stopped in self.of(node) if fault in (None, stopped.fault)]
        for stopped in gone:
            del self._held[node, stopped.fault]
        return gone

    def release(self, stopped: PausedNode, now: float) -> None:
        """End one fault: the process is continued by repeated signals, unless another fault holds it. `KeyError` for an unknown fault."""
        del self._held[stopped.node, stopped.fault]
        if not self.of(stopped.node):
            self._continue += [(now + again, stopped.node, stopped.incarnation) for again in _AGAIN]

    def tick(self, now: float) -> None:
        """Send the signals `cont` that are due at `now`, in seconds."""
        for item in [item for item in self._continue if item[0] <= now]:
            self._continue.remove(item)
            self._signal(item[1], item[2], "cont")

    def resume_all(self) -> None:
        """The run ends: send at once what would be due later."""
        for _, node, incarnation in self._continue:
            self._signal(node, incarnation, "cont")
