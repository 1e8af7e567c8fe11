"""`orchestrate clean`: remove runs that are over."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.command_options import GlobalOptions, app, examples, options, print_error, print_json, print_text, seconds
from protocols.runtime.errors import ExitCode, MurmurationError, UsageError

if TYPE_CHECKING:
    from orchestrator.results.run_directories import Candidate, Run

_EPILOG = examples("orchestrate clean --older 30d", "orchestrate clean --failed --stopped --dry-run", "orchestrate clean --older 0s -y")


@app.command("clean", epilog=_EPILOG)
def clean(
    context: typer.Context,
    older: Annotated[str | None, typer.Option("--older", metavar="TIME", help="That ended at least so long ago: 30d, 12h.")] = None,
    failed: Annotated[bool, typer.Option("--failed", help="That failed.")] = False,
    stopped: Annotated[bool, typer.Option("--stopped", help="That were stopped; they could go on with up --resume.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Without asking.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would be removed.")] = False,
) -> None:
    """Remove runs that are over, by age or state: their whole directories. Asks first.

    A run that goes on is never removed, nor one that has lost its run server, nor any folder that is not a run's.
    """
    settings = options(context)
    if older is None and not failed and not stopped:
        raise UsageError("clean: which runs? --older 30d, --failed, --stopped; all that have ended: --older 0s")
    age = 0.0 if older is None else seconds(older, "--older")
    states = [state for state, wanted in (("FAILED", failed), ("STOPPED", stopped)) if wanted]
    if not yes and not dry_run and (settings.json or not sys.stdin.isatty()):
        raise UsageError("clean: no terminal for the question, nothing was removed; give -y, or --dry-run to list the runs")
    found = _candidates(settings, states, age)
    if not found:
        if settings.prints:
            print_text("no run is to be removed")
        return
    if not settings.json:
        _show(settings, found)
    if dry_run:
        for candidate in found if settings.json else ():
            print_json(_line(candidate, removed=False))
        if not settings.json:
            print_text("nothing was removed")
        return
    if not yes and not typer.confirm(f"remove {_counted(found)} permanently?", default=False):
        print_text("nothing was removed")
        return
    raise typer.Exit(_remove(settings, found))


def _candidates(settings: GlobalOptions, states: list[str], age: float) -> list[Candidate]:
    from orchestrator.results import run_directories as runs
    from orchestrator.results.run_directories import Candidate, chosen, finished, size_of

    there: list[Run] = runs.all_runs(settings.runs_dir)
    lost = [run.name for run in there if run.state == "LOST" and run.record]
    if lost and not settings.json:
        print_error(f"kept, since they have lost their run server: {', '.join(lost)}; end them first: orchestrate down {lost[0]}")
    return [Candidate(run, size_of(run.directory)) for run in there if finished(run) and chosen(run, states, age)]


def _remove(settings: GlobalOptions, found: list[Candidate]) -> int:
    from orchestrator.results.run_directories import remove

    code, freed = ExitCode.OK, 0
    for candidate in found:
        try:
            remove(candidate.run)
            freed += candidate.size
        except MurmurationError as error:
            code = error.exit_code
            print_error(str(error))
        if settings.json:
            print_json(_line(candidate, removed=not candidate.run.directory.exists()))
    if settings.prints:
        gone = [candidate for candidate in found if not candidate.run.directory.exists()]
        print_text(f"removed {_counted(gone)}" if gone else "nothing was removed")
    return int(code)


def _show(settings: GlobalOptions, found: list[Candidate]) -> None:
    from orchestrator.results.number_text import size
    from orchestrator.terminal.tables import print_list

    rows = []
    for run, taken in ((candidate.run, candidate.size) for candidate in found):
        day = "-" if run.ended is None else run.ended.astimezone().strftime("%Y-%m-%d %H:%M")
        rows.append((run.name, run.state.lower(), day, size(taken)))
    print_list(settings.console(), ("RUN", "STATE", "ENDED", "SIZE"), rows, right=("SIZE",))


def _line(candidate: Candidate, removed: bool) -> dict[str, object]:
    run = candidate.run
    ended = None if run.ended is None else run.ended.isoformat()
    return {
        "run": run.name,
        "directory": str(run.directory),
        "state": run.state,
        "ended": ended,
        "bytes": candidate.size,
        "removed": removed,
    }


def _counted(found: list[Candidate]) -> str:
    from orchestrator.results.number_text import counted, size

    return f"{counted(len(found), 'run')}, {size(sum(candidate.size for candidate in found))}"
