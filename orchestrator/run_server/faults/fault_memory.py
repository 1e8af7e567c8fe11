"""What a run that was interrupted must know of its faults: which have begun, and which of them still last."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.run_server.faults.fault_plan import RunFault
from protocols.faults.node_faults.fault_log import FILE, read
from protocols.faults.node_faults.node_fault import LETHAL, MOMENTARY
from protocols.faults.schedule.fault_schedule import LINK_KINDS
from protocols.faults.schedule.run_moments import UNITS, RunPosition
from protocols.runtime.node_start import RUN_SERVER

SUSPENDING = ("process.pause", "process.hang")
"""kinds of a process that stands still"""


@dataclass
class FaultHistory:
    """What the logs of the run's former segments say. Nodes by name; for what links do, the run server."""

    begun: dict[str, RunPosition] = field(default_factory=dict)
    """by fault, how far the run was, as far as whoever began it knew"""
    unfinished: dict[tuple[str, str], str] = field(default_factory=dict)
    """(fault, node) to its kind, where it has begun and not ended"""
    ended: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """by fault, the nodes that it has let go"""
    asked: set[str] = field(default_factory=set)
    """faults that were asked for by hand"""
    offsets: dict[str, int] = field(default_factory=dict)
    """by node, how far its log was read"""

    def settle(self, entry: RunFault, before: RunPosition, timed: bool) -> None:
        """Bring an entry to where it was when the run had come as far as `before`. `timed`: it is begun by its time, by the run server."""
        since = self.begun.get(entry.id)
        if since is None:
            if timed and before.past(entry.start):
                entry.begun = entry.ended = True  # it found nobody
            return
        entry.begun, entry.since = True, since
        until = entry.end_of(since)
        # Of a unit that its node did not know when it began nothing follows here: the node ends it by itself.
        if until is None or until.unit == entry.start.unit or since.of(until.unit) >= 0.0:
            entry.until = until
        targets = {RUN_SERVER} if entry.node_fault is None else set(entry.targets)
        past = entry.until is not None and before.past(entry.until)
        entry.ended = entry.kind in MOMENTARY or past or self.ended[entry.id] >= targets

    def left(self, alone: Collection[str]) -> list[tuple[str, str, str]]:
        """(fault, node, kind) of what ended with the processes: they stood still, or the fault is one of `alone`, which no process goes
        on with by itself."""
        return [
            (fault, node, kind)
            for (fault, node), kind in self.unfinished.items()
            if kind in SUSPENDING or (fault in alone and kind not in LETHAL)
        ]


def remember(directory: Path, nodes: Iterable[str]) -> FaultHistory:
    """Read the logs of the run server and of these nodes."""
    memory = FaultHistory()
    for log in (RUN_SERVER, *nodes):
        for line in read(directory / "nodes" / log / FILE):
            memory.offsets[log] = int(line["_end"])
            fault, what, kind = str(line.get("id")), line.get("what"), str(line.get("kind"))
            node = RUN_SERVER if kind in LINK_KINDS else str(line.get("target") or log)
            if kind in LINK_KINDS and log != RUN_SERVER:
                continue  # every node says so, and the run server too
            if what == "asked":
                memory.asked.add(fault)
            elif what == "begin":
                memory.begun.setdefault(fault, RunPosition(**{unit: float(line.get(unit, -1.0)) for unit in UNITS}))
                memory.unfinished[fault, node] = kind
            elif what == "end":
                memory.unfinished.pop((fault, node), None)
                memory.ended[fault].add(node)
    return memory
