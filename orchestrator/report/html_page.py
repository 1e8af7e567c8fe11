"""A report as one HTML page that needs nothing else: charts inline, their data as JSON, no script, nothing fetched. The text is that of the
Markdown report, rendered by markdown-it; HTML within it is shown as text.

The page's own policy (Content-Security-Policy) forbids all connections and scripts. It follows the reader's colour scheme, prints on
paper, and can be read with a keyboard, enlarged, and by screen readers.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from html import escape
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token

from orchestrator.report.charts.chart_style import DARK_SERIES, SERIES, Picture, themed
from orchestrator.report.markdown_report import block_lines
from orchestrator.report.report_document import Block, Document, DocumentTable, Fold, Paragraph, Section
from orchestrator.terminal.line_views import finite

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_LIGHT = "--ink:#1c2430;--quiet:#566072;--line:#d9dee7;--paper:#ffffff;--soft:#f4f6f9;--fault:#e8a33d;--warn:#8a4b00;--link:#0059a8;"
_DARK = "--ink:#e7ebf1;--quiet:#a6b0bf;--line:#323b48;--paper:#14181f;--soft:#1c222c;--fault:#d9982f;--warn:#ffc266;--link:#7cc0ff;"


def _series(colours: Sequence[str]) -> str:
    return "".join(f"--series-{number}:{colour};" for number, colour in enumerate(colours))


STYLE = f"""
:root{{color-scheme:light dark;{_LIGHT}{_series(SERIES)}}}
@media (prefers-color-scheme:dark){{:root{{{_DARK}{_series(DARK_SERIES)}}}}}
@media print{{:root{{color-scheme:light;{_LIGHT}{_series(SERIES)}}}}}
*{{box-sizing:border-box}}
html{{-webkit-text-size-adjust:100%}}
body{{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}}
main,header,nav{{max-width:60rem;margin:0 auto;padding:0 1.25rem}}
header{{padding-top:2.25rem}}
h1{{font-size:1.75rem;line-height:1.2;margin:0 0 .5rem;overflow-wrap:anywhere}}
h2{{font-size:1.25rem;margin:2.75rem 0 .75rem;padding-top:.75rem;border-top:1px solid var(--line)}}
p{{margin:.6rem 0;max-width:48rem;overflow-wrap:break-word}}
.lead{{font-size:1.12rem;color:var(--quiet)}}
.answer{{font-size:1.04rem}}
.note{{color:var(--quiet);font-size:.88rem}}
.lead em{{font-style:normal}}
.warning blockquote{{border-left:4px solid var(--fault);background:var(--soft);padding:.1rem .8rem;margin:.6rem 0;color:var(--warn)}}
a{{color:var(--link)}}
nav ul{{list-style:none;display:flex;flex-wrap:wrap;gap:.2rem 1.1rem;padding:0;margin:1.1rem 0 0;font-size:.92rem}}
.scroll{{overflow-x:auto;margin:1rem 0}}
table{{border-collapse:collapse;font-size:.89rem;font-variant-numeric:tabular-nums;min-width:min(100%,24rem)}}
.scroll>p{{padding:0 0 .4rem;margin:0;font-size:.95rem}}
th,td{{padding:.28rem .8rem .28rem 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--line)}}
th{{color:var(--quiet);font-weight:600;vertical-align:bottom}}
thead th{{border-bottom:1.5px solid var(--quiet)}}
tbody th{{color:var(--ink);font-weight:400;vertical-align:top}}
th code,td code{{white-space:nowrap;overflow-wrap:normal}}
td:not([style]){{min-width:4.5rem}}
td[style]{{white-space:nowrap}}
tbody tr:hover{{background:var(--soft)}}
figure{{margin:1.25rem 0}}
figcaption{{font-weight:600;font-size:.95rem;margin-bottom:.3rem}}
figure .scroll{{margin:0}}
figure svg{{display:block;width:100%;min-width:33rem;max-width:56rem;height:auto}}
code,pre{{font:.86em/1.5 ui-monospace,SFMono-Regular,Menlo,"DejaVu Sans Mono",monospace}}
code{{background:var(--soft);padding:.05em .3em;border-radius:3px;overflow-wrap:anywhere}}
pre{{background:var(--soft);border:1px solid var(--line);border-radius:4px;padding:.7rem .9rem;margin:.7rem 0}}
pre code{{background:none;padding:0;font-size:1em;white-space:pre-wrap}}
details{{margin:.8rem 0}}
summary{{cursor:pointer;color:var(--link)}}
:focus-visible{{outline:2px solid var(--link);outline-offset:2px}}
footer{{max-width:60rem;margin:3rem auto 2rem;padding:0 1.25rem;color:var(--quiet);font-size:.85rem}}
@media print{{
 body{{font-size:10pt}} nav{{display:none}} main,header,footer{{max-width:none;padding:0}}
 figure,tr{{break-inside:avoid}} h2{{break-after:avoid}} .scroll{{overflow:visible}} figure svg{{min-width:0}}
 thead{{display:table-header-group}} td[style]{{white-space:normal}}
}}
"""


def to_html(document: Document) -> str:
    """The report as one HTML page."""
    anchors = _anchors(document.sections)
    links = "".join(
        f'<li><a href="#{anchor}">{escape(section.title)}</a></li>' for section, anchor in zip(document.sections, anchors, strict=True)
    )
    body = "\n".join(
        f'<section aria-labelledby="{anchor}">\n<h2 id="{anchor}">{escape(section.title)}</h2>\n{_blocks(section.blocks)}\n</section>'
        for section, anchor in zip(document.sections, anchors, strict=True)
    )
    # A closing tag within the data would end them.
    data = json.dumps(finite(document.data), ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>{escape(document.title)}</title>
<style>{STYLE}</style>
</head>
<body>
<header>
<h1>{escape(document.title)}</h1>
{_blocks(document.lead)}
</header>
<nav aria-label="Sections"><ul>{links}</ul></nav>
<main>
{body}
</main>
<footer>All numbers of this page, and those that its charts show, are in it as JSON: the element with the name report-data.</footer>
<script type="application/json" id="report-data">{data}</script>
</body>
</html>
"""


