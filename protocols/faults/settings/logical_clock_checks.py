"""Which faults mean anything under the logical clock, where nothing is slow and no process has a time of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from protocols.faults.settings import AUTO, FaultEvent, FaultsSettings, LinkEffects, LinkRule, MembershipFault, ProcessFault
from protocols.faults.settings.fault_checks import FaultRuleViolation, Path

_NOTHING_IS_SLOW = (
    "under clock: logical no agent is slower than another, since all wait for each tick; delay the links, or write clock: wall"
)


def unsupported_under_logical_clock(faults: FaultsSettings | None, links: Sequence[LinkRule]) -> Iterator[FaultRuleViolation]:
    """Rules and events that `clock: logical` can't carry out, each with the cure."""
    for index, rule in enumerate(links):
        yield from _link(rule, ("network", "links", index))
    if faults is None:
        return
    if faults.mode == "replay":
        yield FaultRuleViolation(("faults", "mode"), "a run under clock: logical repeats itself: run it again with its seeds")
    if faults.random is not None:
        yield FaultRuleViolation(
            ("faults", "random"), "is drawn as real time passes; under clock: logical list events, or write clock: wall"
        )
    for index, rule in enumerate(faults.links):
        where: Path = ("faults", "links", index)
        yield from _link(rule, where)
        if rule.during.start.chosen == "round" or (rule.during.stop is not None and rule.during.stop.chosen == "round"):
            yield FaultRuleViolation((*where, "during"), "agents' rounds differ; under clock: logical a link goes by time, step or episode")
    for index, event in enumerate(faults.events):
        yield from _event(event, ("faults", "events", index))


def _link(rule: LinkEffects, where: Path) -> Iterator[FaultRuleViolation]:
    if set(rule.channels) != {"peer"}:
        text = "under clock: logical only the channel peer has faults (a step waits for all agents); write channels: [peer]"
        yield FaultRuleViolation((*where, "channels"), text)


def _event(event: FaultEvent, where: Path) -> Iterator[FaultRuleViolation]:
    what = getattr(event, event.chosen)
    if event.chosen in ("straggler", "clock"):
        yield FaultRuleViolation((*where, event.chosen), _NOTHING_IS_SLOW)
    if isinstance(what, ProcessFault) and what.action in ("pause", "hang"):
        yield FaultRuleViolation((*where, "process", "action"), _NOTHING_IS_SLOW)
    if isinstance(what, LinkEffects):
        yield from _link(what, (*where, "link"))
    if event.chosen in ("link", "partition") and event.at.chosen == "round":
        yield FaultRuleViolation((*where, "at"), "agents' rounds differ; under clock: logical a link goes by time, step or episode")
    if isinstance(what, ProcessFault | MembershipFault):
        key, target = ("leave", what.leave) if isinstance(what, MembershipFault) else ("target", what.target)
        if target != AUTO and fnmatchcase("env-0", target):
            text = "under clock: logical the run stands and falls with env-0; interrupt the run and go on with orchestrate up --resume"
            yield FaultRuleViolation((*where, event.chosen, key), text)
        if event.at.chosen == "round":
            yield FaultRuleViolation(
                (*where, "at"), "under clock: logical an agent leaves at a time, step or episode that all agents can compute"
            )
