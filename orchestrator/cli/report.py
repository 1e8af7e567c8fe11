"""`orchestrate report`: what a run or an experiment has shown, as a page, as Markdown, and figure by figure."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.command_options import (
    ExperimentsDirOption,
    GlobalOptions,
    app,
    examples,
    experiment_directory,
    experiment_names,
    options,
    print_error,
)
from orchestrator.cli.completion import complete_runs
from protocols.runtime.errors import ResourceError, UsageError

EPILOG = examples(
    "orchestrate report",
    "orchestrate report night --open",
    "orchestrate report experiments/delay_sweep -o ~/paper/delay_sweep",
)


@app.command("report", epilog=EPILOG)
def report(
    context: typer.Context,
    what: Annotated[
        str | None,
        typer.Argument(metavar="[RUN | EXPERIMENT]", autocompletion=complete_runs, help="Name or directory; the newest run without."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="DIR", help="Where to write; the directory of what it is about without.")
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    experiments_dir: ExperimentsDirOption = Path("experiments"),
) -> None:
    """Write report.html, report.md and figures/*.svg of a run or an experiment, finished or not."""
    settings = options(context)
    try:
        page, kind = _write(settings, what, out, experiments_dir)
    except ModuleNotFoundError as error:
        raise ResourceError(f"charts need {error.name}; install it: pip install -c constraints.txt -e .") from None
    figures = sorted(str(path) for path in (page.parent / "figures").glob("*.svg"))
    settings.answer({"kind": kind, "page": str(page), "markdown": str(page.with_suffix(".md")), "figures": figures}, str(page))
    if not show:
        return
    import webbrowser

    if not webbrowser.open(page.resolve().as_uri()):
        print_error(f"no browser was found; open {page.resolve().as_uri()} in one")


def _write(settings: GlobalOptions, what: str | None, out: Path | None, experiments_dir: Path) -> tuple[Path, str]:
    directory = experiment_directory(what, experiments_dir) if what is not None else None
    from orchestrator import report

    if directory is not None:
        from orchestrator.experiments.results.experiment_results import load

        return report.report(load(directory), out or directory), "experiment"
    try:
        run = settings.find(what)
    except UsageError as error:
        names = experiment_names(experiments_dir)
        if what is None or not names:
            raise
        raise UsageError(f"{error}; experiments in {experiments_dir}/: {', '.join(names)}") from None
    return report.run_report(run.directory, out or run.directory), "run"
