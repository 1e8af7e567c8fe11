"""The faults of a run as those see them who look on: what lasts, and what comes next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import inf
from typing import Any

from orchestrator.run_server.faults.fault_plan import RunFault
from orchestrator.run_server.faults.paused_nodes import PausedNode
from protocols.faults.schedule.run_moments import RunMoment, RunPosition


def lasting(
    entries: Sequence[RunFault], held: Iterable[PausedNode], away: Mapping[str, tuple[str, RunMoment | None]]
) -> list[dict[str, Any]]:
    """What lasts now, by hand or by the schedule: id, kind, targets, `since` (how far the run was), where it will end (`until`, if that
    is known), and whether it is `by_hand`. `held`: processes that stand still; `away`: by node, the fault by which it is away, and where
    in the run it comes back."""
    begun = {entry.id: entry for entry in entries if entry.begun and not entry.ended}
    found = [(entry, entry.targets, entry.until) for entry in begun.values()]
    ids = {entry.id: entry for entry in entries}
    found += [(ids[one.fault], (one.node,), one.until) for one in held if one.fault in ids and one.fault not in begun]
    found += [(ids[fault], (node,), back) for node, (fault, back) in away.items() if fault in ids]
    return [
        {
            "id": entry.id,
            "kind": entry.kind,
            "targets": list(targets),
            "since": vars(entry.since),
            "until": None if until is None else vars(until),
            "by_hand": entry.asked is not None,
        }
        for entry, targets, until in found
    ]


def active(entries: Iterable[RunFault], held: Iterable[PausedNode]) -> list[str]:
    """`slow: straggler.update agent-1`, for people."""
    words = [entry.text() for entry in entries if entry.begun and not entry.ended]
    return words + [f"{stopped.fault}: {stopped.kind} {stopped.node}" for stopped in held]


def following(coming: Iterable[RunFault], reached: RunPosition) -> str:
    """The next of those that have not begun: `split: partition agent-0 | agent-1 at episode 1500`; empty where there is none."""
    first = min(coming, key=lambda entry: _seconds_to(entry.start, reached), default=None)
    return "" if first is None else f"{first.text()} at {first.start.unit} {first.start.value:g}"


def _seconds_to(start: RunMoment, reached: RunPosition) -> float:
    """By the pace so far."""
    if start.unit == "time":
        return start.value - reached.time
    done = reached.of(start.unit)
    return (start.value - done) * reached.time / done if done > 0 else inf
