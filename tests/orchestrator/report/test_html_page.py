"""The HTML page shows the text of the Markdown report, character by character."""

from __future__ import annotations

import re
from html import escape

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.report.html_page import to_html
from orchestrator.report.report_document import Block, Code, Document, DocumentTable, Fold, Items, Listing, Paragraph, Section, Strong

SPECIAL = [*"ab1 .)-+#=~`*_[]()!<>&;\\|:\"'\n/{}$^%é", "http://x", "&amp;", "```", "- ", "1. ", "<b>"]
TEXTS = st.lists(st.sampled_from(SPECIAL), max_size=14).map("".join)


def one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def shown(text: str) -> str:
    """As HTML with the same characters."""
    return escape(one_line(text)).replace("&#x27;", "'")


def body(*blocks: Block) -> str:
    page = to_html(Document("title", [], [Section("One", blocks)]))
    return page[page.index("<main>") : page.index("</main>")]


@given(TEXTS.filter(one_line))
def test_text_stays_as_it_is(text: str) -> None:
    assert f"<p>{shown(text)}</p>" in body(Paragraph(text))
    assert f"<li>{shown(text)}</li>\n<li>x</li>" in body(Items([text, "x"]))
    cells = body(DocumentTable("", ["a", "b"], [(text, text)]))
    assert f'<th scope="row">{shown(text)}</th>' in cells and f'<td style="text-align:right">{shown(text)}</td>' in cells
    code = Code(one_line(text))
    assert f"<code>{shown(text)}</code>" in body(Paragraph(("a ", code))) and f"<code>{shown(text)}</code>" in body(
        DocumentTable("", ["a"], [[code]])
    )


@given(st.lists(st.sampled_from(SPECIAL), min_size=1).map("".join))
def test_listings_stay_as_they_are(text: str) -> None:
    found = re.search(r"<pre><code class=\"language-sh\">(.*?)</code></pre>", body(Listing(text, "sh")), re.DOTALL)
    assert found is not None and found[1].rstrip("\n") == escape(text).replace("&#x27;", "'").rstrip("\n")


def test_every_kind_of_block_has_its_place() -> None:
    html = body(
        Paragraph("why?", "lead"), Paragraph((Strong("Stop:"), " it is late"), "warning"), Paragraph("small", "note"),
        DocumentTable("Speeds <fast>", ["who", "m/s"], [("a", "1"), ("b", "2")]), Fold("more & more", [Paragraph("inside"), Items(["x"])]),
    )  # fmt: skip
    assert '<div class="lead">\n<p><em>why?</em></p>\n</div>' in html
    assert '<div class="warning">\n<blockquote>\n<p><strong>Stop:</strong> it is late</p>\n</blockquote>\n</div>' in html
    assert '<div class="note">\n<p>small</p>\n</div>' in html
    assert 'aria-label="Speeds &lt;fast&gt;">\n<p><strong>Speeds &lt;fast&gt;</strong></p>\n<table>' in html
    assert '<th style="text-align:right">m/s</th>' in html and '<th scope="row">b</th>\n<td style="text-align:right">2</td>' in html
    assert "<details>\n<summary>more &amp; more</summary>\n<p>inside</p>\n\n<ul>\n<li>x</li>\n</ul>\n\n</details>" in html
