"""Reports: what runs and experiments have shown, as one HTML page, as Markdown, and figure by figure.

| file | what |
|---|---|
| `look` | charts: colours, axes, legends; from a matplotlib figure to an SVG that can stand alone or within a page |
| `figures`, `fault_figures`, `line_panels` | charts as pure functions of what the statistics say |
| `numbers` | how numbers are written |
| `document` | what a report is made of; `markdown` and `page` render it, `files` writes it |
| `recorded` | what a run's directory holds over time: faults, figures, traffic |
| `analysis` | every measure of every group of an experiment, computed once |
| `answer`, `tables`, `experiment`, `over_time`, `appendix` | the report of an experiment, made of that |
| `run`, `run_sections` | the report of a single run |
| `comparing` | runs beside each other: keys that differ, then results that differ |

Numbers in sentences come from the tables' figures; nothing is typed. The same table gives the same bytes.
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
