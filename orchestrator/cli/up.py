"""`orchestrate up`: check a configuration, start its run, and show it to its end; `orchestrate attach`: look on at one that goes on."""

from __future__ import annotations

import contextlib
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.command_options import (
    CONFIG_HELP,
    GlobalOptions,
    NewestRunArgument,
    app,
    examples,
    options,
    print_error,
    print_json,
    print_problems,
    print_text,
    seconds,
)
from orchestrator.cli.completion import complete_configurations, complete_overrides, complete_runs
from orchestrator.cli.show import draw
from orchestrator.results.run_files import read_json
from orchestrator.results.run_logs import failure_tail
from orchestrator.terminal import snapshot_metrics as shown
from orchestrator.terminal.interrupts import Interrupts
from orchestrator.terminal.run_view import ProgressView, WatchOutcome, heading, outcome_text
from protocols.runtime.errors import ExitCode, MurmurationError, UsageError

if TYPE_CHECKING:
    from orchestrator.terminal.run_watcher import Watcher

_EPILOG = examples(
    "orchestrate up configs/4agents_ring.yaml",
    "orchestrate up configs/4agents_ring.yaml agents.count=8 until.time=60s -d --name night",
    "orchestrate up configs/4agents_ring.yaml 'agents.learner={kind: discrete_sac}'",
    "orchestrate up --resume night until.steps=2000000",
)

_SLACK = 10.0
"""seconds after which a run whose run server has not itself noticed that nodes are missing is stopped"""


