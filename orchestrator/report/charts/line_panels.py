"""Small panels of lines beside each other, each with a vertical axis and a legend of its own; the horizontal axis is that of all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

from orchestrator.report.charts.chart_style import Picture, colour, dashes, drawing, legend_above, marker, ticks
from orchestrator.results.number_text import figure, form

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Point = tuple[float, float]
ACROSS = 2
_POINTS = 240
"""points of a line that are drawn; longer lines are averaged over equal numbers of their points"""
_MARKED = 40
"""points of a line up to which each of them is marked"""


@dataclass(frozen=True)
class PanelLine:
    """`points` are (x, y); `sparse`: few points, each of which is marked."""

    label: str
    points: Sequence[Point]
    sparse: bool = False


@dataclass(frozen=True)
class CurvePanel:
    """Lines on common axes. Where no value is negative, the vertical axis goes from 0 to the largest value, at least to `top`."""

    title: str
    lines: Sequence[PanelLine]
    top: float | None = None

    @property
    def drawn(self) -> list[PanelLine]:
        """Lines that have points."""
        return [line for line in self.lines if line.points]


def line_panels(name: str, title: str, panels: Sequence[CurvePanel], below: str, headed: bool = False) -> Picture:
    """The panels that have points, two in a row; lines with one label look the same in all. `below` names the horizontal axis; `headed`:
    the title is written over the drawing, for a file that stands alone."""
    panels = [panel for panel in panels if panel.drawn]
    order = list(dict.fromkeys(line.label for panel in panels for line in panel.drawn))
    end = max((x for panel in panels for line in panel.drawn for x, _ in line.points), default=0.0)
    height = 2.1 * ceil(len(panels) / ACROSS) + 0.3 + 0.3 * headed
    with drawing(height, len(panels), min(ACROSS, len(panels)), share_x=True) as (figure_, axes):
        for axes_, panel in zip(axes, panels, strict=True):
            _panel(axes_, panel, order)
            axes_.set_xlim(0, 1.02 * end or 1.0)
            ticks(axes_)
        figure_.supxlabel(below, fontsize=9)
        if headed:
            figure_.suptitle(title, fontsize=11)
    return Picture(name, title, f"{title}. {'; '.join(said for panel in panels for said in _described(panel))}.", figure_)


def _panel(axes: Axes, panel: CurvePanel, order: Sequence[str]) -> None:
    for line in reversed(panel.drawn):  # the first one is on top
        number = order.index(line.label)
        points = thinned(sorted(line.points, key=lambda point: point[0]))
        marked = len(points) == 1 or (line.sparse and len(points) <= _MARKED)
        axes.plot(
            *zip(*points, strict=True), color=colour(number), linestyle=dashes(number), marker=marker(number) if marked else "",
            markersize=3.5, label=line.label,
        )  # fmt: skip
    axes.set_title(panel.title, loc="left", pad=18)
    legend_above(axes)
    values = [y for line in panel.drawn for _, y in line.points]
    if min(values) >= 0:
        top = max(*values, panel.top or 0.0) or 1.0
        axes.set_ylim(-0.02 * top, 1.05 * top)


def _described(panel: CurvePanel) -> list[str]:
    said = []
    for line in panel.drawn:
        first, last = float(line.points[0][1]), float(line.points[-1][1])
        shape = form([first, last])
        said.append(f"{panel.title}, {line.label}: from {figure(first, shape)} to {figure(last, shape)}")
    return said


def thinned(points: Sequence[Point], most: int = _POINTS) -> list[Point]:
    """At most so many points: means of (x, y) over parts of equal length, the last of which may be shorter."""
    if len(points) <= most:
        return list(points)
    length = ceil(len(points) / most)
    parts = [points[start : start + length] for start in range(0, len(points), length)]
    return [(sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)) for part in parts]
