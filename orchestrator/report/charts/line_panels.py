"""The panels of `orchestrator.report.charts.run_charts` (a run's learning) in the look of reports."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from orchestrator.report.charts.chart_style import Picture, colour, dashes, drawing, marker, picture, ticks
from orchestrator.report.charts.curve_panels import CurvePanel, thinned
from orchestrator.report.number_format import figure, form

ACROSS = 2


def line_panels(name: str, title: str, panels: Sequence[CurvePanel], below: str) -> Picture:
    """A panel for each; lines of one name look the same in all."""
    from matplotlib.lines import Line2D

    shown = [[curve for curve in panel.curves if curve.points] for panel in panels]
    order = list(dict.fromkeys(curve.label for curves in shown for curve in curves))
    across = min(ACROSS, len(panels))
    down = ceil(len(panels) / across)
    said = []
    with drawing(1.95 * down + 0.3 + 0.2 * ceil(len(order) / 4), down, across) as (figure_, axes):
        for axes_, panel, curves in zip(axes, panels, shown, strict=False):
            for curve in curves:
                number = order.index(curve.label)
                points = thinned(sorted(curve.points, key=lambda point: point[0]))
                marked = marker(number) if curve.dotted or len(points) == 1 else ""
                axes_.plot(*zip(*points, strict=True), color=colour(number), linestyle=dashes(number), marker=marked, markersize=3.5)
                first, last = float(curve.points[0][1]), float(curve.points[-1][1])
                shape = form([first, last])
                said.append(f"{panel.title}, {curve.label}: from {figure(first, shape)} to {figure(last, shape)}")
            axes_.set_title(panel.title)
            highest = max(y for curve in curves for _, y in curve.points)
            axes_.set_ylim(top=max(highest, panel.top) * 1.04 if panel.top is not None else None)
            if min(y for curve in curves for _, y in curve.points) >= 0:
                axes_.set_ylim(bottom=0)
            axes_.set_xlim(left=0)
            ticks(axes_)
        for axes_ in axes[len(panels) :]:
            axes_.set_visible(False)
        dotted = {curve.label for curves in shown for curve in curves if curve.dotted}
        handles = [
            Line2D([], [], color=colour(i), linestyle=dashes(i), marker=marker(i) if label in dotted else "", markersize=3.5, label=label)
            for i, label in enumerate(order)
        ]
        figure_.supxlabel(below, fontsize=9)
        figure_.legend(handles=handles, loc="outside upper center", ncols=min(4, len(order)), handlelength=2.8)
        return picture(figure_, name, title, f"{title}. {'; '.join(said)}.")
