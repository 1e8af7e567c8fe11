"""`orchestrate fault`: let something go wrong in a living run, now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.command_options import GlobalOptions, RunArgument, app, examples, options, print_json, print_text
from orchestrator.run_server.faults.fault_words import FaultOptions, fault_of
from protocols.runtime.errors import UsageError

if TYPE_CHECKING:
    from orchestrator.results.run_directories import Run

_EPILOG = examples(
    "orchestrate fault night kill agent-2 --restart-after 5s",
    "orchestrate fault night pause agent-1 --for 8s",
    "orchestrate fault night cut agent-0:agent-1 --for 10s",
    "orchestrate fault night partition 'agent-0,agent-1|agent-2,agent-3' --for 20episodes",
    "orchestrate fault night delay '*' 50ms",
    "orchestrate fault night loss agent-0:agent-1 0.2",
    "orchestrate fault night slow agent-3 5 --where comm",
    "orchestrate fault night lie agent-3 sign_flip --scale 4",
    "orchestrate fault night event '{storage: {target: agent-0, action: full}}' --for 5s",
    "orchestrate fault night list",
    "orchestrate fault night heal by-hand-2",
)


@app.command("fault", epilog=_EPILOG)
def fault(
    context: typer.Context,
    run: RunArgument,
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND",
            help="kill | term | pause | hang | cut | partition | delay | loss | slow | lie, event for any other, heal to end one or all, "
            "list for those that last.",
        ),
    ],
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[WHO] [HOW]", help="Nodes or patterns, and what the kind needs; see the examples.")
    ] = None,
    lasts: Annotated[
        str | None, typer.Option("--for", metavar="LENGTH", help="How long: 8s, or 20episodes; without it until it is healed.")
    ] = None,
    restart_after: Annotated[
        str | None, typer.Option("--restart-after", metavar="TIME", help="kill, term: when it is started again.")
    ] = None,
    where: Annotated[str | None, typer.Option("--where", help="slow: update, act or comm; lie: avg, trace or goal.")] = None,
    scale: Annotated[float | None, typer.Option("--scale", help="lie: how much.")] = None,
    channel: Annotated[
        list[str] | None, typer.Option("--channel", help="cut, partition, delay, loss: peer (default), env, ctl or tele; may be repeated.")
    ] = None,
) -> None:
    """Let a fault begin now in a run that goes on, held to the rules of faults.events and written down like one of the schedule.

    heal ends the fault with that ID, by hand or of the schedule; without an ID all of them, and what the schedule still had in store.
    """
    settings = options(context)
    found = settings.find(run)
    given = words or []
    extras = FaultOptions(lasts, restart_after, where, scale, tuple(channel or ()))
    if kind in ("list", "heal"):
        if extras != FaultOptions():
            raise UsageError(f"fault {kind} has no options")
        if len(given) > (kind == "heal"):
            raise UsageError(f"fault {kind} takes {'one ID, or no argument for all' if kind == 'heal' else 'no argument'}")
        _list(settings, found) if kind == "list" else _heal(settings, found, given[0] if given else "*")
        return
    event = fault_of(kind, given, extras)
    with settings.client(found) as client:
        answer = client.fault(event)
    until = f"for {lasts}" if lasts is not None else f"it ends with: orchestrate fault {found.name} heal {answer.get('id')}"
    over = any(key in event.get("process", {}).get("action", "") for key in ("kill", "term", "exit", "oom"))
    settings.answer({"run": found.name, **answer, "event": event}, f"{answer.get('text')}" + ("" if over else f"; {until}"))


def _heal(settings: GlobalOptions, found: Run, which: str) -> None:
    with settings.client(found) as client:
        ended = client.heal(which).get("ended", [])
    settings.answer({"run": found.name, "ended": ended}, f"healed: {', '.join(ended)}" if ended else "nothing was broken")


def _list(settings: GlobalOptions, found: Run) -> None:
    with settings.client(found) as client:
        faults = client.status().get("faults") or {}
    there: list[dict[str, Any]] = faults.get("on") or []
    if settings.json:
        for one in there:
            print_json({"run": found.name, **one})
        return
    from orchestrator.terminal.tables import print_list

    rows = []
    for one in there:
        end = "healed" if one.get("until") is None else _place(one["until"])
        targets, by = ", ".join(one["targets"]) or "links", "hand" if one["by_hand"] else "schedule"
        rows.append((one["id"], one["kind"], targets, f"{one['since']['time']:.1f} s", end, by))
    if rows:
        print_list(settings.console(), ("ID", "KIND", "WHO", "SINCE", "UNTIL", "BY"), rows)
    else:
        print_text("nothing is broken")
    if faults.get("next"):
        print_text(f"next: {faults['next']}")


def _place(moment: dict[str, Any]) -> str:
    return f"{moment['value']:.1f} s" if moment["unit"] == "time" else f"{moment['unit']} {moment['value']:g}"
