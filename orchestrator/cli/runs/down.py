"""`orchestrate down`: end runs, in order or at once, until nothing of them is left."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.command_options import GlobalOptions, app, examples, options, print_text, seconds
from orchestrator.cli.completion import complete_runs
from protocols.runtime.errors import ExitCode

if TYPE_CHECKING:
    from orchestrator.results.run_directories import Run

_POLL = 0.1
_KILL_WAIT = 10.0


@app.command("down", epilog=examples("orchestrate down", "orchestrate down night -t 30s", "orchestrate down --all --now"))
def down(
    context: typer.Context,
    run: Annotated[
        str | None, typer.Argument(metavar="[RUN]", autocompletion=complete_runs, help="Name or directory of a run; the newest without.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", "-a", help="All runs of the folder.")] = False,
    grace: Annotated[str, typer.Option("--grace", "-t", help="Time for the ordered stop; after it at once.")] = "10s",
    now: Annotated[bool, typer.Option("--now", help="At once, without checkpoints.")] = False,
) -> None:
    """Stop a run: checkpoints, then the end of every process. A run that has ended already is left as it is (exit 0)."""
    from orchestrator.results import run_directories as runs
    from protocols.runtime.errors import UsageError

    settings = options(context)
    patience = seconds(grace, "--grace")
    if every and run is not None:
        raise UsageError("down: give a RUN or --all, not both")
    if every:
        found = [candidate for candidate in runs.all_runs(settings.runs_dir) if candidate.state not in runs.FINAL or candidate.alive]
    elif run is None:
        running = [candidate for candidate in runs.all_runs(settings.runs_dir) if candidate.alive]
        found = running[:1] or [settings.find(None)]
    else:
        found = [settings.find(run)]
    results = [_stop(settings, candidate, patience, now) for candidate in found]
    if not results and settings.prints:
        print_text("nothing runs")
    raise typer.Exit(int(ExitCode.OK) if all(not result["left"] for result in results) else int(ExitCode.RESOURCES))


def _stop(settings: GlobalOptions, run: Run, grace: float, now: bool) -> dict[str, Any]:
    """End one run and report: how, in what time, and what is left."""
    from orchestrator.launch.engine import clean_up
    from orchestrator.launch.process_control import remains
    from orchestrator.results import run_directories as runs

    began = time.monotonic()
    how = "had ended already"
    if run.alive:
        how = "stopped at once" if now else "stopped"
        if not _ask(run, now) or not _gone(run, _KILL_WAIT if now else grace):
            how = "stopped at once"
            if now or not _ask(run, True) or not _gone(run, _KILL_WAIT):
                how = "its run server did not answer: processes were killed"
    swept, unreachable = clean_up(run.directory, run.engine)
    if swept and not run.alive:
        how = f"had lost its run server: {len(swept)} processes were killed"
    left = [process.pid for process in remains(run.directory)]
    after = runs.read(run.directory)
    if after.state not in runs.FINAL and not after.alive:
        after = runs.close_lost(after, int(ExitCode.INTERRUPTED), "its run server was gone; ended by orchestrate down")
    took = time.monotonic() - began
    result = {
        "run": run.name,
        "directory": str(run.directory),
        "state": after.state,
        "how": how,
        "seconds": round(took, 3),
        "left": [*left, *unreachable],
    }
    settings.answer(result, f"{run.name} {how} ({took:.1f} s)")
    for text in unreachable if not settings.json else ():
        print_text(f"  {text}")
    if left and not settings.json:
        print_text(f"  still there: {', '.join(map(str, left))}; end them with: kill -9 {' '.join(map(str, left))}")
    return result


def _ask(run: Run, now: bool) -> bool:
    """Send the stop request; whether the run server answered (or has just ended)."""
    from orchestrator.run_server.run_client import Unreachable

    try:
        with GlobalOptions().client(run, 3.0) as client:
            client.stop(now=now, reason="stopped by orchestrate down", timeout=3.0)
    except Unreachable:
        return _gone(run, 0.5)
    return True


def _gone(run: Run, timeout: float) -> bool:
    """Whether the run server has let the lock go within `timeout` seconds."""
    from orchestrator.results import run_directories as runs

    end = time.monotonic() + timeout
    while runs.lock_held(run.directory):
        if time.monotonic() > end:
            return False
        time.sleep(_POLL)
    return True
