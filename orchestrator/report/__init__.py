"""Reports of runs and experiments: one HTML page, the same as Markdown, and one SVG file a chart.

Numbers in sentences are taken from the data of the tables. The same data gives the same bytes.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.experiments.results.experiment_results import ExperimentResults


def report(results: ExperimentResults, out: Path) -> Path:
    """Write the report of an experiment, however much of it is done, into the directory `out`: report.html, report.md and figures/*.svg.
    Returns the page. `ResourceError` where it can't be written."""
    from orchestrator.report.experiment.experiment_analysis import analyse
    from orchestrator.report.experiment.experiment_report import document
    from orchestrator.report.report_files import write

    return write(document(analyse(results)), out)


def run_report(directory: Path, out: Path) -> Path:
    """The same for a single run, from its directory alone, whether it has ended or not."""
    from orchestrator.report.report_files import write
    from orchestrator.report.run_report import document

    return write(document(directory), out)
