"""`orchestrate init`: a configuration to begin with."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.command_options import app, examples, options

_EPILOG = examples("orchestrate init mine", "orchestrate init experiments/far.yaml --like odmar/far")


@app.command("init", epilog=_EPILOG)
def init(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the new configuration, or path of its file.", show_default=False)],
    like: Annotated[str, typer.Option("--like", help="One that comes with the system (odmar/far), or the path of one.")] = "4agents_ring",
) -> None:
    """Write NAME.yaml, a commented configuration that needs no other file. One that exists is never overwritten."""
    from orchestrator.config.starter_configuration import write_starter

    settings = options(context)
    path = write_starter(name, like)
    settings.answer(
        {"path": str(path), "like": like}, f"wrote {path}      start: orchestrate up {path}      check: orchestrate validate {path}"
    )
