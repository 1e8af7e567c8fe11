"""The time of a run's metrics: seconds since training began.

Under `clock: logical` they are virtual. Metrics of the machine, such as speeds (`usage.jsonl`), have no virtual time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.results.run_directories import parse_time

VIRTUAL = 1e9
"""seconds, 31 years: no run lasts as long, and every time stamp of the machine is later"""


@dataclass(frozen=True)
class TrainingTime:
    """Seconds of training, from the times in a run's files. `zero`: Unix seconds at which all nodes were up; 0 under the logical clock,
    whose times begin there. `gaps`: spans in which the run was interrupted, ascending; they don't count."""

    zero: float = 0.0
    gaps: tuple[tuple[float, float], ...] = ()

    def of(self, time: float) -> float:
        """Seconds of training at that time; negative before training."""
        return self.without_gaps(time) - self.zero

    def without_gaps(self, time: float) -> float:
        """The time without interruptions: what lies in a gap is moved to the beginning of the gap."""
        return time - sum(min(time, end) - begin for begin, end in self.gaps if time > begin)

    def with_gaps(self, time: float) -> float:
        """The inverse of `without_gaps`."""
        for begin, end in self.gaps:
            if time > begin:
                time += end - begin
        return time


def training_time(events: Iterable[Mapping[str, Any]]) -> TrainingTime:
    """From the events of a run under the wall clock. An interruption lasts from the end of training, as the run server has kept it, until
    all nodes are up again."""
    zero = began = trained = last = 0.0
    stopped: float | None = None
    gaps: list[tuple[float, float]] = []
    for event in events:
        if (parsed := parse_time(event.get("t"))) is None:
            continue
        code, time = event.get("code"), parsed.timestamp()
        if code == "run.running":
            if not zero:
                zero = time
            elif stopped is not None:
                gaps.append((stopped, time))
            began, stopped = time, None
        elif code == "run.resumed" and zero and stopped is None:
            kept = (event.get("fields") or {}).get("trained")
            # Events of earlier versions have no `trained`: training ended with the last event before the interruption.
            stopped = min(last, began + kept - trained) if isinstance(kept, (int, float)) else last
            trained = kept if isinstance(kept, (int, float)) else trained
        last = time
    return TrainingTime(zero, tuple(gaps))
