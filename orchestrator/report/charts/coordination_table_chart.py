"""Coordination tables as heat maps, as SVG: one panel an agent, goals down, messages across, in one order for all agents."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.report.charts.curve_panels import LINE, QUIET, TEXT, head, text

Table = NDArray[Any]

DRAWN = 24
"""agents whose tables are drawn"""
CELLS = 24_000
"""cells of a picture that are drawn, the same number of each agent, largest values first"""
_SHEET, _NARROWEST = 1400.0, 420.0
_STOPS = ((244, 246, 250), (120, 170, 226), (18, 60, 124))
_LEAST = 0.01
"""cells with less are drawn as empty"""
_SMALLEST_TEXT = 10.0


def picture(tables: Mapping[str, Table], goals: Sequence[str], individual: int, title: str) -> str:
    """Tables `[|G|, |M|]` by agent; `goals` are the names of the rows, of which the first `individual` need one body.

    Messages are ordered by the goal that they stand for most, by the mean table: where all agents have one convention, each panel shows the
    same staircase. Messages that stand for nothing come last.
    """
    shown = dict(list(tables.items())[:DRAWN])
    rows, columns = next(iter(shown.values())).shape
    order = message_order(np.mean(list(shown.values()), axis=0))
    side = max(4.0, min(16.0, 480.0 / columns))
    tall = max(3.0, min(16.0, 480.0 / rows, max(side, 11.0)))
    left, top, gap = 22 + 6.2 * max(map(len, goals)), 30.0, 52.0
    cell = (left + side * columns + 24, top + tall * rows + gap)
    across = max(1, min(len(shown), math.ceil(math.sqrt(len(shown) * cell[1] / cell[0] * 1.6)), int(_SHEET / cell[0])))
    width, height = max(across * cell[0] + 16, 7.8 * len(title) + 40, _NARROWEST), 44 + math.ceil(len(shown) / across) * cell[1] + 40
    lines = head(width, height, title)
    for position, (agent, table) in enumerate(shown.items()):
        x, y = position % across * cell[0] + left + (width - across * cell[0]) / 2, 44 + position // across * cell[1] + top
        lines += [
            f'<g transform="translate({x:.1f} {y:.1f})">',
            *_panel(agent, _sparse(table, CELLS // len(shown))[:, order], order, goals, individual, side, tall),
            "</g>",
        ]
    lines += _scale(width / 2 - 110, height - 34)
    if len(tables) > DRAWN:
        lines.append(text(width - 16, height - 24, f"and {len(tables) - DRAWN} agents more", 11, QUIET, "end"))
    return "\n".join([*lines, "</svg>"]) + "\n"


def message_order(table: Table) -> list[int]:
    """Messages by the goal in whose row their largest value is, larger values first; those without any value last."""
    best, value = table.argmax(axis=0), table.max(axis=0)
    return sorted(range(table.shape[1]), key=lambda m: (value[m] < _LEAST, int(best[m]) if value[m] >= _LEAST else m, -float(value[m])))


def _sparse(table: Table, most: int) -> Table:
    """The table with at most so many cells that are drawn."""
    cells = table[table >= _LEAST]
    least = np.partition(cells, -most)[-most] if len(cells) > most else _LEAST
    return np.where(table >= least, table, 0.0)


def _panel(agent: str, table: Table, order: Sequence[int], goals: Sequence[str], individual: int, side: float, tall: float) -> list[str]:
    rows, columns = table.shape
    width, height = side * columns, tall * rows
    lines = [
        text(0, -10, agent, 13, TEXT, "start", ' font-weight="600"'),
        f'<rect width="{width:.1f}" height="{height:.1f}" fill="{colour(0.0)}"/>',
    ]
    for row, column in np.argwhere(table >= _LEAST).tolist():
        value = float(table[row, column])
        lines.append(
            f'<rect x="{column * side:.1f}" y="{row * tall:.1f}" width="{side:.1f}" height="{tall:.1f}" '
            f'fill="{colour(value)}"><title>{goals[row]} message {order[column]}: {value:.2f}</title></rect>'
        )
    path = "".join(f"M0 {k * tall:.1f}H{width:.1f}" for k in range(rows + 1)) + "".join(
        f"M{k * side:.1f} 0V{height:.1f}" for k in range(columns + 1)
    )
    lines.append(f'<path d="{path}" stroke="{LINE}" stroke-width="0.6" fill="none"/>')
    if 0 < individual < rows:
        lines.append(f'<line x1="-4" x2="{width:.1f}" y1="{individual * tall:.1f}" y2="{individual * tall:.1f}" stroke="{QUIET}"/>')
    for row in range(0, rows, math.ceil(_SMALLEST_TEXT / tall)):
        lines.append(text(-6, row * tall + tall / 2 + 3.5, goals[row], 10, QUIET, "end"))
    for column in range(0, columns, math.ceil(1.4 * _SMALLEST_TEXT / side)):
        lines.append(text(column * side + side / 2, height + 13, str(order[column]), 9, QUIET))
    return [*lines, text(width / 2, height + 28, "message", 10.5, QUIET)]


def colour(value: float) -> str:
    """From pale (0) over light blue (0.3) to dark blue (1 and more): more of the scale for small values, at which conventions begin."""
    place = min(1.0, max(0.0, value)) ** 0.6 * (len(_STOPS) - 1)
    index = min(int(place), len(_STOPS) - 2)
    share = place - index
    red, green, blue = (round(a + share * (b - a)) for a, b in zip(_STOPS[index], _STOPS[index + 1], strict=True))
    return f"#{red:02x}{green:02x}{blue:02x}"


def _scale(x: float, y: float) -> list[str]:
    steps = 44
    lines = [
        f'<rect x="{x + k * 220 / steps:.1f}" y="{y:.1f}" width="{220 / steps + 0.3:.1f}" height="10" fill="{colour(k / (steps - 1))}"/>'
        for k in range(steps)
    ]
    lines += [text(x + share * 220, y + 22, f"{share:g}", 10, QUIET) for share in (0, 0.5, 1)]
    return [*lines, text(x - 10, y + 9, "reward to be expected", 10.5, QUIET, "end")]
