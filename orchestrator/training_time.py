"""The time of a run's figures: seconds since training began.

Under `clock: logical` they are virtual; speeds and other figures of the machine (`usage.jsonl`) have no such time.
"""

from __future__ import annotations

from math import inf
from pathlib import Path

from orchestrator import runs
from orchestrator.run_files import read_lines
from orchestrator.show import Point
from orchestrator.statistics.table import Curve

VIRTUAL = 1e9
"""seconds, 31 years: no run lasts as long, and every time stamp of the machine is later"""


def is_logical(directory: Path) -> bool:
    """Whether the run went by the logical clock."""
    return runs.read_json(directory / "config.json").get("clock") == "logical"


def training_began(directory: Path) -> float:
    """Unix seconds at which all nodes were up; 0 under the logical clock, whose times begin there."""
    if is_logical(directory):
        return 0.0
    for event in read_lines(directory / "events.jsonl"):
        if event.get("code") == "run.running" and (time := runs.parse_time(event.get("t"))) is not None:
            return time.timestamp()
    return 0.0


def over_time(points: list[Point], zero: float) -> Curve | None:
    """A figure over seconds since training began, `zero`; what was measured before that is left out, and under the logical clock (`zero`
    is 0) what has no virtual time."""
    until = inf if zero else VIRTUAL
    ordered = sorted((point for point in points if zero <= point.time < until), key=lambda one: one.time)
    values = {point.time - zero: point.value for point in ordered}
    return Curve(list(values), list(values.values())) if values else None  # type: ignore[arg-type]
