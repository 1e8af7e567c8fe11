"""The time of a run's figures: seconds since training began.

Under `clock: logical` they are virtual; speeds and other figures of the machine (`usage.jsonl`) have no such time.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from pathlib import Path

from orchestrator.results import run_directories as runs
from orchestrator.results.run_files import read_lines
from orchestrator.results.run_summary import MetricPoint
from orchestrator.results.statistics.runs_table import Curve
from protocols.runtime.settings_types import parse_duration

VIRTUAL = 1e9
"""seconds, 31 years: no run lasts as long, and every time stamp of the machine is later"""


def is_logical(directory: Path) -> bool:
    """Whether the run went by the logical clock."""
    return runs.read_json(directory / "config.json").get("clock") == "logical"


@dataclass(frozen=True)
class TrainingTime:
    """Seconds of training, from the times that stand in a run's files. `zero`: Unix seconds at which all nodes were up; 0 under the logical
    clock, whose times begin there. `gaps`: spans in which the run was interrupted, ascending; they don't count."""

    zero: float
    gaps: tuple[tuple[float, float], ...] = ()

    def of(self, time: float) -> float:
        """Seconds of training at that time; negative before there was any."""
        return self.without_gaps(time) - self.zero

    def without_gaps(self, time: float) -> float:
        """The time, had the run never been interrupted: what lies in a gap is where the gap begins."""
        return time - sum(min(time, end) - begin for begin, end in self.gaps if time > begin)

    def with_gaps(self, time: float) -> float:
        """The inverse of `without_gaps`."""
        for begin, end in self.gaps:
            if time > begin:
                time += end - begin
        return time


def training_time(directory: Path) -> TrainingTime:
    """Of a run. An interruption lasts from where training had come, as the run server has kept it, to where all nodes are up again."""
    if is_logical(directory):
        return TrainingTime(0.0)
    zero = began = trained = last = 0.0
    stopped: float | None = None
    gaps: list[tuple[float, float]] = []
    for event in read_lines(directory / "events.jsonl"):
        if (parsed := runs.parse_time(event.get("t"))) is None:
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
            # Events of earlier versions don't tell how long there was training: it ended with the last that is known of it.
            stopped = min(last, began + kept - trained) if isinstance(kept, (int, float)) else last
            trained = kept if isinstance(kept, (int, float)) else trained
        last = time
    return TrainingTime(zero, tuple(gaps))


def end_of_training(directory: Path) -> float:
    """Seconds of training when it was over; infinite where a run's files don't tell: under the logical clock, where steps or episodes
    ended it."""
    if is_logical(directory):
        until = (runs.read_json(directory / "config.json").get("until") or {}).get("time")
        return inf if until is None else parse_duration(until)
    ends = [runs.parse_time(event.get("t")) for event in read_lines(directory / "events.jsonl") if event.get("code") == "run.evaluation"]
    return training_time(directory).of(ends[-1].timestamp()) if ends and ends[-1] is not None else inf


def over_time(points: list[MetricPoint], time: TrainingTime, over: float = inf) -> Curve | None:
    """A figure over seconds of training; what was measured before it began is left out, and under the logical clock what has no virtual
    time. What was measured after it was `over` (the last evaluation) is of what had been learnt by then, and stands there."""
    until = inf if time.zero else VIRTUAL
    ordered = sorted((point for point in points if time.zero <= point.time < until), key=lambda one: one.time)
    values = {min(time.of(point.time), over): point.value for point in ordered}
    return Curve(list(values), list(values.values())) if values else None  # type: ignore[arg-type]
