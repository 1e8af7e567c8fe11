"""The picture of a study: a curve for each method, the mean over seeds and the range of all seeds as a band."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from study_report import Curve, Key

from orchestrator.report.charts.chart_style import Picture, drawing


@dataclass(frozen=True)
class Panel:
    """One experiment and figure. `limits`: of the vertical axis; `published`: points to compare with, by method (steps, values)."""

    experiment: str
    figure: str
    title: str
    label: str
    limits: tuple[float, float] | None = None
    published: Mapping[str, tuple[Sequence[float], Sequence[float]]] = field(default_factory=dict)


def draw(
    metrics: dict[Key, dict[str, Curve]], picture: Path, panels: Sequence[Panel], colours: Mapping[str, str], unit: float, what: str
) -> None:
    """Draw the panels of the experiments that have metrics; steps in multiples of `unit`, which the axis calls `what`."""
    shown = [panel for panel in panels if any(key[0] == panel.experiment for key in metrics)]
    with drawing(2.9 * max(1, -(-len(shown) // 2)), len(shown), 2, width=10) as (figure, axes):
        for axis, panel in zip(axes, shown, strict=True):
            _panel(axis, metrics, panel, colours, unit)
            axis.set(title=panel.title, ylabel=panel.label, xlabel=what)
            if panel.limits is not None:
                axis.set(ylim=panel.limits)
    methods = ", ".join(dict.fromkeys(method for _, method, *_ in metrics))
    picture.write_text(Picture(picture.stem, picture.stem, f"{'; '.join(panel.title for panel in shown)}: {methods}.", figure).svg)


def _panel(axis: Any, metrics: dict[Key, dict[str, Curve]], panel: Panel, colours: Mapping[str, str], unit: float) -> None:
    name = panel.figure
    for method in [method for method in colours if any(key[:2] == (panel.experiment, method) for key in metrics)]:
        curves = [found[name] for key, found in sorted(metrics.items()) if key[:2] == (panel.experiment, method) and found.get(name)]
        if not curves:
            continue
        steps, values = _common(curves)
        axis.plot(steps / unit, values.mean(axis=0), color=colours[method], label=f"{method} ({len(curves)})", linewidth=1.6)
        if len(curves) > 1:
            axis.fill_between(steps / unit, values.min(axis=0), values.max(axis=0), color=colours[method], alpha=0.15, linewidth=0)
        if method in panel.published:
            reached = [(at, value) for at, value in zip(*panel.published[method], strict=True) if at * unit <= 1.1 * steps[-1]]
            axis.plot(*zip(*reached, strict=True), "o", color=colours[method], markerfacecolor="none", markersize=5)
    if axis.lines:
        axis.legend(
            fontsize=7,
            frameon=True,
            edgecolor="none",
            title="method (seeds)" + (", o: published" if panel.published else ""),
            title_fontsize=7,
        )


def _common(curves: Sequence[Curve]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The curves at 40 common steps, `[40]` and `[curves, 40]`."""
    start, end = max(curve[0][0] for curve in curves), min(curve[-1][0] for curve in curves)
    steps = np.linspace(start, end, 40)
    return steps, np.array([np.interp(steps, *zip(*curve, strict=True)) for curve in curves])
