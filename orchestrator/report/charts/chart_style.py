"""How figures of reports look: colours, and from a matplotlib figure to an SVG that can stand alone or within a page.

A drawing is made in the colours of the light scheme. Within a page `themed` puts the page's variables in their place, so that a figure
follows the reader's scheme as text does. The same figure gives the same bytes: no date, no random identifiers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from textwrap import fill
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, QUIET, LINE, PAPER = "#1c2430", "#5b6679", "#d9dee7", "#fefefe"
SERIES = ("#0072b2", "#c28100", "#4a2a1c", "#8a2be2", "#8f9399", "#9c3d00", "#1f2f80", "#2f9d86")
"""colours of lines, chosen so that the first of them stay apart in all kinds of colour vision, and none vanishes on the page"""
DARK_SERIES = ("#56b4e9", "#ffb726", "#e9dccb", "#a15cff", "#8a8f97", "#e0653a", "#a9c4ff", "#3fd0b4")
"""their counterparts on a dark page"""
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)), (0, (8, 2)), (0, (3, 1, 1, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
"""so that lines are told apart without colours too"""
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
_SVG, _LINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_COLOUR = re.compile("|".join(map(re.escape, VARIABLES)))


@dataclass(frozen=True)
class Picture:
    """A figure. `name`: of its file; `title`: what it shows; `description`: the same in words, for those who can't see it; `svg`: the
    drawing, a whole document."""

    name: str
    title: str
    description: str
    svg: str


def colour(number: int) -> str:
    """Of the line with this number; they come again after eight."""
    return SERIES[number % len(SERIES)]


def dashes(number: int) -> Any:
    """Of the line with this number."""
    # Beyond eight lines colours come again, each with another dash.
    return DASHES[(number + number // len(SERIES)) % len(DASHES)]


def heading(text: str, across: int) -> str:
    """The title of one of `across` panels beside each other, in as many lines as it needs."""
    return fill(text, _TITLE // across, break_long_words=False, break_on_hyphens=False)


def title_room(panels: Iterable[str], across: int) -> float:
    """Inches that the titles of panels take beyond their first line."""
    return 0.16 * max((heading(panel, across).count("\n") for panel in panels), default=0)


def marker(number: int) -> str:
    """Of the line with this number."""
    return MARKERS[number % len(MARKERS)]


@contextmanager
def drawing(height: float, rows: int = 1, columns: int = 1, share: bool = False) -> Iterator[tuple[Figure, list[Axes]]]:
    """A new figure `WIDTH` inches wide with `rows` times `columns` axes, row by row, in the look of all. Both axes of all are the same
    where they `share`."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(_settings()):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False, sharex=share, sharey=share)
        yield figure, list(grid.flat)


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


def picture(figure: Figure, name: str, title: str, description: str) -> Picture:
    """The finished figure."""
    return Picture(name, title, description, to_svg(figure, name, title, description))


def to_svg(figure: Figure, name: str, title: str, description: str) -> str:
    """The drawing with its title and its text alternative. Words stay words; identifiers begin with `name`, so that several drawings get
    along in one page."""
    from matplotlib import rc_context

    with rc_context({**_settings(), "svg.hashsalt": name}):
        raw = BytesIO()
        figure.savefig(raw, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _LINK)
    root = ElementTree.fromstring(raw.getvalue())
    for child in list(root):
        if child.tag == f"{{{_SVG}}}metadata":
            root.remove(child)
    _rename(root, name)
    for size in ("width", "height"):
        root.attrib.pop(size, None)
    root.set("role", "img")
    root.set("aria-labelledby", f"{name}-title {name}-text")
    for number, (tag, words) in enumerate((("title", title), ("desc", description))):
        element = ElementTree.Element(f"{{{_SVG}}}{tag}", {"id": f"{name}-{'text' if number else 'title'}"})
        element.text, element.tail = words, "\n "
        root.insert(number, element)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def themed(svg: str) -> str:
    """The drawing for a page that has the variables of `VARIABLES`."""
    return _COLOUR.sub(lambda match: f"var({VARIABLES[match[0]]})", svg)


def _rename(root: ElementTree.Element, name: str) -> None:
    """Identifiers that something refers to get the name before them, the others go."""
    text = ElementTree.tostring(root, encoding="unicode")
    wanted = set(re.findall(r"url\(#([^)]+)\)", text)) | set(re.findall(r'href="#([^"]+)"', text))
    for element in root.iter():
        for key, value in list(element.attrib.items()):
            if key == "id":
                if value in wanted:
                    element.set(key, f"{name}-{value}")
                else:
                    del element.attrib[key]
            elif value.startswith("#") and key.endswith("href"):
                element.set(key, f"#{name}-{value[1:]}")
            elif "url(#" in value:
                element.set(key, re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", value))


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
