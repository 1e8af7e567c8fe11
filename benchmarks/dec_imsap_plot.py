"""The picture of docs/results/dec_imsap.md: a curve for each method, the mean over seeds and the range of all seeds as a band."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from dec_imsap_report import DOCUMENT, Curve, Key

matplotlib.use("svg")
from matplotlib import pyplot

PICTURE = DOCUMENT.with_suffix(".svg")
COLOURS = {
    "independent": "#555555", "aligned 50 %": "#8c6bb1", "game, forgetting (A)": "#e6830b", "game, inhibition (E)": "#d1372c",
    "supervised": "#1a7a4c", "none": "#555555", "own individual goals": "#8c6bb1", "joint and own": "#1f6fb4",
}  # fmt: skip
PANELS = (
    ("methods", "success.cooperative", "three landmarks, all goals", "success with pairs, training"),
    ("methods", "aligned", "three landmarks, all goals", "alignment, training"),
    ("cooperative", "success.cooperative", "three landmarks, pairs only", "success with pairs, training"),
    ("cooperative", "aligned", "three landmarks, pairs only", "alignment, training"),
    ("six", "success.cooperative", "six landmarks, all goals", "success with pairs, training"),
    ("six", "aligned", "six landmarks, all goals", "alignment, training"),
    ("hindsight", "eval.own.success.cooperative", "hindsight, goals chosen independently", "success with pairs, evaluation"),
    ("published", "eval.aligned.return.normalised", "six landmarks, published arena", "evaluation return / R*"),
)
PUBLISHED_STEPS = (0.6, 2, 3, 5, 10, 20, 42)
PUBLISHED = {
    "independent": (0.27, 0.60, 0.71, 0.78, 0.87, 0.92, 0.92),
    "game, inhibition (E)": (0.29, 0.66, 0.81, 0.92, 0.97, 0.98, 1.0),
    "supervised": (0.27, 0.80, 0.95, 0.99, 0.99, 1.0, 1.0),
}
"""the paper's main comparison (six landmarks, beta 2), read off its figure, +-0.015; its game is rule A"""


def draw(figures: dict[Key, dict[str, Curve]], picture: Path = PICTURE) -> None:
    """Draw the panels of the experiments that have figures."""
    shown = [panel for panel in PANELS if any(key[0] == panel[0] for key in figures)]
    rows = -(-len(shown) // 2)
    with pyplot.rc_context({"svg.fonttype": "none", "svg.hashsalt": "dec_imsap", "font.size": 9}):
        figure, axes = pyplot.subplots(rows, 2, figsize=(10, 2.9 * rows), squeeze=False, layout="constrained")
        for axis, (experiment, name, title, label) in zip(axes.flat, shown, strict=False):
            _panel(axis, figures, experiment, name)
            axis.set(title=title, ylabel=label, xlabel="million environment steps", ylim=(-0.03, 1.05))
        for axis in axes.flat[len(shown) :]:
            axis.axis("off")
        figure.savefig(picture, metadata={"Date": None})
        pyplot.close(figure)


def _panel(axis: Any, figures: dict[Key, dict[str, Curve]], experiment: str, name: str) -> None:
    methods = [method for method in COLOURS if any(key[:2] == (experiment, method) for key in figures)]
    for method in methods:
        curves = [curves[name] for key, curves in sorted(figures.items()) if key[:2] == (experiment, method) and curves.get(name)]
        if not curves:
            continue
        steps, values = _common(curves)
        axis.plot(steps / 1e6, values.mean(axis=0), color=COLOURS[method], label=f"{method} ({len(curves)})", linewidth=1.6)
        if len(curves) > 1:
            axis.fill_between(steps / 1e6, values.min(axis=0), values.max(axis=0), color=COLOURS[method], alpha=0.15, linewidth=0)
        if experiment == "published" and method in PUBLISHED:
            reached = [i for i, published in enumerate(PUBLISHED_STEPS) if published * 1e6 <= 1.1 * steps[-1]]
            points = [PUBLISHED[method][i] for i in reached]
            axis.plot([PUBLISHED_STEPS[i] for i in reached], points, "o", color=COLOURS[method], markerfacecolor="none", markersize=5)
    axis.grid(alpha=0.25)
    axis.legend(fontsize=7, title="method (seeds)" + (", o: published" if experiment == "published" else ""), title_fontsize=7)


def _common(curves: Sequence[Curve]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The curves at 40 common steps, `[40]` and `[curves, 40]`."""
    start, end = max(curve[0][0] for curve in curves), min(curve[-1][0] for curve in curves)
    steps = np.linspace(start, end, 40)
    return steps, np.array([np.interp(steps, *zip(*curve, strict=True)) for curve in curves])
