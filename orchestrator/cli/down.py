"""`orchestrate down`, `restart` and `clean`: end runs until nothing of them is left, restart single nodes, remove runs that are over."""

from __future__ import annotations

import sys
import time
from typing import Annotated, Any

import typer

from orchestrator.cli.command_options import (
    GlobalOptions,
    NewestRunArgument,
    RunArgument,
    app,
    examples,
    options,
    print_error,
    print_json,
    print_text,
    seconds,
)
from orchestrator.results import run_directories as runs
from orchestrator.results.number_text import counted, size
from orchestrator.results.run_directories import Candidate, Run
from protocols.runtime.errors import ExitCode, MurmurationError, UsageError

_POLL = 0.1
_KILL_WAIT = 10.0
_RESTART_EPILOG = examples(
    "orchestrate restart night agent-2", "orchestrate restart night 'agent-[12]' env-0", "orchestrate restart night agent-2 --cold"
)
_CLEAN_EPILOG = examples(
    "orchestrate clean --older 30d", "orchestrate clean --failed --stopped --dry-run", "orchestrate clean --older 0s -y"
)


@app.command("down", epilog=examples("orchestrate down", "orchestrate down night -t 30s", "orchestrate down --all --now"))
def down(
    context: typer.Context,
    run: NewestRunArgument = None,
    every: Annotated[bool, typer.Option("--all", "-a", help="All runs of the folder.")] = False,
    grace: Annotated[str, typer.Option("--grace", "-t", help="Time for the ordered stop; after it at once.")] = "10s",
    now: Annotated[bool, typer.Option("--now", help="At once, without checkpoints.")] = False,
) -> None:
    """Stop a run: checkpoints, then the end of every process. A run that has ended already is left as it is (exit 0)."""
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
    end = time.monotonic() + timeout
    while runs.lock_held(run.directory):
        if time.monotonic() > end:
            return False
        time.sleep(_POLL)
    return True


@app.command("restart", epilog=_RESTART_EPILOG)
def restart(
    context: typer.Context,
    run: RunArgument,
    nodes: Annotated[list[str], typer.Argument(metavar="NODE ...", help="Names of nodes, or patterns: 'agent-*'.")],
    cold: Annotated[bool, typer.Option("--cold", help="Without their checkpoints (which are kept aside).")] = False,
    timeout: Annotated[str, typer.Option("--timeout", help="How long to wait until they are back; 0s: don't wait.")] = "60s",
) -> None:
    """Stop nodes of a run that goes on and start them again: new processes, which take up what their checkpoints hold.

    Counts as no failure. Nodes that were given up, or have left, come back too. Exit 6 where one is not back in time.
    """
    settings = options(context)
    patience = seconds(timeout, "--timeout")
    found = settings.find(run)
    began = time.monotonic()
    results: dict[str, dict[str, Any]] = {}
    with settings.client(found) as client:
        before: dict[str, int] = client.restart(nodes, cold).get("nodes", {})
        while len(results) < len(before) and (now := time.monotonic()) < began + patience:
            there = {node["name"]: node for node in client.status()["nodes"]}
            for name, incarnation in before.items():
                node = there.get(name, {})
                if name not in results and node.get("incarnation", 0) > incarnation and node.get("state") == "alive":
                    results[name] = {"node": name, "incarnation": node["incarnation"], "pid": node["pid"], "seconds": round(now - began, 3)}
                    back = f"{name} is back as incarnation {node['incarnation']} (pid {node['pid']}, {now - began:.1f} s)"
                    settings.answer({"run": found.name, **results[name]}, back)
            time.sleep(_POLL)
    missing = [name for name in before if name not in results]
    if patience == 0:
        settings.answer({"run": found.name, "asked": missing}, f"{', '.join(missing)}: restart requested")
    elif missing:
        print_error(f"not back within {patience:g} s: {', '.join(missing)}; see: orchestrate logs {found.name} {missing[0]}")
        raise typer.Exit(int(ExitCode.RESOURCES))


@app.command("clean", epilog=_CLEAN_EPILOG)
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
    there = runs.all_runs(settings.runs_dir)
    lost = [run.name for run in there if run.state == "LOST" and run.record]
    if lost and not settings.json:
        print_error(f"kept, since they have lost their run server: {', '.join(lost)}; end them first: orchestrate down {lost[0]}")
    found = [Candidate(run, runs.size_of(run.directory)) for run in there if runs.finished(run) and runs.chosen(run, states, age)]
    if not found:
        if settings.prints:
            print_text("no run is to be removed")
        return
    if not settings.json:
        _show(settings, found)
    if dry_run or not (yes or typer.confirm(f"remove {_counted(found)} permanently?", default=False)):
        for candidate in found if settings.json else ():
            print_json(_line(candidate, removed=False))
        if not settings.json:
            print_text("nothing was removed")
        return
    raise typer.Exit(_remove(settings, found))


def _remove(settings: GlobalOptions, found: list[Candidate]) -> int:
    code = ExitCode.OK
    for candidate in found:
        try:
            runs.remove(candidate.run)
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
    from orchestrator.terminal.tables import print_list

    rows = []
    for run, taken in ((candidate.run, candidate.size) for candidate in found):
        day = "-" if run.ended is None else run.ended.astimezone().strftime("%Y-%m-%d %H:%M")
        rows.append((run.name, run.state.lower(), day, size(taken)))
    print_list(settings.console(), ("RUN", "STATE", "ENDED", "SIZE"), rows, right=("SIZE",))


def _line(candidate: Candidate, removed: bool) -> dict[str, object]:
    run, ended = candidate.run, candidate.run.ended
    when = None if ended is None else ended.isoformat()
    facts = {"run": run.name, "directory": str(run.directory), "state": run.state, "ended": when, "bytes": candidate.size}
    return {**facts, "removed": removed}


def _counted(found: list[Candidate]) -> str:
    return f"{counted(len(found), 'run')}, {size(sum(candidate.size for candidate in found))}"
