"""A report as Markdown (CommonMark with tables, as GitHub shows it); the HTML page is rendered from the same blocks."""

from __future__ import annotations

import re
from collections.abc import Sequence

from orchestrator.report.charts.chart_style import Picture
from orchestrator.report.report_document import (
    Block,
    Code,
    Document,
    DocumentTable,
    Fold,
    Items,
    Listing,
    Paragraph,
    Strong,
    Word,
    Words,
)

_SPECIAL = re.compile(r"[\\`*<>]|(?<![^\W_])_|_(?![^\W_])|&(?=[#A-Za-z])|\](?=[(\[:])")
"""characters that mean something within a line; an underscore between letters or digits does not"""
_BLOCK_START = re.compile(r"^(?:[-+#=]+(?=\s|$)|~{3,}|\d+(?=[.)](?:\s|$)))")
"""what begins a list, a heading, a rule or a listing where a line begins with it"""


def to_markdown(document: Document, folder: str = "figures") -> str:
    """The whole document; `folder`: that of the drawings, relative to it."""
    lines = [f"# {_plain(document.title)}", "", *_blocks(document.lead, folder)]
    for section in document.sections:
        lines += [f"## {_plain(section.title)}", "", *_blocks(section.blocks, folder)]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip() + "\n"


def _blocks(blocks: Sequence[Block], folder: str) -> list[str]:
    lines: list[str] = []
    for block in blocks:
        lines += [*block_lines(block, folder), ""]
    return lines


def block_lines(block: Block, folder: str = "figures") -> list[str]:
    """The lines of one block."""
    match block:
        case Paragraph(words, "lead"):
            return [f"*{_line(words)}*"]
        case Paragraph(words, "warning"):
            return [f"> {_line(words)}"]
        case Paragraph(words):
            return [_line(words)]
        case Items(items):
            return [f"- {_line(item)}" for item in items]
        case DocumentTable():
            return _table(block)
        case Picture():
            # A text alternative is one line, and has no brackets of its own.
            alternative = re.sub(r"\s+", " ", block.description).translate(str.maketrans("[]", "()"))
            return [f"**{_plain(block.title)}**", "", f"![{_plain(alternative)}]({folder}/{block.name}.svg)"]
        case Listing(text, language):
            fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
            return [f"{fence}{language}", text.rstrip("\n"), fence]
        case Fold(summary, inner):
            return [f"<details><summary>{_plain(summary)}</summary>", "", *_blocks(inner, folder), "</details>"]


def _table(table: DocumentTable) -> list[str]:
    rows = [[_line(cell).replace("|", "\\|").replace("\n", " ") for cell in row] for row in table.rows]
    heads = [_plain(column).replace("|", "\\|") for column in table.columns]
    rule = ["---" if number < table.text else "---:" for number in range(len(heads))]
    caption = [f"**{_plain(table.caption)}**", ""] if table.caption else []
    return [*caption, *(f"| {' | '.join(row)} |" for row in [heads, rule, *rows])]


def _line(words: Words) -> str:
    line = re.sub(r"\s+", " ", "".join(map(_part, words if isinstance(words, tuple) else (words,)))).strip()
    # A backslash before a digit would stay: the one after a number is before its full stop or bracket.
    return _BLOCK_START.sub(lambda start: f"{start[0]}\\" if start[0].isdigit() else f"\\{start[0]}", line)


def _part(part: Word) -> str:
    if isinstance(part, Strong):
        return f"**{_plain(part.text)}**" if part.text else ""
    if isinstance(part, Code):
        text = re.sub(r"\s*\n\s*", " ", part.text)
        ticks = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
        room = " " if text.startswith("`") or text.endswith("`") else ""
        return f"{ticks}{room}{text}{room}{ticks}" if text else ""
    return _plain(part)


def _plain(text: str) -> str:
    """Text in which no character has a meaning of its own."""
    return _SPECIAL.sub(r"\\\g<0>", text)
