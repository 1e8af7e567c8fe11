"""`orchestrate fault`: let something go wrong in a living run, now."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.command_options import GlobalOptions, app, examples, options, print_json, print_text
from orchestrator.cli.completion import complete_runs
from protocols.runtime.errors import UsageError
from protocols.runtime.suggestions import hint

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
    run: Annotated[
        str, typer.Argument(metavar="RUN", autocompletion=complete_runs, help="Name or directory of a run.", show_default=False)
    ],
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND",
            help="kill | term | pause | hang | cut | partition | delay | loss | slow | lie, event for any other, heal to end one or all, "
            "list for those that last.",
            show_default=False,
        ),
    ],
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[WHO] [HOW]", help="Nodes or patterns, and what the kind needs; see the examples.")
    ] = None,
    lasts: Annotated[
        str | None, typer.Option("--for", metavar="LENGTH", help="How long: 8s, or 20episodes; without it until it is healed.")
    ] = None,
    restart_after: Annotated[
        str | None, typer.Option("--restart-after", metavar="TIME", help="kill, term: when it is started again.", show_default=False)
    ] = None,
    where: Annotated[
        str | None,
        typer.Option("--where", help="slow: update, act or comm; lie: avg, trace or goal.", show_default=False),
    ] = None,
    scale: Annotated[float | None, typer.Option("--scale", help="lie: how much.", show_default=False)] = None,
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


Fault = dict[str, Any]


@dataclass(frozen=True)
class FaultOptions:
    """Options that some kinds of faults have."""

    lasts: str | None = None
    """`--for`: a duration, or a number with its unit: `20episodes`"""
    restart_after: str | None = None
    where: str | None = None
    scale: float | None = None
    channels: tuple[str, ...] = ()


@dataclass(frozen=True)
class FaultKind:
    """`words`: what must follow it; `takes`: the options beside `--for` that mean something to it."""

    words: str
    makes: Callable[[Sequence[str], FaultOptions], Fault]
    takes: tuple[str, ...] = ()


def _process(action: str) -> Callable[[Sequence[str], FaultOptions], Fault]:
    def make(words: Sequence[str], extras: FaultOptions) -> Fault:
        after = {} if extras.restart_after is None else {"restart_after": extras.restart_after}
        return {"process": {"target": words[0], "action": action, **after}}

    return make


def _cut(words: Sequence[str], extras: FaultOptions) -> Fault:
    sides = words[0].split(":")
    if len(sides) != 2 or not all(sides):
        raise UsageError(f'fault cut: "{words[0]}" does not name two sides; write for example agent-0:agent-1')
    return {"partition": {"groups": [_names(side) for side in sides], **_channels(extras)}}


def _partition(words: Sequence[str], extras: FaultOptions) -> Fault:
    groups = [_names(group) for group in words[0].split("|")]
    if len(groups) == 1 and len(groups[0]) == 1:
        return {"partition": {"shape": groups[0][0], **_channels(extras)}}
    return {"partition": {"groups": groups, **_channels(extras)}}


def _link(effect: str, number: bool) -> Callable[[Sequence[str], FaultOptions], Fault]:
    def make(words: Sequence[str], extras: FaultOptions) -> Fault:
        source, _, to = words[0].partition(":")
        how: str | float = _number(words[1], f"fault {effect}") if number else words[1]
        return {"link": {"from": _names(source), "to": _names(to or "*"), effect: how, **_channels(extras)}}

    return make


def _slow(words: Sequence[str], extras: FaultOptions) -> Fault:
    where = {} if extras.where is None else {"where": extras.where}
    return {"straggler": {"target": words[0], "factor": _number(words[1], "fault slow"), **where}}


def _lie(words: Sequence[str], extras: FaultOptions) -> Fault:
    scale = {} if extras.scale is None else {"scale": extras.scale}
    where = {} if extras.where is None else {"channel": extras.where}
    return {"byzantine": {"target": words[0], "attack": words[1], **scale, **where}}


KINDS: Mapping[str, FaultKind] = {
    "kill": FaultKind("NODE", _process("kill"), ("restart_after",)),
    "term": FaultKind("NODE", _process("term"), ("restart_after",)),
    "pause": FaultKind("NODE", _process("pause")),
    "hang": FaultKind("NODE", _process("hang")),
    "cut": FaultKind("A:B", _cut, ("channels",)),
    "partition": FaultKind("'A,B|C,D'", _partition, ("channels",)),
    "delay": FaultKind("FROM[:TO] TIME", _link("delay", False), ("channels",)),
    "loss": FaultKind("FROM[:TO] PROBABILITY", _link("loss", True), ("channels",)),
    "slow": FaultKind("NODE FACTOR", _slow, ("where",)),
    "lie": FaultKind("NODE ATTACK", _lie, ("where", "scale")),
}
"""kinds with a short form; any other fault is given as `event`"""
OTHERS = {"event": "'{storage: {target: agent-0, action: full}}'", "heal": "[ID]", "list": ""}
_OPTIONS = {"restart_after": "--restart-after", "where": "--where", "scale": "--scale", "channels": "--channel"}
_SPAN = re.compile(r"([0-9]+)\s*(steps|episodes|rounds)")


def fault_of(kind: str, words: Sequence[str], extras: FaultOptions = FaultOptions()) -> Fault:
    """What is to begin. `UsageError` for a kind that is none, for words that are missing or too many, and for options that mean nothing."""
    if kind == "event":
        return _with_length(_event(words), _only((), kind, extras))
    if kind not in KINDS:
        raise UsageError(unknown(kind))
    rule = KINDS[kind]
    if len(words) != len(rule.words.split()):
        more = "; several nodes are one pattern: 'agent-[12]'" if len(words) > 1 and rule.words == "NODE" else ""
        raise UsageError(f"fault {kind} takes {rule.words}, not {' '.join(words) or 'nothing'}{more}")
    return _with_length(rule.makes(words, extras), _only(rule.takes, kind, extras))


def unknown(kind: str) -> str:
    """The error text for an unknown kind."""
    names = [*KINDS, *OTHERS]
    return f'"{kind}" is no fault; ' + hint(kind, names, f"it is one of {', '.join(names)}")


def _only(takes: Sequence[str], kind: str, extras: FaultOptions) -> FaultOptions:
    for name, option in _OPTIONS.items():
        if getattr(extras, name) not in (None, ()) and name not in takes:
            who = ", ".join(other for other, rule in KINDS.items() if name in rule.takes)
            raise UsageError(f"fault {kind} has no {option}; that is for {who}")
    return extras


def _event(words: Sequence[str]) -> Fault:
    from orchestrator.config.parsing.yaml_reader import UnreadableYaml, read_text
    from orchestrator.config.parsing.yaml_tree import Location, plain

    place = Location("fault event")
    try:
        tree, problems = read_text(" ".join(words) or "null", str(place), only=place)
    except UnreadableYaml as unreadable:
        raise UsageError(f"fault event: {unreadable.problems[-1].text}") from unreadable
    if problems:
        raise UsageError(f"fault event: {problems[0].path}: {problems[0].text}")
    given = plain(tree)
    if not isinstance(given, dict):
        raise UsageError(f"fault event takes an entry of faults.events without id and at, for example {OTHERS['event']}")
    return given


def _with_length(fault: Fault, extras: FaultOptions) -> Fault:
    if extras.lasts is None:
        return fault
    span = _SPAN.fullmatch(extras.lasts.strip())
    return {**fault, "for": {span[2]: int(span[1])} if span is not None else extras.lasts}


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def _channels(extras: FaultOptions) -> Fault:
    return {"channels": list(extras.channels)} if extras.channels else {}


def _number(text: str, what: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(f'{what}: "{text}" is not a number') from None
