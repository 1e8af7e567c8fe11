"""`orchestrate attach`: look on at a run that goes on by itself."""

from __future__ import annotations

import signal
from typing import Annotated

import typer

from orchestrator.cli.command_options import app, examples, options, print_text
from orchestrator.cli.completion import complete_runs


@app.command("attach", epilog=examples("orchestrate attach night"))
def attach(
    context: typer.Context,
    run: Annotated[
        str | None, typer.Argument(metavar="[RUN]", autocompletion=complete_runs, help="Name or directory of a run; the newest without.")
    ] = None,
    plain: Annotated[bool, typer.Option("--plain", help="Plain lines instead of the live table.")] = False,
) -> None:
    """Show a run while it goes on. The key d or Ctrl-C leaves it running; ends with the run's exit code when the run ends."""
    from orchestrator.launch.launch_settings import LaunchSettings
    from orchestrator.results.run_directories import read_json
    from orchestrator.results.run_summary import after_run
    from orchestrator.terminal.interrupts import Interrupts
    from orchestrator.terminal.run_view import heading
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
