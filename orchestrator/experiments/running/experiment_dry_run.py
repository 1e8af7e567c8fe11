"""What an experiment would do: its cells, their states, how many run side by side, and how long that takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.experiments.design.experiment_reader import ExperimentFile
from orchestrator.experiments.running.experiment_runner import machine_capacity, make_schedule
from orchestrator.experiments.running.experiment_store import CellStatus
from orchestrator.results.number_text import about

_SHOWN = 40
"""cells that are listed"""
_START = 5.0
"""seconds that a run takes to begin and to end, beside what `until.time` allows it"""


@dataclass(frozen=True)
class PlannedWork:
    """What `orchestrate experiment --dry-run` prints: cells by state, their memory and duration, and how many run side by side."""

    read: ExperimentFile
    directory: Path
    playing: Sequence[CellStatus]
    side_by_side: int
    cell_seconds: float | None
    source: str
    """where the seconds of a cell come from"""
    notes: tuple[str, ...]

    @property
    def to_run(self) -> int:
        """Cells that would be played."""
        return sum(one.record.state in ("WAITING", "RUNNING") for one in self.playing)

    @property
    def seconds(self) -> float | None:
        """Estimated seconds until all cells have ended; None where no cell was measured."""
        return None if self.cell_seconds is None else self.cell_seconds * self.to_run / max(1, self.side_by_side)

    def record(self) -> dict[str, Any]:
        """The facts as JSON values."""
        return {
            "name": self.read.name,
            "directory": str(self.directory),
            "shape": self.read.design.shape(),
            "cells": [
                {"factors": dict(one.cell.factors), "seed": one.cell.seed, "state": one.record.state, "command": one.cell.command}
                for one in self.playing
            ],
            "to_run": self.to_run,
            "side_by_side": self.side_by_side,
            "cell_seconds": self.cell_seconds,
            "seconds": self.seconds,
            "notes": list(self.notes),
        }


def facts(read: ExperimentFile, directory: Path, playing: Sequence[CellStatus], jobs: int | None) -> PlannedWork:
    """Look at the plan, at what is measured of former cells, and at this machine."""
    records = [one.record for one in playing]
    side_by_side = make_schedule(playing, machine_capacity(jobs), read.design.limits).side_by_side()
    times = [record.seconds for record in records if record.state == "DONE" and record.seconds is not None]
    runs = [one.cell.configuration for one in playing if one.cell.simulated is None]
    # Virtual seconds don't determine how long they take.
    limits = [run.until.time if run.clock == "wall" else None for run in runs]
    cell_seconds, source = None, "no cell has been run yet, and no until.time under clock: wall limits them"
    if times:
        cell_seconds, source = sum(times) / len(times), f"mean of {len(times)} finished cells"
    elif limits and all(limit is not None for limit in limits):
        cell_seconds = sum(limit for limit in limits if limit is not None) / len(limits) + _START
        source = "by until.time"
    notes = []
    if side_by_side > 1 and any(run.clock == "wall" for run in runs):
        notes.append(
            "cells that run side by side under clock: wall disturb each other's timings (delays, steps per second, who comes late); "
            "with --jobs 1 they don't"
        )
    return PlannedWork(read, directory, playing, side_by_side, cell_seconds, source, tuple(notes))


def text(work: PlannedWork) -> str:
    """The facts as lines of text."""
    design, counts = work.read.design, Counter(one.record.state for one in work.playing)
    failed = f", {counts['FAILED']} failed (--retry-failed)" if counts["FAILED"] else ""
    lines = [
        f"{work.read.name}  {design.shape()}, in {work.directory}",
        *([f"question   {design.question}"] if design.question else []),
        f"base       {work.read.base}" + (", simulated" if design.with_ == "simulate" else ""),
        f"cells      {counts['DONE']} done, {work.to_run} to run{failed}; {work.side_by_side} side by side",
        f"a cell     {'unknown' if work.cell_seconds is None else 'about ' + about(work.cell_seconds)} ({work.source})",
        f"in all     {'unknown' if work.seconds is None else 'about ' + about(work.seconds)}",
        *(f"note       {note}" for note in work.notes),
    ]
    for one in work.playing[:_SHOWN]:
        lines.append(f"  {one.record.state:<8} {one.cell.label}")
    if len(work.playing) > _SHOWN:
        lines.append(f"  ... and {len(work.playing) - _SHOWN} more")
    return "\n".join([*lines, "nothing was started"])
