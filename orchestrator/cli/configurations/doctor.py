"""`orchestrate doctor`: is this machine ready for a run?"""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.command_options import app, examples, options, print_json
from protocols.runtime.errors import ExitCode


@app.command("doctor", epilog=examples("orchestrate doctor --brief"))
def doctor(
    context: typer.Context,
    brief: Annotated[bool, typer.Option("--brief", help="Only what takes milliseconds: torch is not imported.")] = False,
) -> None:
    """Check versions, cores, memory, torch, limits, places and clock. Each line is ok, warn or bad with the cure; exit 0, or 6 if bad."""
    from rich.text import Text

    from orchestrator.launch.machine_report import checks

    settings = options(context)
    console = settings.console()
    worst = ExitCode.OK
    for check in checks(settings.runs_dir, brief):
        if check.status == "bad":
            worst = ExitCode.RESOURCES
        if settings.json:
            print_json({"status": check.status, "name": check.name, "text": check.text, "cure": check.cure})
            continue
        if check.status == "ok" and settings.verbosity < 0:
            continue
        style = {"ok": "green", "warn": "yellow", "bad": "bold red"}[check.status]
        line = Text(f"{check.status:<5}", style).append(f"{check.name:<16} {check.text}", "")
        if check.cure:
            line.append(f"\n{'':<22}-> {check.cure}", style)
        console.print(line, soft_wrap=True)
    raise typer.Exit(int(worst))
