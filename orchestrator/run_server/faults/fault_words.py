"""Faults in few words, as `orchestrate fault` and the page take them, made into entries of `faults.events`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from protocols.runtime.errors import UsageError
from protocols.runtime.suggestions import hint

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
    """`words`: what must follow it; `section`: the key of `faults.events` that it fills, by `makes`; `takes`: the options beside `--for`
    that mean something to it, and the keys that they set."""

    words: str
    section: str
    makes: Callable[[Sequence[str]], Fault]
    takes: Mapping[str, str] = field(default_factory=dict)


def _process(action: str, **takes: str) -> FaultKind:
    return FaultKind("NODE", "process", lambda words: {"target": words[0], "action": action}, takes)


def _cut(words: Sequence[str]) -> Fault:
    sides = words[0].split(":")
    if len(sides) != 2 or not all(sides):
        raise UsageError(f'fault cut: "{words[0]}" does not name two sides; write for example agent-0:agent-1')
    return {"groups": [_names(side) for side in sides]}


def _partition(words: Sequence[str]) -> Fault:
    groups = [_names(group) for group in words[0].split("|")]
    return {"shape": groups[0][0]} if len(groups) == 1 and len(groups[0]) == 1 else {"groups": groups}


def _ends(link: str) -> Fault:
    source, _, to = link.partition(":")
    return {"from": _names(source), "to": _names(to or "*")}


_CHANNELS = {"channels": "channels"}
KINDS: Mapping[str, FaultKind] = {
    "kill": _process("kill", restart_after="restart_after"),
    "term": _process("term", restart_after="restart_after"),
    "pause": _process("pause"),
    "hang": _process("hang"),
    "cut": FaultKind("A:B", "partition", _cut, _CHANNELS),
    "partition": FaultKind("'A,B|C,D'", "partition", _partition, _CHANNELS),
    "delay": FaultKind("FROM[:TO] TIME", "link", lambda words: {**_ends(words[0]), "delay": words[1]}, _CHANNELS),
    "loss": FaultKind("FROM[:TO] PROBABILITY", "link", lambda words: {**_ends(words[0]), "loss": _number(words[1], "loss")}, _CHANNELS),
    "slow": FaultKind(
        "NODE FACTOR", "straggler", lambda words: {"target": words[0], "factor": _number(words[1], "slow")}, {"where": "where"}
    ),
    "lie": FaultKind(
        "NODE ATTACK", "byzantine", lambda words: {"target": words[0], "attack": words[1]}, {"where": "channel", "scale": "scale"}
    ),
}
"""kinds with a short form; any other fault is given as `event`"""
OTHERS = {"event": "'{storage: {target: agent-0, action: full}}'", "heal": "[ID]", "list": ""}
_OPTIONS = {"restart_after": "--restart-after", "where": "--where", "scale": "--scale", "channels": "--channel"}
_SPAN = re.compile(r"([0-9]+)\s*(steps|episodes|rounds)")


def fault_of(kind: str, words: Sequence[str], extras: FaultOptions = FaultOptions()) -> Fault:
    """What is to begin. `UsageError` for a kind that is none, for words that are missing or too many, and for options that mean nothing."""
    if kind not in (*KINDS, "event"):
        names = [*KINDS, *OTHERS]
        raise UsageError(f'"{kind}" is no fault; ' + hint(kind, names, f"it is one of {', '.join(names)}"))
    rule = KINDS.get(kind)
    if rule is not None and len(words) != len(rule.words.split()):
        more = "; several nodes are one pattern: 'agent-[12]'" if len(words) > 1 and rule.words == "NODE" else ""
        raise UsageError(f"fault {kind} takes {rule.words}, not {' '.join(words) or 'nothing'}{more}")
    made: Fault = _event(words) if rule is None else {rule.section: rule.makes(words)}
    for name, option in _OPTIONS.items():
        if (given := getattr(extras, name)) in (None, ()):
            continue
        if rule is None or name not in rule.takes:
            who = ", ".join(other for other, one in KINDS.items() if name in one.takes)
            raise UsageError(f"fault {kind} has no {option}; that is for {who}")
        made[rule.section][rule.takes[name]] = list(given) if isinstance(given, tuple) else given
    if extras.lasts is None:
        return made
    span = _SPAN.fullmatch(extras.lasts.strip())
    return {**made, "for": {span[2]: int(span[1])} if span is not None else extras.lasts}


def _event(words: Sequence[str]) -> Fault:
    from orchestrator.config.parsing.yaml_reader import UnreadableYaml, read_value
    from orchestrator.config.parsing.yaml_tree import Location, plain

    try:
        given: Any = plain(read_value(" ".join(words) or "null", Location("fault event")))
    except UnreadableYaml as unreadable:
        raise UsageError(f"fault event: {unreadable.problems[-1].message}") from unreadable
    if not isinstance(given, dict):
        raise UsageError(f"fault event takes an entry of faults.events without id and at, for example {OTHERS['event']}")
    return given


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def _number(text: str, kind: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(f'fault {kind}: "{text}" is not a number') from None
