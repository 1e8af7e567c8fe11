"""Hidden commands: the processes of a run are started through them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.command_options import app


@app.command("_serve", hidden=True)
def serve(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The run's directory.")],
    start_timeout: Annotated[float, typer.Option("--start-timeout", help="Seconds until every node must be up.")] = 60.0,
) -> None:
    """Lead the run in DIR: rendezvous, supervision, collection. Started by `up`."""
    from orchestrator.run_server.run_server import main

    raise typer.Exit(main(directory, start_timeout))


@app.command("host", hidden=True)
def host(invitation: Annotated[str, typer.Argument(metavar="-", help="Where the invitation comes from: - is standard input.")]) -> None:
    """Start and watch nodes on this machine for a run server. Started by the launch engine."""
    from protocols.runtime.errors import UsageError

    if invitation != "-":
        raise UsageError(f'host reads its invitation from standard input: write "-" instead of "{invitation}"')
    from orchestrator.launch.host.host_process import main

    raise typer.Exit(main())
