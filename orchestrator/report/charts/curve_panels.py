"""Curves in small panels beside each other, as SVG: one panel a figure, the same steps below all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

Point = tuple[float, float]

FONT = "font-family=\"'Inter','Segoe UI','Helvetica Neue',Arial,sans-serif\""
TEXT, QUIET, LINE = "#1c2430", "#5b6678", "#d9dee7"
BLUE, ORANGE, GREEN, PURPLE, GREY = "#2f6bd0", "#d9731a", "#1c8a5f", "#7d4bc2", "#9aa4b2"
_WIDTH, _HEIGHT = 300.0, 170.0
_LEFT, _TOP, _RIGHT, _BOTTOM = 46.0, 46.0, 22.0, 38.0
_ACROSS = 3
_POINTS = 240
"""points of a curve that are drawn; longer ones are averaged over equal numbers of their points"""
_MARKED = 40
"""points of a curve up to which each gets a dot"""


@dataclass(frozen=True)
class PanelCurve:
    """One line of a panel: `points` are (x, y); `dotted` marks each, where there are few."""

    label: str
    colour: str
    points: Sequence[Point]
    dotted: bool = False


@dataclass(frozen=True)
class CurvePanel:
    """Curves on common axes. The vertical axis has 0, all that is there, and `top`."""

    title: str
    curves: Sequence[PanelCurve] = field(default_factory=tuple)
    top: float | None = None


def sheet(title: str, panels: Sequence[CurvePanel], below: str) -> str:
    """All panels that have points, three in a row; `below` names the horizontal axis."""
    panels = [CurvePanel(p.title, [c for c in p.curves if c.points], p.top) for p in panels]
    panels = [p for p in panels if p.curves]
    across = min(_ACROSS, max(1, len(panels)))
    cell = (_LEFT + _WIDTH + _RIGHT, _TOP + _HEIGHT + _BOTTOM)
    width, height = across * cell[0], 44 + math.ceil(len(panels) / across) * cell[1] + 26
    end = max((x for p in panels for c in p.curves for x, _ in c.points), default=1.0) or 1.0
    lines = head(width, height, title)
    for number, panel in enumerate(panels):
        x, y = number % across * cell[0] + _LEFT, 44 + number // across * cell[1] + _TOP
        lines += [f'<g transform="translate({x:.1f} {y:.1f})">', *_panel(panel, end), "</g>"]
    lines.append(text(width / 2, height - 12, below, 12, QUIET))
    return "\n".join([*lines, "</svg>"]) + "\n"


def head(width: float, height: float, title: str) -> list[str]:
    """The beginning of a picture with its title over it."""
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.1f} {height:.1f}" '
        'role="img">',
        f"<title>{escape(title)}</title>",
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        text(width / 2, 27, title, 15),
    ]


def text(x: float, y: float, words: str, size: float = 11, colour: str = TEXT, anchor: str = "middle", more: str = "") -> str:
    """Words at a place, their baseline at `y`."""
    look = f'{FONT} font-size="{size:g}" fill="{colour}" text-anchor="{anchor}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {look}{more}>{escape(words)}</text>'


def number(value: float) -> str:
    """`0.25`, `40`, `60 k`, `1.5 M`: labels of axes."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= size:
            return f"{value / size:g} {unit}"
    return f"{value:g}"


def ticks(end: float, about: int = 5) -> list[float]:
    """Multiples of 1, 2, 2.5 or 5 times a power of ten from 0 to `end`, about so many."""
    step = _step(end / max(1, about - 1))
    return [round(k * step, 12) for k in range(math.floor(end / step + 1e-9) + 1)]


def levels(low: float, high: float) -> list[float]:
    """About five multiples of 1, 2, 2.5 or 5 times a power of ten, the first at most `low` and 0, the last at least `high` and 0."""
    low, high = min(low, 0.0), max(high, 0.0)
    step = _step(((high - low) or 1.0) / 4)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(k * step, 12) + 0.0 for k in range(first, max(last, first + 1) + 1)]


def _height(y: float, axis: Sequence[float]) -> float:
    return _HEIGHT * (axis[-1] - y) / (axis[-1] - axis[0])


def _step(least: float) -> float:
    power = 10.0 ** math.floor(math.log10(max(least, 1e-12)))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= least * (1 - 1e-9))


def _panel(panel: CurvePanel, end: float) -> list[str]:
    values = [y for c in panel.curves for _, y in c.points]
    axis = levels(min(values), max(values) if panel.top is None else max(*values, panel.top))
    lines = [text(0, -28, panel.title, 13, TEXT, "start", ' font-weight="600"'), *_legend(panel.curves)]
    for y in axis:
        place = _height(y, axis)
        lines.append(f'<line x1="0" x2="{_WIDTH:g}" y1="{place:.1f}" y2="{place:.1f}" stroke="{LINE if y else QUIET}"/>')
        lines.append(text(-7, place + 4, number(y), 10.5, QUIET, "end"))
    for x in ticks(end):
        place = _WIDTH * x / end
        lines.append(f'<line x1="{place:.1f}" x2="{place:.1f}" y1="{_HEIGHT:g}" y2="{_HEIGHT + 4:g}" stroke="{QUIET}"/>')
        lines.append(text(place, _HEIGHT + 16, number(x), 10.5, QUIET))
    for curve in reversed(panel.curves):  # the first lies on top
        lines += _curve(curve, end, axis)
    return lines


def _legend(curves: Sequence[PanelCurve]) -> list[str]:
    lines, x = [], 0.0
    for curve in curves:
        lines.append(f'<line x1="{x:.1f}" x2="{x + 14:.1f}" y1="-14" y2="-14" stroke="{curve.colour}" stroke-width="2.5"/>')
        lines.append(text(x + 18, -10, curve.label, 10.5, QUIET, "start"))
        x += 18 + 5.6 * len(curve.label) + 12
    return lines


def _curve(curve: PanelCurve, end: float, axis: Sequence[float]) -> list[str]:
    places = [(_WIDTH * x / end, _height(y, axis)) for x, y in thinned(sorted(curve.points, key=lambda point: point[0]))]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    lines = [f'<polyline points="{line}" fill="none" stroke="{curve.colour}" stroke-width="1.8" stroke-linejoin="round"/>']
    if len(places) == 1 or (curve.dotted and len(places) <= _MARKED):
        lines += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{curve.colour}"/>' for x, y in places]
    return lines


def thinned(points: Sequence[Point], most: int = _POINTS) -> list[Point]:
    """At most so many points: means of (x, y) over runs of equal length, the last of which may be shorter."""
    if len(points) <= most:
        return list(points)
    run = math.ceil(len(points) / most)
    parts = [points[start : start + run] for start in range(0, len(points), run)]
    return [(sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)) for part in parts]
