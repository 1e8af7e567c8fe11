"""Charts: the one place that makes matplotlib drawings, gives all of them one look, and turns them into SVG.

A figure is drawn in the colours of the light scheme. Within a page `themed` puts the page's variables in their place, so that the figure
follows the reader's colour scheme. Only `Figure` objects are used, never the global state of pyplot; matplotlib is imported when the first
figure is made. The same figure gives the same bytes: no date, identifiers hashed with the picture's name as salt.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from html import escape
from io import StringIO
from math import ceil
from textwrap import fill
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, QUIET, LINE, PAPER = "#1c2430", "#5b6679", "#d9dee7", "#fefefe"
SERIES = ("#0072b2", "#c28100", "#4a2a1c", "#8a2be2", "#8f9399", "#9c3d00", "#1f2f80", "#2f9d86")
"""colours of lines, chosen so that the first of them stay apart in all kinds of colour vision, and none vanishes on the page"""
DARK_SERIES = ("#56b4e9", "#ffb726", "#e9dccb", "#a15cff", "#8a8f97", "#e0653a", "#a9c4ff", "#3fd0b4")
"""their counterparts on a dark page"""
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)), (0, (8, 2)), (0, (3, 1, 1, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
"""so that lines differ without colours too"""
FAULT = "#e8a33d"
"""of the time in which a fault lasts"""
MAP = "cividis"
"""of heat maps: the same to all kinds of colour vision"""
WIDTH = 7.6
"""inches"""
_TITLE = 84
"""characters of a title in the whole width"""

VARIABLES = {
    INK: "--ink", QUIET: "--quiet", LINE: "--line", PAPER: "--paper", FAULT: "--fault",
    **{colour: f"--series-{number}" for number, colour in enumerate(SERIES)},
}  # fmt: skip
"""colour of a drawing -> variable of the page"""
_COLOUR = re.compile("|".join(map(re.escape, VARIABLES)))
_HEAD = re.compile(r"^.*?<svg[^>]*>(\s*<metadata>.*?</metadata>)?", re.DOTALL)
_NEEDLESS = re.compile(r' id="[A-Za-z.]+(2d)?_\d+"| transform="rotate\(-0 [^"]*"')
"""identifiers of groups, numbered from 1 in each drawing and never referred to; rotations by 0"""
_COORDINATES = re.compile(r' (d|x|y)="[^"]*"')
_LONG_NUMBER = re.compile(r"-?\d+\.\d{3,}")


@dataclass(frozen=True)
class Picture:
    """A chart. `name`: of its file; `title`: what it shows; `description`: text alternative for readers who do not see it."""

    name: str
    title: str
    description: str
    figure: Figure

    @cached_property
    def svg(self) -> str:
        """The drawing as an SVG document with title and text alternative. Text stays text; identifiers differ from those of other pictures,
        so that several drawings can stand in one page."""
        from matplotlib import rc_context

        raw = StringIO()
        with rc_context({**_settings(), "svg.hashsalt": self.name}):
            self.figure.savefig(raw, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
        width, height = 72 * self.figure.get_size_inches()
        named = f"{self.name}-title", f"{self.name}-text"
        head = (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="0 0 {width:g} {height:g}" role="img" aria-labelledby="{" ".join(named)}">\n'
            f' <title id="{named[0]}">{escape(self.title)}</title>\n <desc id="{named[1]}">{escape(self.description)}</desc>'
        )
        drawn = _NEEDLESS.sub("", _HEAD.sub(lambda _: head, raw.getvalue(), count=1))
        # Hundredths of a point are enough, and half the size.
        return _COORDINATES.sub(lambda part: _LONG_NUMBER.sub(_rounded, part[0]), drawn)


def _rounded(number: re.Match[str]) -> str:
    return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")


def colour(number: int) -> str:
    """Of the line with this number; they come again after eight."""
    return SERIES[number % len(SERIES)]


def dashes(number: int) -> Any:
    """Dash pattern of line `number` of a chart, in Matplotlib's form."""
    # Beyond eight lines colours come again, each with another dash.
    return DASHES[(number + number // len(SERIES)) % len(DASHES)]


def heading(text: str, across: int) -> str:
    """The title of one of `across` panels beside each other, in as many lines as it needs."""
    return fill(text, _TITLE // across, break_long_words=False, break_on_hyphens=False)


def title_room(panels: Iterable[str], across: int) -> float:
    """Inches that the titles of panels take beyond their first line."""
    return 0.16 * max((heading(panel, across).count("\n") for panel in panels), default=0)


def marker(number: int) -> str:
    """Marker of line `number` of a chart, in Matplotlib's form."""
    return MARKERS[number % len(MARKERS)]


@contextmanager
def drawing(
    height: float, panels: int = 1, across: int = 1, share_x: bool = False, share_y: bool = False, width: float = WIDTH
) -> Iterator[tuple[Figure, list[Axes]]]:
    """A new figure of that size (inches) with axes for so many panels, row by row; with `share_x` and `share_y` the limits of an axis are
    the same in all panels."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(_settings()):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = list(figure.subplots(ceil(panels / across), across, squeeze=False, sharex=share_x, sharey=share_y).flat)
        for one in axes[panels:]:
            one.remove()
        for one in axes[:panels]:
            one.tick_params(labelbottom=True)
        yield figure, axes[:panels]


def legend(figure: Figure, axes: Iterable[Axes], columns: int = 4, length: float = 2.8) -> None:
    """One legend for all panels, above them."""
    lines: dict[str, Artist] = {}
    for one in axes:
        for line, label in zip(*one.get_legend_handles_labels(), strict=True):
            lines.setdefault(label, line)
    if lines:
        figure.legend(list(lines.values()), list(lines), loc="outside upper center", ncols=min(columns, len(lines)), handlelength=length)


def legend_above(axes: Axes) -> None:
    """The legend of one panel, between its title and its axes; its lines in the opposite order of drawing."""
    lines, labels = axes.get_legend_handles_labels()
    made = axes.legend(
        lines[::-1], labels[::-1], loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2, borderpad=0, ncols=3, fontsize=7.5,
        handlelength=2.0, handletextpad=0.5, columnspacing=1.2,
    )  # fmt: skip
    # The panel is not made smaller for a legend that is wider.
    made.set_in_layout(False)


def ticks(axes: Axes) -> None:
    """Labels as `20k`, `0.4` and, on a logarithmic axis, `1e-4`, without mathematical type."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    for axis, scale, limits in ((axes.xaxis, axes.get_xscale(), axes.get_xlim()), (axes.yaxis, axes.get_yscale(), axes.get_ylim())):
        if scale == "log":
            low, high = sorted(limits)
            few = high < 30 * low
            axis.set_major_locator(LogLocator(10, subs=(1.0, 2.0, 5.0) if few else (1.0,), numticks=8))
            axis.set_minor_formatter(NullFormatter())
            axis.set_major_formatter(FuncFormatter(lambda value, _: tick(value)))
        elif not axis.get_majorticklabels() or isinstance(axis.get_major_locator(), MaxNLocator):
            axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
            axis.set_major_formatter(FuncFormatter(lambda value, _: tick(value)))


def tick(value: float) -> str:
    """`0`, `0.25`, `20k`, `1.5M`, `1e-4`."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= size:
            return f"{value / size:g}{unit}"
    if value and abs(value) < 1e-3:
        return f"{value:.0e}".replace("e-0", "e-").replace("-", "−", 1 if value < 0 else 0)
    return f"{round(value, 10):g}".replace("-", "−")


def themed(svg: str) -> str:
    """The drawing for a page that has the variables of `VARIABLES`."""
    return _COLOUR.sub(lambda match: f"var({VARIABLES[match[0]]})", svg)


def _settings() -> dict[Any, Any]:
    return {
        "svg.fonttype": "none",
        "font.family": ["DejaVu Sans"],
        "font.size": 9,
        "axes.titlesize": 9.5,
        "axes.labelsize": 9,
        "axes.edgecolor": QUIET,
        "axes.labelcolor": INK,
        "axes.facecolor": PAPER,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.8,
        "figure.facecolor": PAPER,
        "savefig.facecolor": PAPER,
        "grid.color": LINE,
        "grid.linewidth": 0.7,
        "text.color": INK,
        "xtick.color": QUIET,
        "ytick.color": QUIET,
        "xtick.labelsize": 8.5,
        "ytick.labelsize": 8.5,
        "legend.frameon": False,
        "legend.fontsize": 8.5,
        "lines.linewidth": 1.6,
        "lines.markersize": 4.5,
        "hatch.color": QUIET,
        "text.parse_math": False,
    }
