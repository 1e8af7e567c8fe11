"""Charts over the time of runs: a chart with the time of faults shaded, the faults themselves, and where the time goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

from orchestrator.report.charts.chart_style import (
    FAULT,
    INK,
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
from orchestrator.report.charts.experiment_charts import ACROSS, Axis
from orchestrator.results.recorded_run import FaultRecord
from orchestrator.results.statistics.fault_bands import FaultWindow
from orchestrator.results.statistics.runs_table import Curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INSTANT = 0.004
"""share of the axis that a fault without length is drawn as"""


@dataclass(frozen=True)
class FaultPanel:
    """A panel: lines over time, and the faults behind them."""

    lines: Mapping[str, Curve]
    windows: Sequence[FaultWindow] = ()


def timelines(name: str, title: str, description: str, panels: Mapping[str, FaultPanel], time: str, axis: Axis) -> Picture:
    """A panel for each name, faults shaded with their names over them; on a logarithmic axis where `axis` has it and values allow it.
    `time`: what the horizontal axis is."""
    order = list(dict.fromkeys(label for panel in panels.values() for label in panel.lines))
    across = min(2 if len(panels) < 5 else ACROSS, len(panels))
    lanes = max((len(_lanes(panel.windows)) for panel in panels.values()), default=0)
    height = (2.3 if across > 1 else 2.7) + 0.13 * lanes + title_room(panels, across)
    with drawing(height * ceil(len(panels) / across) + 0.4, len(panels), across, share_x=True, share_y=True) as (figure_, axes):
        for axes_, (panel_name, panel) in zip(axes, panels.items(), strict=True):
            for label, curve in panel.lines.items():
                number = order.index(label)
                many = curve.steps.size > 40
                axes_.plot(
                    curve.steps, curve.values, color=colour(number), linestyle=dashes(number) if many else "-", marker="" if many else
                    marker(number), markersize=3.2, label=label if len(order) > 1 else None,
                )  # fmt: skip
            if axis.log and all((curve.values > 0).any() for curve in panel.lines.values()):
                axes_.set_yscale("log", nonpositive="mask")
            ticks(axes_)
            rows = _shade(axes_, panel.windows)
            if panel_name:
                axes_.set_title(heading(panel_name, across), pad=6 + 9 * rows)
        figure_.supxlabel(time, fontsize=9)
        figure_.supylabel(axis.label, fontsize=9)
        legend(figure_, axes)
        return Picture(name, title, description, figure_)


def _shade(axes: Axes, windows: Sequence[FaultWindow]) -> int:
    """Shade the windows; their names stand over the axes, in as many rows as they need: the number of rows."""
    lanes = _lanes(windows)
    # All of them must be within the axes: a name outside would be given room that nothing else has then.
    low, high = axes.get_xlim()
    low, high = min([low, *(window.start for window in windows)]), max([high, *(window.end for window in windows)])
    for row, lane in enumerate(lanes):
        for window in lane:
            end = max(window.end, window.start + _INSTANT * (high - low))
            axes.axvspan(window.start, end, color=FAULT, alpha=0.22, linewidth=0, zorder=0)
            axes.annotate(
                window.name, (window.start, 1), xycoords=("data", "axes fraction"), xytext=(0, 2 + 9 * row), textcoords="offset points",
                fontsize=7.5, color=QUIET,
            )  # fmt: skip
    axes.set_xlim(low, high)
    return len(lanes)


def _lanes(windows: Sequence[FaultWindow]) -> list[list[FaultWindow]]:
    """Rows of windows whose names don't lie on each other: each in the first row whose last one ended before it begins, with room for
    the name."""
    span = max((window.end for window in windows), default=0.0) - min((window.start for window in windows), default=0.0)
    lanes: list[list[FaultWindow]] = []
    for window in sorted(windows, key=lambda one: (one.start, one.end, one.name)):
        for lane in lanes:
            last = lane[-1]
            if max(last.end, last.start + 0.02 * span * len(last.name)) <= window.start:
                lane.append(window)
                break
        else:
            lanes.append([window])
    return lanes


def fault_spans(name: str, title: str, description: str, faults: Sequence[FaultRecord], last: float, time: str) -> Picture:
    """One row a fault: how long it lasted, and how long the run needed to recover."""
    with drawing(0.75 + 0.27 * max(2, len(faults))) as (figure_, (axes,)):
        for row, fault in enumerate(faults):
            end = last if fault.end is None else fault.end
            axes.barh(row, max(end - fault.begin, _INSTANT * last), left=fault.begin, height=0.55, color=FAULT, zorder=2)
            recovered = None if fault.end is None or fault.recovery is None else fault.end + fault.recovery
            until = last if recovered is None else recovered
            if until > end:
                axes.barh(
                    row, until - end, left=end, height=0.55, facecolor=PAPER, edgecolor=QUIET, linewidth=0.6,
                    hatch="" if recovered is not None else "////", zorder=2,
                )  # fmt: skip
            if recovered is not None:
                axes.plot([max(end, until)], [row], marker="|", color=INK, markersize=10, zorder=3)
        axes.set_yticks(range(len(faults)), [fault.id for fault in faults])
        axes.set_ylim(len(faults) - 0.5, -0.5)
        axes.set_xlim(0, last * 1.01)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel(time)
        return Picture(name, title, description, figure_)


def shares(name: str, title: str, description: str, nodes: Mapping[str, Mapping[str, float]]) -> Picture:
    """One row a node: the shares of its parts, which add up to at most 1; the largest parts first, distinguished by colour and number."""
    totals: dict[str, float] = {}
    for parts in nodes.values():
        for part, share in parts.items():
            totals[part] = totals.get(part, 0.0) + share
    # Waiting and the rest come last.
    order = sorted(totals, key=lambda part: (part in ("wait", "other"), -totals[part]))
    with drawing(0.85 + 0.27 * max(2, len(nodes))) as (figure_, (axes,)):
        for row, parts in enumerate(nodes.values()):
            left = 0.0
            for number, part in enumerate(order):
                share = parts.get(part, 0.0)
                idle = part in ("wait", "other")
                face = PAPER if part == "other" else QUIET if part == "wait" else colour(number)
                axes.barh(row, share, left=left, height=0.62, color=face, edgecolor=QUIET if idle else face, linewidth=0.6,
                          alpha=0.45 if part == "wait" else 1.0, label=part if row == 0 else None, zorder=2)  # fmt: skip
                left += share
        axes.set_yticks(range(len(nodes)), list(nodes))
        axes.set_ylim(len(nodes) - 0.5, -0.5)
        axes.set_xlim(0, 1.0)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("share of the node's time")
        legend(figure_, [axes], columns=8, length=1.2)
        return Picture(name, title, description, figure_)
