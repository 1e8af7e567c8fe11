"""An experiment while it goes on: a line for each finished cell, and where a terminal looks on, one of the running cells."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from math import inf
from typing import IO, TYPE_CHECKING

from orchestrator.experiments.running.cell_runners import CellEnd
from orchestrator.experiments.running.experiment_runner import ExperimentProgress
from orchestrator.experiments.running.experiment_store import CellStatus
from orchestrator.results.number_text import about
from orchestrator.results.statistics.runs_table import RunRow
from orchestrator.terminal.line_views import JsonWriter, LineWriter

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status

MeasureRows = Callable[[CellStatus], Sequence[RunRow]]
"""all measures of a finished cell, the first one first"""


def left_text(progress: ExperimentProgress) -> str:
    """`left about 2 h 10 min`; empty when nothing is left."""
    if not progress.waiting and not progress.running:
        return ""
    return "left: unknown until the first cell is done" if progress.left is None else f"left about {about(progress.left)}"


def heading(name: str, shape: str, progress: ExperimentProgress) -> str:
    """`delay_sweep  5 delays x 3 topologies x 5 seeds = 75 cells, 12 done before, 63 to run, 0 failed, left about 2 h 10 min`."""
    parts = [shape, f"{progress.done} done before", f"{progress.waiting} to run", f"{progress.failed} failed"]
    return f"{name}  {', '.join([*parts, *([left] if (left := left_text(progress)) else [])])}"


class PlainExperimentView(LineWriter):
    """Lines."""

    def __init__(self, stream: IO[str], name: str, shape: str, measures: MeasureRows) -> None:
        super().__init__(stream)
        self._name, self._shape, self._measures = name, shape, measures
        self._lacking: set[tuple[str, str]] = set()
        """measures that were reported as missing, with the reasons"""

    def begin(self, progress: ExperimentProgress) -> None:
        """See `ExperimentView`."""
        self.notice(heading(self._name, self._shape, progress))

    def finished(self, playing: CellStatus, ended: CellEnd, again: bool, progress: ExperimentProgress) -> None:
        """See `ExperimentView`."""
        rows = self._measures(playing) if ended.state == "DONE" else []
        self.notice(self._line(playing, ended, again, progress, rows))
        self._print_missing(playing, rows)

    def _print_missing(self, playing: CellStatus, rows: Sequence[RunRow]) -> None:
        """Report the metrics that the cell lacks, each with its reason once, before further cells are spent."""
        for row in rows:
            if row.value is None and (row.metric, row.why_not) not in self._lacking:
                self._lacking.add((row.metric, row.why_not))
                self.notice(f"{playing.cell.label} is done, and has no {row.metric}: {row.why_not}")

    def _line(self, playing: CellStatus, ended: CellEnd, again: bool, progress: ExperimentProgress, rows: Sequence[RunRow]) -> str:
        width = len(str(progress.total))
        parts = [f"{progress.done + progress.failed:>{width}}/{progress.total}", f"{playing.cell.label}"]
        if ended.state == "DONE":
            first = rows[0]
            parts += [
                "DONE",
                *([about(ended.seconds)] if ended.seconds is not None else []),
                f"{first.metric} {'-' if first.value is None else 'never' if first.value == inf else f'{first.value:.4g}'}",
            ]
        elif ended.state == "HELD":
            parts += ["interrupted", *([ended.failure] if ended.failure else [])]
        else:
            reason = ended.failure if not again else (ended.failure.splitlines() or [""])[0]
            parts += ["FAILED, will be tried again" if again else "FAILED", reason]
        return "  ".join([*parts, *([left] if ended.state == "DONE" and (left := left_text(progress)) else [])])

    def show(self, progress: ExperimentProgress) -> None:
        """See `ExperimentView`."""

    def close(self) -> None:
        """Nothing more will be shown."""


class TerminalExperimentView(PlainExperimentView):
    """Lines, and below them what runs now."""

    def __init__(self, console: Console, name: str, shape: str, measures: MeasureRows) -> None:
        super().__init__(console.file, name, shape, measures)
        self._console = console
        self._status: Status | None = None

    def show(self, progress: ExperimentProgress) -> None:
        """See `ExperimentView`."""
        from rich.text import Text

        if not progress.running:
            return
        names = ", ".join(progress.running[:2]) + (f" and {len(progress.running) - 2} more" if len(progress.running) > 2 else "")
        text = Text(f"{progress.done} of {progress.total} done, {progress.failed} failed; running {names}; {left_text(progress)}", "dim")
        if self._status is None:
            self._status = self._console.status(text, spinner="line")
            self._status.start()
        else:
            self._status.update(text)

    def notice(self, text: str) -> None:
        """See `ExperimentView`."""
        from rich.text import Text

        self._console.print(Text(text), soft_wrap=True)

    def close(self) -> None:
        """See `PlainExperimentView`."""
        if self._status is not None:
            self._status.stop()
            self._status = None


class JsonExperimentView(JsonWriter, PlainExperimentView):
    """One JSON object a line: `experiment` at first, `progress` every few seconds, `cell` for each that has ended, `notice`."""

    every = 5.0
    _next = 0.0

    def begin(self, progress: ExperimentProgress) -> None:
        """Print the initial progress (`ExperimentView.begin`)."""
        self.write("experiment", name=self._name, shape=self._shape, **vars(progress))

    def finished(self, playing: CellStatus, ended: CellEnd, again: bool, progress: ExperimentProgress) -> None:
        """See `ExperimentView`."""
        from orchestrator.results.statistics.estimate import plain

        rows = self._measures(playing) if ended.state == "DONE" else []
        facts = {"factors": dict(playing.cell.factors), "seed": playing.cell.seed, "identity": playing.identity, **vars(ended)}
        self.write("cell", **facts, again=again, figure={row.metric: plain(row.value) for row in rows[:1]}, left=progress.left)
        self._print_missing(playing, rows)

    def show(self, progress: ExperimentProgress) -> None:
        """See `ExperimentView`."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + self.every
            self.write("progress", **vars(progress))


class QuietExperimentView(PlainExperimentView):
    """Prints only what went wrong."""

    def begin(self, progress: ExperimentProgress) -> None:
        """See `ExperimentView`."""

    def finished(self, playing: CellStatus, ended: CellEnd, again: bool, progress: ExperimentProgress) -> None:
        """See `ExperimentView`."""
        if ended.state == "FAILED":
            super().finished(playing, ended, again, progress)
        elif ended.state == "DONE":
            self._print_missing(playing, self._measures(playing))
