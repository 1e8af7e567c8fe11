"""Charts of experiments: from statistics to drawings. Pure functions; the same statistics give the same bytes.

Where there are too few runs for an interval (`orchestrator.results.statistics.estimate.LEAST`), each run is drawn for itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, isfinite
from typing import TYPE_CHECKING

import numpy as np

from orchestrator.report.charts.chart_style import (
    INK,
    MAP,
    PAPER,
    QUIET,
    Picture,
    colour,
    dashes,
    drawing,
    heading,
    legend,
    marker,
    ticks,
    title_room,
)
from orchestrator.results.number_text import NOTHING, figure
from orchestrator.results.statistics.curve_statistics import Band, Profile
from orchestrator.results.statistics.estimate import Estimate

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

ACROSS = 3
"""panels in a row, at most"""
PANELS = 12
"""of one figure, at most"""


@dataclass(frozen=True)
class Axis:
    """What a chart measures: the label of the axis, and whether it is logarithmic."""

    label: str
    log: bool = False


def curves(name: str, title: str, description: str, panels: Mapping[str, Mapping[str, Band]], steps: str, axis: Axis) -> Picture:
    """A panel for each name in `panels`, in it a line for each group: the aggregate with its band. `steps`: what the horizontal axis is."""
    order = list(dict.fromkeys(label for lines in panels.values() for label in lines))
    with _panels(panels, len(order)) as (figure_, axes):
        for axes_, (panel, lines) in zip(axes, panels.items(), strict=True):
            for label, band in lines.items():
                number = order.index(label)
                known = np.isfinite(band.value)
                if not known.any():
                    continue
                bounded = np.isfinite(band.low) & np.isfinite(band.high)
                if bounded.any():
                    axes_.fill_between(band.steps, band.low, band.high, where=bounded, color=colour(number), alpha=0.18, linewidth=0)
                else:
                    for values in band.runs.values():
                        axes_.plot(band.steps, values, color=colour(number), linewidth=0.7, alpha=0.55)
                axes_.plot(band.steps[known], band.value[known], color=colour(number), linestyle=dashes(number), label=label)
                if known.sum() == 1:
                    axes_.plot(band.steps[known], band.value[known], color=colour(number), marker=marker(number))
            _finish(axes_, heading(panel, _across(panels)), axis, vertical=True)
        _share(figure_, axes, steps, axis.label)
        return Picture(name, title, description, figure_)


def profiles(name: str, title: str, description: str, panels: Mapping[str, Mapping[str, Profile]], axis: Axis) -> Picture:
    """Share of runs above each score, with its band."""
    order = list(dict.fromkeys(label for lines in panels.values() for label in lines))
    with _panels(panels, len(order)) as (figure_, axes):
        for axes_, (panel, lines) in zip(axes, panels.items(), strict=True):
            for label, found in lines.items():
                number = order.index(label)
                # All runs are above a score below the least; the share falls at each score that occurs.
                scores, share = np.concatenate([found.scores[:1], found.scores]), np.concatenate([[1.0], found.share])
                axes_.step(scores, share, where="post", color=colour(number), linestyle=dashes(number), label=label)
                if found.low is not None and found.high is not None:
                    axes_.fill_between(found.scores, found.low, found.high, step="post", color=colour(number), alpha=0.15, linewidth=0)
            _finish(axes_, heading(panel, _across(panels)), axis, vertical=False)
            axes_.set_ylim(-0.03, 1.05)
        _share(figure_, axes, axis.label, "share of runs above it")
        return Picture(name, title, description, figure_)


def intervals(
    name: str, title: str, description: str, groups: Mapping[str, Estimate], axis: Axis, line: float | None = None, line_is: str = "",
    bounds: tuple[float, float] | None = None,
) -> Picture:  # fmt: skip
    """One row a group: the aggregate, its interval, and each run as a small point. `line`: a level to compare with."""
    height = 0.75 + 0.27 * max(2, len(groups))
    with drawing(height) as (figure_, axes):
        axes_ = axes[0]
        for row, found in enumerate(groups.values()):
            if found.value is None or not isfinite(found.value):
                axes_.text(0.01, row, figure(found.value, ""), transform=axes_.get_yaxis_transform(), va="center", color=QUIET)
                continue
            if len(found.points) == found.n:
                axes_.plot(found.points, [row] * len(found.points), linestyle="", marker="|", color=QUIET, markersize=7, zorder=2)
            if found.interval is not None:
                low, high = (end if isfinite(end) else found.value for end in found.interval)
                axes_.plot([low, high], [row, row], color=colour(0), linewidth=4, alpha=0.45, solid_capstyle="butt", zorder=3)
            axes_.plot([found.value], [row], marker="o", color=colour(0), markersize=5.5, zorder=4)
        if line is not None:
            axes_.axvline(line, color=INK, linewidth=1, linestyle="--", zorder=1)
            axes_.annotate(line_is, (line, 1), xycoords=("data", "axes fraction"), xytext=(3, 2), textcoords="offset points", fontsize=8)
        axes_.set_yticks(range(len(groups)), list(groups))
        axes_.set_ylim(len(groups) - 0.5, -0.5)
        axes_.grid(visible=False, axis="y")
        if axis.log and _positive(groups.values()):
            axes_.set_xscale("log")
        if bounds is not None:
            axes_.set_xlim(*bounds)
        ticks(axes_)
        axes_.set_xlabel(axis.label)
        return Picture(name, title, description, figure_)


def heatmap(
    name: str, title: str, description: str, sides: Mapping[str, Sequence[str]], maps: Mapping[str, Mapping[tuple[str, str], Estimate]],
    axis: Axis, form: str,
) -> Picture:  # fmt: skip
    """Factor by factor (`sides`: the first one down, the second across, with their labels), one panel for each of `maps`; every cell has
    its value in words, and how many runs count where some don't."""
    from matplotlib.colors import LogNorm, Normalize

    (down, rows), (over, columns) = sides.items()
    values = [cell.value for cells in maps.values() for cell in cells.values() if cell.value is not None and isfinite(cell.value)] or [0.0]
    low, high = min(values), max(values)
    log = axis.log and low > 0
    norm = LogNorm(low, high if high > low else low * 10) if log else Normalize(low, high if high > low else low + 1)
    across = min(len(maps), max(1, 8 // max(1, len(columns))), ACROSS)
    height = ceil(len(maps) / across) * (0.9 + 0.36 * len(rows) + title_room(maps, across)) + 0.2
    with drawing(height, len(maps), across) as (figure_, axes):
        for axes_, (panel, cells) in zip(axes, maps.items(), strict=True):
            grid = [[cells.get((row, column)) for column in columns] for row in rows]
            shown = np.array([[np.nan if cell is None or cell.value is None else cell.value for cell in row] for row in grid], float)
            axes_.pcolormesh(np.ma.masked_invalid(shown), cmap=MAP, norm=norm, edgecolors=PAPER, linewidth=1.5)
            for y, row in enumerate(grid):
                for x, cell in enumerate(row):
                    _cell(axes_, x, y, cell, form, norm)
            axes_.set_xticks(np.arange(len(columns)) + 0.5, list(columns))
            axes_.set_yticks(np.arange(len(rows)) + 0.5, list(rows))
            axes_.set_ylim(len(rows), 0)
            axes_.set(xlabel=over, ylabel=down, title=heading(panel, across))
            axes_.grid(visible=False)
            axes_.tick_params(length=0)
            for spine in axes_.spines.values():
                spine.set_visible(False)
        return Picture(name, title, description, figure_)


def _cell(axes: Axes, x: int, y: int, cell: Estimate | None, form: str, norm: Normalize) -> None:
    from matplotlib import colormaps

    if cell is None or cell.value is None or not isfinite(cell.value):
        axes.text(x + 0.5, y + 0.5, NOTHING if cell is None else figure(cell.value, ""), ha="center", va="center", color=QUIET)
        return
    red, green, blue, _ = colormaps[MAP](float(norm(cell.value)))
    # A fixed ink: the ground is that of the map, whatever the page's scheme.
    ink = "#ffffff" if 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.45 else "#000000"
    few = f"\n{cell.n} of {cell.n + len(cell.missing)}" if cell.missing else ""
    axes.text(x + 0.5, y + 0.5, figure(cell.value, form) + few, ha="center", va="center", color=ink, fontsize=8.5, linespacing=1.1)


def _panels(panels: Mapping[str, object], lines: int) -> AbstractContextManager[tuple[Figure, list[Axes]]]:
    across = _across(panels)
    row = (2.9 if across == 1 else 2.35) + title_room(panels, across)
    return drawing(row * ceil(len(panels) / across) + 0.35 + 0.2 * ceil(lines / 4), len(panels), across, share_x=True, share_y=True)


def _across(panels: Mapping[str, object]) -> int:
    return min(ACROSS, max(1, len(panels)))


def _finish(axes: Axes, title: str, axis: Axis, vertical: bool) -> None:
    if title:
        axes.set_title(title)
    if axis.log:
        lines = [np.asarray(line.get_ydata() if vertical else line.get_xdata(), float) for line in axes.lines]
        if any((line > 0).any() for line in lines):
            (axes.set_yscale if vertical else axes.set_xscale)("log")
    ticks(axes)


def _share(figure_: Figure, axes: Sequence[Axes], below: str, left: str) -> None:
    figure_.supxlabel(below, fontsize=9)
    figure_.supylabel(left, fontsize=9)
    legend(figure_, axes)


def _positive(estimates: Iterable[Estimate]) -> bool:
    return all(value is None or value > 0 for found in estimates for value in (found.value, *(found.interval or ()), *found.points))