def _anchors(sections: Sequence[Section]) -> list[str]:
    """One for each section, none twice."""
    found: list[str] = []
    for section in sections:
        anchor = section.anchor
        found.append(anchor if anchor not in found else f"{anchor}-{len(found)}")
    return found


def _blocks(blocks: Sequence[Block]) -> str:
    return "\n".join(_block(block) for block in blocks)


def _block(block: Block) -> str:
    match block:
        case Picture():
            caption = escape(block.title)
            return f"<figure>\n<figcaption>{caption}</figcaption>\n{_scrolled(themed(block.svg), caption)}\n</figure>"
        case Fold(summary, inner):
            return f"<details>\n<summary>{escape(summary)}</summary>\n{_blocks(inner)}\n</details>"
        case DocumentTable(caption):
            return _scrolled(_rendered(block), escape(caption or "table"))
        case Paragraph(_, kind) if kind:
            return f'<div class="{kind}">\n{_rendered(block)}</div>'
        case _:
            return _rendered(block)


def _scrolled(content: str, label: str) -> str:
    return f'<div class="scroll" tabindex="0" role="group" aria-label="{label}">\n{content}</div>'


def _rendered(block: Block) -> str:
    html: str = _markdown().render("\n".join(block_lines(block)))
    return html


@cache
def _markdown() -> MarkdownIt:
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    markdown.add_render_rule("td_open", _cell)
    return markdown


def _cell(renderer: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    """The first cell of a row is its heading."""
    if tokens[index - 1].type == "tr_open":
        # Opening tag, content, closing tag.
        tokens[index].tag = tokens[index + 2].tag = "th"
        tokens[index].attrSet("scope", "row")
    return renderer.renderToken(tokens, index, options, env)
