"""Tables of records on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

_GAP = 2
_LAST_AT_LEAST = 24
"""characters that the last column, free text, gets before others give way to it"""


def columns(headings: Sequence[str], rows: Sequence[Sequence[str]], width: int | None, give_way: Sequence[str] = ()) -> Text:
    """A bold line of headings, then a line per row, left-aligned. Where `width` is too small, the columns named in `give_way` are left
    out one after the other, and what is left is cut at the right edge: that is the last column, of free text."""
    cells = [list(headings), *map(list, rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(headings))]
    shown = list(range(len(headings)))
    last = shown[-1]

    def needed() -> int:
        return sum(min(widths[i], _LAST_AT_LEAST) if i == last else widths[i] + _GAP for i in shown)

    for heading in give_way:
        if width is None or needed() <= width:
            break
        shown.remove(headings.index(heading))
    text = Text(no_wrap=True, overflow="ellipsis")
    for number, row in enumerate(cells):
        line = "".join(row[i] if i == last else f"{row[i]:<{widths[i] + _GAP}}" for i in shown).rstrip()
        if width is not None and len(line) > width:
            line = line[: max(0, width - 1)] + "…"
        text.append(line + "\n", "bold" if number == 0 else "")
    text.rstrip()
    return text


def print_table(console: Console, title: str, headings: Sequence[str], rows: Iterable[Sequence[str]], overflow: str = "") -> None:
    """A bold title, dim headings, the first column to the left and the others to the right; `overflow` fold: long cells are wrapped."""
    console.print(Text(f"\n{title}", "bold"))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 1), header_style="dim")
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left", no_wrap=not overflow, overflow="fold" if overflow else "ellipsis")
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)


def print_list(console: Console, headings: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[str] = ()) -> None:
    """Records below each other, without a title; columns named in `right` to the right."""
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, justify="right" if heading in right else "left")
    for row in rows:
        table.add_row(*row)
    console.print(table)
