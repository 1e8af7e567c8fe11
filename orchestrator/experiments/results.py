"""What an experiment has shown so far, read from its directory alone: cells, table, verdicts. This is what reports are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from orchestrator.experiments.design import Design
from orchestrator.experiments.verdicts import Verdict
from orchestrator.statistics.table import Table

State = Literal["DONE", "FAILED", "WAITING", "RUNNING"]


@dataclass(frozen=True)
class CellResult:
    """One cell: a combination of factors with one seed, and what has become of it."""

    factors: Mapping[str, str]
    """label of each factor, in the order of the file"""
    seed: int
    state: State
    directory: Path | None
    """of its run; None where it has not begun"""
    command: str
    """the command that repeats this cell"""
    identity: str
    """SHA-256 of configuration, code and seed"""
    code: str
    """version of the code that it was, or will be, made with"""
    seconds: float | None
    """wall-clock time"""
    cpu_seconds: float | None
    failure: str
    """why it failed, with the end of its log; empty where it did not"""
    attempts: int = 0
    """how often it was begun, resumptions not counted"""


@dataclass(frozen=True)
class Results:
    """An experiment as it stands."""

    design: Design
    """as applied: with `small`, where that was asked for"""
    directory: Path
    cells: tuple[CellResult, ...]
    """in the order of the grid, then by seed"""
    table: Table
    """one row for each cell and measure; rows of cells that have failed or not ended have `failure` set"""
    verdicts: tuple[Verdict, ...]
    """one for each expectation, in the order of the file"""
    strangers: tuple[str, ...] = ()
    """codes of which the store holds cells that are not among these"""

    def count(self, state: State) -> int:
        """Cells in that state."""
        return sum(cell.state == state for cell in self.cells)
