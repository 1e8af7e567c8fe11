"""How a population came to agree, as a drawing: disagreement over rounds, by powers of ten."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import floor, log10
from typing import Protocol

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


def to_svg(curve: Sequence[DisagreementPoint], title: str, width: int = 640, height: int = 360) -> str:
    """The same as a vector drawing."""
    points = [(point.rounds, log10(max(point.disagreement, _FLOOR))) for point in curve] or [(0.0, 0.0)]
    last, low = points[-1][0] or 1.0, min(-1, floor(min(y for _, y in points)))
    left, top, right, bottom = 60, 40, width - 20, height - 50

    def place(x: float, y: float) -> str:
        return f"{left + x / last * (right - left):.1f},{top + y / low * (bottom - top):.1f}"

    step = max(1, -low // 6)
    grid = []
    for power in range(0, low - 1, -step):
        y = top + power / low * (bottom - top)
        grid.append(f'<line x1="{left}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" stroke="#ddd"/>')
        grid.append(f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">1e{power}</text>')
    line = " ".join(place(x, y) for x, y in points)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">\n'
        f'<rect width="{width}" height="{height}" fill="white"/>\n<text x="{left}" y="24" font-size="14">{_escaped(title)}</text>\n'
        + "\n".join(grid)
        + f'\n<polyline points="{line}" fill="none" stroke="#2563eb" stroke-width="2"/>\n'
        f'<text x="{left}" y="{bottom + 20}">0</text><text x="{right}" y="{bottom + 20}" text-anchor="end">{last:.0f}</text>\n'
        f'<text x="{(left + right) / 2:.0f}" y="{bottom + 36}" text-anchor="middle">rounds of each agent</text>\n</svg>\n'
    )


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
