"""Coordination tables as heat maps: one panel an agent, goals down, messages across, in one order for all agents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.report.charts.chart_style import LINE, QUIET, Picture, drawing

Table = NDArray[Any]

DRAWN = 24
"""agents whose tables are drawn"""
_LEAST = 0.01
"""values below it count as none when messages are put in order"""
_GRID = 40
"""rows or columns up to which cells are divided by lines"""


def picture(tables: Mapping[str, Table], goals: Sequence[str], individual: int, title: str) -> Picture:
    """Tables `[|G|, |M|]` by agent; `goals` are the names of the rows, of which the first `individual` need one agent.

    Messages are ordered by the goal for which their value is largest, by the mean table: where all agents have one convention, each panel
    shows the same staircase. Messages without any value come last.
    """
    from matplotlib.colors import PowerNorm

    shown = dict(list(tables.items())[:DRAWN])
    rows, columns = next(iter(shown.values())).shape
    order = message_order(np.mean(list(shown.values()), axis=0))
    wide, tall = min(4.5, max(1.4, 0.16 * columns)) + 0.25, min(4.5, max(0.5, 0.16 * rows)) + 0.5
    # About twice as wide as high.
    across = min(len(shown), max(1, round((2 * len(shown) * tall / wide) ** 0.5)), max(1, int(14 / wide)))
    height = tall * ceil(len(shown) / across) + 1.2
    with drawing(height, len(shown), across, share_x=True, share_y=True, width=max(5.0, wide * across + 1.0)) as (figure, axes):
        for one, (agent, table) in zip(axes, shown.items(), strict=True):
            # Small values have more of the scale: conventions begin there.
            drawn = one.imshow(table[:, order], cmap="Blues", norm=PowerNorm(0.6, 0.0, 1.0), aspect="auto", interpolation="none")
            one.set_title(agent, loc="left")
            one.grid(visible=False)
            one.tick_params(length=0, labelsize=7)
            for spine in one.spines.values():
                spine.set(visible=True, color=LINE)
            if max(rows, columns) <= _GRID:
                one.hlines(np.arange(rows - 1) + 0.5, -0.5, columns - 0.5, color=LINE, linewidth=0.5)
                one.vlines(np.arange(columns - 1) + 0.5, -0.5, rows - 0.5, color=LINE, linewidth=0.5)
            if 0 < individual < rows:
                one.axhline(individual - 0.5, color=QUIET, linewidth=1.0)
            some = range(0, rows, ceil(rows * 0.12 / (tall - 0.5)))
            one.set_yticks(some, [goals[row] for row in some])
            some = range(0, columns, ceil(columns * 0.15 / (wide - 0.25)))
            one.set_xticks(some, [str(order[column]) for column in some])
        for one in axes[-across:]:
            one.set_xlabel("message", fontsize=8)
        bar = figure.colorbar(drawn, ax=axes, location="bottom", label="expected reward", shrink=0.4, aspect=25, pad=0.02)
        if bar.solids is not None:
            bar.solids.set_rasterized(True)
        more = f" (and {len(tables) - DRAWN} more agents)" if len(tables) > DRAWN else ""
        figure.suptitle(title + more, fontsize=11)
    said = "; ".join(f"{agent}: {_described(table, order, goals)}" for agent, table in shown.items())
    return Picture("coordination_tables", title + more, f"{title}. {said}.", figure)


def _described(table: Table, order: Sequence[int], goals: Sequence[str]) -> str:
    """The messages with the largest value of each goal."""
    best = {goals[row]: int(table[row].argmax()) for row in range(len(table)) if table[row].max() >= _LEAST}
    return ", ".join(f"{goal} message {message}" for goal, message in best.items()) or "no values"


def message_order(table: Table) -> list[int]:
    """Messages by the goal in whose row their largest value is, larger values first; those without any value last."""
    best, value = table.argmax(axis=0), table.max(axis=0)
    return sorted(range(table.shape[1]), key=lambda m: (value[m] < _LEAST, int(best[m]) if value[m] >= _LEAST else m, -float(value[m])))
