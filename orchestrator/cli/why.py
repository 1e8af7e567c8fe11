"""`orchestrate why`: what the processes of a run wait for."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from orchestrator.cli.command_options import RunArgument, app, examples, options, print_json, print_text


@app.command("why", epilog=examples("orchestrate why night", "orchestrate why night agent-2", "orchestrate why night --json"))
def why(
    context: typer.Context,
    run: RunArgument,
    node: Annotated[str | None, typer.Argument(metavar="[NODE]", help="Only this node, with its stack.")] = None,
) -> None:
    """Print why a run stands still: the chain of waits to the cause, then what each process waits for, since when and until when."""
    from orchestrator.run_server.waits import run_questions

    settings = options(context)
    report = run_questions.why(settings.find(run), node)
    if settings.json:
        print_json(asdict(report) | {"chains": [{"level": level, "text": text} for level, text in report.chains]})
        return
    for level, text in report.chains:
        print_text(f"{level:<5}{text}")
    rows = [(name, wait.text) for name, waits in report.nodes.items() for wait in waits or ()]
    if rows:
        from orchestrator.terminal.tables import print_list

        print_text("")
        print_list(settings.console(), ("NODE", "WAITS FOR"), rows)
    if node is not None:
        for frame in report.stacks.get(node, ()):
            print_text(f"  {frame}")
