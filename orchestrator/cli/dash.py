"""`orchestrate dash`: a page in the browser that shows runs, live or from their directories."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.command_options import ExperimentsDirOption, app, examples, experiment_directory, options, print_json, print_text
from orchestrator.cli.completion import complete_runs
from orchestrator.results import run_directories as runs
from protocols.runtime.errors import UsageError

if TYPE_CHECKING:
    from orchestrator.page.run_catalog import RunCatalog

_EPILOG = examples(
    "orchestrate dash",
    "orchestrate dash night --control",
    "orchestrate dash experiments/delay_sweep --port 8000",
)


@app.command("dash", epilog=_EPILOG)
def dash(
    context: typer.Context,
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN|DIRECTORY|EXPERIMENT]",
            autocompletion=complete_runs,
            help="A run, a folder of runs, or an experiment; without it all runs, the newest first.",
        ),
    ] = None,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port of the page; 0 takes a free one.")] = 0,
    host: Annotated[
        str, typer.Option("--host", help="Address of the page. Elsewhere than on loopback the link has a token.")
    ] = "127.0.0.1",
    control: Annotated[bool, typer.Option("--control", help="Faults can be ordered on the page, with the token that is printed.")] = False,
    experiments_dir: ExperimentsDirOption = Path("experiments"),
) -> None:
    """Serve a page that shows runs in the browser: live, or from the files of finished runs with a slider of time. Ctrl-C ends it."""
    settings = options(context)
    from orchestrator.page.page_app import PageOptions
    from orchestrator.page.page_link import link, listening_socket
    from orchestrator.page.page_security import loopback
    from orchestrator.page.page_server import serve

    catalog, first = _catalog(settings.runs_dir, what, experiments_dir)
    token = None if loopback(host) else secrets.token_urlsafe(18)
    orders = secrets.token_urlsafe(12) if control else None
    listening = listening_socket(host, port)
    address = link(listening, host, first, token)

    def ready() -> None:
        if settings.json:
            print_json({"kind": "page", "url": address, "control": orders})
        else:
            print_text(f"page: {address}" + (f"\ntoken of faults: {orders}" if orders else ""))

    serve(catalog, PageOptions(host, token, orders), listening, ready)


def _catalog(runs_dir: Path, what: str | None, experiments_dir: Path) -> tuple[RunCatalog, str | None]:
    """The runs that are meant, and the one that is shown first. `UsageError` where no run is found."""
    from orchestrator.page.run_catalog import RunCatalog

    if what is None:
        if not runs.all_runs(runs_dir):
            runs.find(runs_dir)  # refuses, and names how to start one
        return RunCatalog([(runs_dir, None)], []), None
    if (experiment := experiment_directory(what, experiments_dir)) is not None:
        return RunCatalog([(experiment / "runs", experiment.resolve().name)], []), None
    folder = Path(what)
    if folder.is_dir() and not runs.is_run(folder) and not runs.is_run(runs_dir / what):
        if not runs.all_runs(folder):
            raise UsageError(f"{folder} is neither a run nor an experiment, and has no runs in it")
        return RunCatalog([(folder, None)], []), None
    directory = runs.find(runs_dir, what).directory.resolve()
    return RunCatalog([(runs_dir, None)], [directory]), directory.name
