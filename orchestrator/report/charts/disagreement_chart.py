"""Disagreement of a simulated population over rounds, on a logarithmic axis, in characters and as a drawing."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import floor, log10
from typing import Protocol

from orchestrator.report.charts.chart_style import Picture, colour, drawing, ticks

_ROWS = 10
_FLOOR = 1e-16
"""below it is rounding"""


class DisagreementPoint(Protocol):
    """A point of a curve."""

    @property
    def rounds(self) -> float:
        """Closed rounds of each agent."""
        ...

    @property
    def disagreement(self) -> float:
        """As a share of that at the start."""
        ...


def text_plot(curve: Sequence[DisagreementPoint], width: int = 80, rows: int = _ROWS) -> str:
    """A curve in characters; the axis at the left are powers of ten, that below are rounds."""
    points = [(point.rounds, log10(max(point.disagreement, _FLOOR))) for point in curve]
    if len(points) < 2:
        return "no round was closed\n"
    columns = max(20, width - 8)
    low, high = floor(min(y for _, y in points)), max(0.0, max(y for _, y in points))
    last = points[-1][0] or 1.0
    grid = [[" "] * columns for _ in range(rows)]
    for (x0, y0), (x1, y1) in pairwise(points):
        first, end = round(x0 / last * (columns - 1)), round(x1 / last * (columns - 1))
        for column in range(first, end + 1):
            share = (column - first) / (end - first) if end > first else 1.0
            level = (y0 + share * (y1 - y0) - low) / ((high - low) or 1.0)
            grid[round((1.0 - level) * (rows - 1))][column] = "•"
    lines = []
    for number, line in enumerate(grid):
        power = high - number / (rows - 1) * (high - low)
        label = f"1e{round(power)}" if number in (0, rows // 2, rows - 1) else ""
        lines.append(f"{label:>6} ┤{''.join(line).rstrip()}")
    lines.append(f"{'':>6} └{'─' * columns}")
    lines.append(f"{'':>7}0{'rounds':^{columns - 9}}{last:>8.0f}")
    return "\n".join(lines) + "\n"


def picture(curve: Sequence[DisagreementPoint], title: str) -> Picture:
    """The same curve as a vector drawing with this title."""
    rounds = [point.rounds for point in curve]
    values = [max(point.disagreement, _FLOOR) for point in curve]
    with drawing(4.2) as (figure, (axes,)):
        axes.plot(rounds, values, color=colour(0))
        axes.set(yscale="log", title=title, xlabel="rounds of each agent", ylabel="disagreement, as a share of that at the start")
        ticks(axes)
    said = f"disagreement {values[-1]:.1e} after {rounds[-1]:.0f} rounds" if curve else "no round was closed"
    return Picture("disagreement", title, f"{title}: {said}.", figure)
