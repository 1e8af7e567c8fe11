"""Reports of runs and experiments: one HTML page, the same as Markdown, and one SVG file a chart.

Numbers in sentences are taken from the data of the tables. The same data gives the same bytes.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.experiments.results.experiment_results import ExperimentResults
    from orchestrator.report.report_document import Document


def report(results: ExperimentResults, out: Path) -> Path:
    """Write the report of an experiment, however much of it is done, into the directory `out`: report.html, report.md and figures/*.svg.
    Returns the page. `ResourceError` where it can't be written."""
    from orchestrator.report.experiment.experiment_analysis import analyse
    from orchestrator.report.experiment.experiment_report import document

    return _write(document(analyse(results)), out)


def run_report(directory: Path, out: Path) -> Path:
    """The same for a single run, from its directory alone, whether it has ended or not."""
    from orchestrator.report.run_report import document

    return _write(document(directory), out)


def _write(document: Document, out: Path) -> Path:
    """Charts of an earlier report that are no more are removed."""
    from orchestrator.report.html_page import to_html
    from orchestrator.report.markdown_report import to_markdown
    from protocols.runtime.atomic_files import write_whole
    from protocols.runtime.errors import ResourceError

    plots, page = out / "figures", out / "report.html"
    charts = {f"{picture.name}.svg": picture.svg for picture in document.pictures()}
    try:
        plots.mkdir(parents=True, exist_ok=True)
        for old in plots.glob("*.svg"):
            if old.name not in charts:
                old.unlink()
        for name, svg in charts.items():
            write_whole(plots / name, svg.encode())
        write_whole(out / "report.md", to_markdown(document, plots.name).encode())
        write_whole(page, to_html(document).encode())
    except OSError as error:
        raise ResourceError(f"the report can't be written to {out}: {error.strerror}; choose another place with -o") from error
    return page
