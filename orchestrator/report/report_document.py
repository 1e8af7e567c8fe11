"""What a report is made of, before it is Markdown or a page: sections of paragraphs, tables, charts and code.

Both renderings are made of the same document and have the same content. Words of others (labels, log lines, commands) go in as they are;
each rendering quotes what has a meaning in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.report.charts.chart_style import Picture


@dataclass(frozen=True)
class Code:
    """Words within a line that are code: a command, a key, a name."""

    text: str


@dataclass(frozen=True)
class Strong:
    """Words that are printed in bold."""

    text: str


Word = str | Code | Strong
Words = Word | tuple[Word, ...]
"""a line of text, or its parts"""


@dataclass(frozen=True)
class Paragraph:
    """A paragraph of text."""

    words: Words
    kind: str = ""
    """`lead`: the question; `answer`; `warning`; `note`: small print"""


@dataclass(frozen=True)
class Items:
    """A list with one line per item."""

    items: Sequence[Words]


@dataclass(frozen=True)
class DocumentTable:
    """`text`: number of columns from the left that are words (aligned left); the others are numbers."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Words]]
    text: int = 1


@dataclass(frozen=True)
class Listing:
    """Lines of code or of a log."""

    text: str
    language: str = ""


@dataclass(frozen=True)
class Fold:
    """What is there for those who open it."""

    summary: str
    blocks: Sequence[Block]


Block = Paragraph | Items | DocumentTable | Picture | Listing | Fold


@dataclass(frozen=True)
class Section:
    """A heading with what stands below it."""

    title: str
    blocks: Sequence[Block]

    @property
    def anchor(self) -> str:
        """The name by which links find it."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-") or "section"


@dataclass(frozen=True)
class Document:
    """A report. `lead`: what stands below the title; `data`: JSON-able, everything that tables and sentences were made of."""

    title: str
    lead: Sequence[Block]
    sections: Sequence[Section]
    data: Mapping[str, Any] = field(default_factory=dict)

    def pictures(self) -> list[Picture]:
        """All charts, in order."""
        blocks = [*self.lead, *(block for section in self.sections for block in section.blocks)]
        return [block for block in _all(blocks) if isinstance(block, Picture)]


def _all(blocks: Sequence[Block]) -> Iterator[Block]:
    for block in blocks:
        yield block
        if isinstance(block, Fold):
            yield from _all(block.blocks)