@app.command("up", epilog=_EPILOG)
def up(
    context: typer.Context,
    config: Annotated[
        Path | None, typer.Argument(metavar="[CONFIG]", autocompletion=complete_configurations, help=f"{CONFIG_HELP} Not with --resume.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[key=value ...]",
            autocompletion=complete_overrides,
            help="Overrides: agents.count=8, 'metrics.sinks=[csv]', key+=value appends to a list.",
        ),
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return once every node is up; the run goes on by itself.")] = False,
    name: Annotated[str | None, typer.Option("--name", help="Name of the run; it must be new.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of all random numbers (the same as seed=).")] = None,
    resume: Annotated[
        str | None,
        typer.Option(
            "--resume",
            metavar="RUN",
            autocompletion=complete_runs,
            help="Go on with a run that was stopped or interrupted, from its checkpoints; take over one whose run server was killed.",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and draw, and start nothing.")] = False,
    timeout: Annotated[str, typer.Option("--timeout", help="Until every node must be up.")] = "60s",
    plain: Annotated[bool, typer.Option("--plain", help="Plain lines instead of the live table.")] = False,
    dashboard: Annotated[
        int | None,
        typer.Option("--dashboard", metavar="[PORT]", min=0, max=65535, help="Serve a page that shows the run; also --dashboard=8000."),
    ] = None,
) -> None:
    """Check CONFIG, make a run directory, start every process, and show progress to the end.

    Ctrl-C stops in order, with checkpoints; a second one stops at once. Ends with the run's exit code.
    """
    settings = options(context)
    patience = seconds(timeout, "--timeout")
    try:
        listening = _page_socket(dashboard, detach)
        from orchestrator.run_server.resume_request import load_resumed, nothing_to_do, prepare_resume, settle
        from orchestrator.run_server.run_start import check_name, command_line, prepare_run

        given = [*([str(config)] if config else []), *(overrides or [])]
        if resume is not None:
            directory = settings.find(resume).directory
            settle(directory)
            loaded = load_resumed(directory, given, seed)
            if text := nothing_to_do(directory, loaded.configuration):
                end = {"kind": "end", "exit_code": 0, "state": "DONE", "directory": str(directory), "reason": text}
                settings.answer(end, text)
                return
        elif config is None:
            raise UsageError("give a configuration, for example configs/4agents_ring.yaml, or --resume RUN")
        else:
            from orchestrator.config import loader as configuration_loader

            loaded = configuration_loader.load(config, overrides or [], {"seed": seed})
            print_problems(loaded.warnings, str(config))
        if dry_run:
            if resume is None and name is not None:
                check_name(settings.runs_dir, name)
            draw(settings, loaded.configuration)
            if not settings.json:
                print_text("nothing was started")
            return
        if resume is not None:
            loaded = prepare_resume(directory, given, seed)
        elif config is not None:
            directory = prepare_run(loaded, settings.runs_dir, name, command_line(config, overrides or [], seed))
    except MurmurationError as error:
        if settings.json:  # the last line states how it ended, in every case
            print_json({"kind": "end", "exit_code": int(error.exit_code), "directory": None, "reason": str(error)})
        raise
    if settings.prints:
        # A script reads one line from `up -d`: that every node is up. Until then progress is printed for people.
        chosen = loaded.configuration
        nodes, hosts = chosen.agents.count + 1, chosen.launch.host_count
        (print_error if detach else print_text)(heading(directory.name, chosen.seed, chosen.launch.engine, nodes, hosts, directory))
    with contextlib.ExitStack() as page:
        if listening is not None:
            from orchestrator.page.page_link import LOCAL, PageBesideRun, link

            address = link(listening, LOCAL, directory.name)
            page.enter_context(PageBesideRun(listening, directory))
            print_json({"kind": "page", "url": address}) if settings.json else print_text(f"page: {address}")
        raise typer.Exit(_lead(settings, directory, plain, patience, detach).exit_code)


def _page_socket(port: int | None, detach: bool) -> socket.socket | None:
    """The socket of the page, where one is wanted."""
    if port is None:
        return None
    if detach:
        raise UsageError("--dashboard ends with this command, and -d ends it at once; leave out --dashboard, and use orchestrate dash RUN")
    from orchestrator.page.page_link import LOCAL, listening_socket

    return listening_socket(LOCAL, port)


def _lead(settings: GlobalOptions, directory: Path, plain: bool, patience: float, detach: bool) -> WatchOutcome:
    """Start the run server and look on: to the end, or with `detach` until every node is up."""
    from orchestrator.run_server.run_start import start_detached
    from orchestrator.terminal.run_watcher import Watcher

    view = ProgressView() if detach and not settings.json else settings.view(plain)
    with Interrupts() as interrupts, view:
        watcher = Watcher(directory, view, interrupts, "start" if detach else "lead", patience + _SLACK)
        try:
            start_detached(directory, start_timeout=patience)
            outcome = watcher.run()
        except MurmurationError as error:
            outcome = WatchOutcome(directory, "FAILED", int(error.exit_code), str(error))
        with contextlib.suppress(OSError):  # the terminal may be gone
            if outcome.left:
                _started(settings, outcome, watcher)
            else:
                _ended(settings, outcome, watcher.view, detach)
    return outcome


def _ended(settings: GlobalOptions, outcome: WatchOutcome, view: ProgressView, detach: bool) -> None:
    """The last words on a run: the log of what failed, the summary, and how it ended."""
    from orchestrator.results.run_summary import after_run

    if outcome.exit_code not in (ExitCode.OK, ExitCode.INTERRUPTED, ExitCode.EXPECTATION_FAILED) and (
        tail := failure_tail(outcome.directory)
    ):
        print_error(tail)
    view.end(outcome, after_run(outcome.directory) if (outcome.directory / "summary.json").is_file() else "")
    if detach and not settings.json:
        print_error(outcome_text(outcome))


def _started(settings: GlobalOptions, outcome: WatchOutcome, watcher: Watcher) -> None:
    """Every node of a detached run is up."""
    up_nodes, all_nodes = shown.up_count(watcher.snapshot or {})
    name = outcome.directory.name
    if settings.json:
        watcher.view.end(outcome)
    elif settings.verbosity >= 0:
        after = f"{outcome.elapsed:.1f} s" if outcome.elapsed is not None else "-"
        print_text(
            f"{name}  {up_nodes}/{all_nodes} up after {after}        logs: orchestrate logs -f {name}      stop: orchestrate down {name}"
        )


@app.command("attach", epilog=examples("orchestrate attach night"))
def attach(
    context: typer.Context,
    run: NewestRunArgument = None,
    plain: Annotated[bool, typer.Option("--plain", help="Plain lines instead of the live table.")] = False,
) -> None:
    """Show a run while it goes on. The key d or Ctrl-C leaves it running; ends with the run's exit code when the run ends."""
    from orchestrator.launch.launch_settings import LaunchSettings
    from orchestrator.results.run_summary import after_run
    from orchestrator.terminal.run_watcher import Watcher

    settings = options(context)
    found = settings.find(run)
    if settings.prints:
        config = read_json(found.directory / "config.json")
        nodes = int((config.get("agents") or {}).get("count") or 0) + 1
        launch = LaunchSettings.model_validate(config.get("launch") or {})
        print_text(heading(found.name, config.get("seed", "-"), found.engine, nodes, launch.host_count, found.directory))
    with settings.view(plain, "d or Ctrl-C: leave the run running") as view:
        with Interrupts(signals=(signal.SIGINT, signal.SIGTERM, signal.SIGHUP), keys=not settings.json) as interrupts:
            outcome = Watcher(found.directory, view, interrupts, "look").run()
        view.end(outcome, "" if outcome.left else after_run(found.directory))
    raise typer.Exit(outcome.exit_code)
