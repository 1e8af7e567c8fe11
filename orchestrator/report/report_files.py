"""A report on the disk: `report.html`, `report.md` and a file for each chart."""

from __future__ import annotations

from pathlib import Path

from orchestrator.report.html_page import to_html
from orchestrator.report.markdown_report import to_markdown
from orchestrator.report.report_document import Document
from protocols.runtime.atomic_files import write_whole
from protocols.runtime.errors import ResourceError

PAGE, TEXT, FIGURES = "report.html", "report.md", "figures"


def write(document: Document, out: Path) -> Path:
    """Write all files into `out`, which is made where it is not there, and return the page. Charts of an earlier report that are no more
    are removed."""
    charts = {f"{picture.name}.svg": picture.svg for picture in document.pictures()}
    try:
        (out / FIGURES).mkdir(parents=True, exist_ok=True)
        for old in (out / FIGURES).glob("*.svg"):
            if old.name not in charts:
                old.unlink()
        for name, svg in charts.items():
            write_whole(out / FIGURES / name, svg.encode())
        write_whole(out / TEXT, to_markdown(document, FIGURES).encode())
        write_whole(out / PAGE, to_html(document).encode())
    except OSError as error:
        raise ResourceError(f"the report can't be written to {out}: {error.strerror}; choose another place with -o") from error
    return out / PAGE
