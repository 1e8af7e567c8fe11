"""What stepping promises, checked afterwards: every transition once, in order, with the rewards that the server recorded."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

from protocols.simulation.simulated_stepping import LedgerLine, TransitionLog


class SteppingViolation(AssertionError):
    """A rule of stepping is broken."""


class Meant(NamedTuple):
    """Who meant an action, in which incarnation, for which tick of which server."""

    agent: str
    incarnation: int
    server: int
    tick: int


def check(ledger: list[LedgerLine], memories: list[TransitionLog], meant: dict[int, Meant]) -> None:
    """Every transition once, in order, and the sums of rewards are the ledger's; raises `SteppingViolation`."""
    lines = _check_ledger(ledger, meant)
    for memory in memories:
        _check_memory(memory, lines)


def _check_ledger(ledger: list[LedgerLine], meant: dict[int, Meant]) -> dict[tuple[int, int], LedgerLine]:
    lines: dict[tuple[int, int], LedgerLine] = {}
    newest = (0, -1)
    for entry in ledger:
        place = (entry.server, entry.tick)
        if place <= newest or (entry.server == newest[0] and entry.tick != newest[1] + 1):
            raise SteppingViolation(f"server {entry.server} plays tick {entry.tick} after {newest}")
        newest = place
        lines[place] = entry
        for agent, action in entry.actions.items():
            if agent not in entry.incarnations:
                raise SteppingViolation(f"{agent}, who is not present, counts at {place}")
            said = meant[action]
            if said != Meant(agent, entry.incarnations[agent], *place):
                raise SteppingViolation(f"at {place} counts {said} for incarnation {entry.incarnations[agent]} of {agent}")
    return lines


def _check_memory(memory: TransitionLog, lines: dict[tuple[int, int], LedgerLine]) -> None:
    who = f"incarnation {memory.incarnation} of {memory.agent}"
    if memory.seen != sorted(set(memory.seen)):
        raise SteppingViolation(f"{who} sees {memory.seen}")
    places = [(kept.server, kept.tick) for kept in memory.kept]
    if places != sorted(set(places)):
        raise SteppingViolation(f"{who} keeps transitions {places}")
    for place, kept in zip(places, memory.kept, strict=True):
        entry = lines.get(place)
        if entry is None:
            raise SteppingViolation(f"{who} keeps a transition of {place}, which is not in the ledger")
        if entry.incarnations.get(memory.agent) != memory.incarnation:
            raise SteppingViolation(f"{who} keeps a transition of {place}, where incarnation {entry.incarnations.get(memory.agent)} counts")
        if entry.actions.get(memory.agent, 0) != kept.action or entry.rewards[memory.agent] != kept.reward:
            raise SteppingViolation(f"{who} keeps {kept}, the ledger {entry}")
    _check_sums(memory, lines, who)


def _check_sums(memory: TransitionLog, lines: dict[tuple[int, int], LedgerLine], who: str) -> None:
    """What is kept is what the ledger paid from the first to the last of it, without the gaps that the rules allow: a tick whose answer
    did not come before the deadline of the tick after it, hence the agent was late there."""
    ticks: dict[int, list[int]] = defaultdict(list)
    kept: dict[int, int] = defaultdict(int)
    for transition in memory.kept:
        ticks[transition.server].append(transition.tick)
        kept[transition.server] += transition.reward
    for server, known in ticks.items():
        paid = 0
        for tick in range(known[0], known[-1] + 1):
            entry = lines[server, tick]
            if memory.agent in entry.actions and tick not in known:
                after = lines[server, tick + 1]
                if memory.agent in after.actions:
                    raise SteppingViolation(f"{who} does not know of its transition {(server, tick)}, though it was not late afterwards")
            if tick in known:
                paid += entry.rewards[memory.agent]
        if paid != kept[server]:
            raise SteppingViolation(f"{who} has {kept[server]} of server {server}, the ledger paid {paid}")
