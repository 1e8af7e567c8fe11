"""`orchestrate restart`: stop and start single nodes of a living run."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from orchestrator.cli.command_options import app, examples, options, print_error, seconds
from orchestrator.cli.completion import complete_runs
from protocols.runtime.errors import ExitCode

_POLL = 0.1
_EPILOG = examples(
    "orchestrate restart night agent-2", "orchestrate restart night 'agent-[12]' env-0", "orchestrate restart night agent-2 --cold"
)


@app.command("restart", epilog=_EPILOG)
def restart(
    context: typer.Context,
    run: Annotated[
        str, typer.Argument(metavar="RUN", autocompletion=complete_runs, help="Name or directory of a run.", show_default=False)
    ],
    nodes: Annotated[list[str], typer.Argument(metavar="NODE ...", help="Names of nodes, or patterns: 'agent-*'.", show_default=False)],
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
