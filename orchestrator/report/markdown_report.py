"""A report as Markdown (CommonMark with tables, as GitHub shows it)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from orchestrator.report.report_document import (
    Block,
    Code,
    Document,
    DocumentTable,
    Fold,
    Items,
    Listing,
    Paragraph,
    Plot,
    Strong,
    Words,
    parts,
)


def to_markdown(document: Document, figures: str = "figures") -> str:
    """The whole document; `figures`: folder of the drawings, relative to it."""
    lines = [f"# {_plain(document.title)}", "", *_blocks(document.lead, figures)]
    for section in document.sections:
        lines += [f"## {_plain(section.title)}", "", *_blocks(section.blocks, figures)]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip() + "\n"


def _blocks(blocks: Sequence[Block], figures: str) -> list[str]:
    lines: list[str] = []
    for block in blocks:
        lines += [*_block(block, figures), ""]
    return lines


def _block(block: Block, figures: str) -> list[str]:
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
        case Plot(picture):
            # A text alternative is one line, and has no brackets of its own.
            alternative = re.sub(r"\s+", " ", picture.description).translate(str.maketrans("[]", "()"))
            return [f"**{_plain(picture.title)}**", "", f"![{_plain(alternative)}]({figures}/{picture.name}.svg)"]
        case Listing(text, language):
            fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
            return [f"{fence}{language}", text.rstrip("\n"), fence]
        case Fold(summary, inner):
            return [f"<details><summary>{_plain(summary)}</summary>", "", *_blocks(inner, figures), "</details>"]


def _table(table: DocumentTable) -> list[str]:
    rows = [[_line(cell).replace("|", "\\|").replace("\n", " ") for cell in row] for row in table.rows]
    heads = [_plain(column).replace("|", "\\|") for column in table.columns]
    rule = ["---" if number < table.text else "---:" for number in range(len(heads))]
    caption = [f"**{_plain(table.caption)}**", ""] if table.caption else []
    return [*caption, *(f"| {' | '.join(row)} |" for row in [heads, rule, *rows])]


def _line(words: Words) -> str:
    return "".join(_part(part) for part in parts(words))


def _part(part: str | Code | Strong) -> str:
    if isinstance(part, Strong):
        return f"**{_plain(part.text)}**" if part.text else ""
    if isinstance(part, Code):
        text = re.sub(r"\s*\n\s*", " ", part.text)
        ticks = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
        room = " " if text.startswith("`") or text.endswith("`") else ""
        return f"{ticks}{room}{text}{room}{ticks}" if text else ""
    return _plain(part)


def _plain(text: str) -> str:
    """Words in which nothing has a meaning."""
    return re.sub(r"([\\`*<>])", r"\\\1", text)
