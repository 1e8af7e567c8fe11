"""What begins and ends when: the sections `faults` and `network.links`, with everything that they leave to chance drawn.

For the executors of faults:

    schedule = compile_schedule(faults, network_links, agents, ends)   # the same in every process of a run: a function of its arguments
    schedule.events                                     # `ScheduledEvent`s with names for targets and a `RunMoment` to begin, in the order
    of the file schedule.random_events(until)                       # those of the seeded nemesis that begin before that time

Kinds are the keys of a configuration's event (`process`, `straggler`, `clock`, `byzantine`, `storage`, `membership`, `partition`,
`link`). An event ends after its `for`, counted from its beginning, or when all faults are healed; `restart_after` and
`return_after` are handled by the executor. `round` counts the averaging rounds of the target agent.
`protocols/faults/schedule/fault_timeline.py` follows a run by it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from itertools import takewhile
from math import inf

from protocols.faults.schedule.keyed_draws import KeyedDraws
from protocols.faults.schedule.nemesis import drawn_events
from protocols.faults.schedule.partitions import PartitionCut, cut
from protocols.faults.schedule.random_durations import quantile
from protocols.faults.schedule.run_moments import RunMoment, moment
from protocols.faults.settings import (
    AUTO,
    ByzantineFault,
    ClockSkew,
    FaultEvent,
    FaultsSettings,
    LinkEffects,
    LinkRule,
    MembershipFault,
    Partition,
    ProcessFault,
    StorageFault,
    Straggler,
)

NodeFault = ProcessFault | Straggler | ClockSkew | ByzantineFault | StorageFault | MembershipFault
LINK_KINDS = ("link", "partition")
"""kinds of events that the links carry out"""


@dataclass(frozen=True)
class ScheduledEvent:
    """Something that begins and ends, with nothing left to chance."""

    id: str
    kind: str
    start: RunMoment
    length: RunMoment | None = None
    """from where it begins; None: until everything is healed"""
    stop: RunMoment | None = None
    """where it ends, for rules of the links with an end"""
    targets: tuple[str, ...] = ()
    """whom it concerns; none: the links"""
    node_fault: NodeFault | None = None
    link: LinkEffects | None = None
    cut: PartitionCut | None = None
    lasting: bool = False
    """whether it stays when all is healed: a property of the network"""
    asked: FaultEvent | None = None
    """for what is in no schedule: what was asked for by hand while the run went on"""


@dataclass(frozen=True)
class FaultSchedule:
    """All events of a run but those of the nemesis, which are drawn as the run goes on."""

    events: tuple[ScheduledEvent, ...] = ()
    heal: Mapping[str, float] = field(default_factory=dict)
    """by unit, from where on nothing is broken any more"""
    _faults: FaultsSettings | None = None
    _agents: tuple[str, ...] = ()
    _nodes: tuple[str, ...] = ()

    @property
    def damages(self) -> bool:
        """Whether any link ever damages a message (the nemesis draws no damage)."""
        return any(event.link is not None and event.link.corrupt is not None for event in self.events)

    @property
    def eventful(self) -> bool:
        """Whether anything ever happens, listed or drawn."""
        return bool(self.events) or next(self.nemesis(), None) is not None

    def compiled(self, event: FaultEvent) -> ScheduledEvent:
        """An event that is not in it, asked for by hand, as if it were."""
        return replace(_event(event, self._faults.seed if self._faults is not None else 0, self._agents, self._nodes), asked=event)

    def nemesis(self) -> Iterator[ScheduledEvent]:
        """Events drawn at random, by their beginning; without an end unless training has one in time."""
        faults = self._faults
        if faults is not None and faults.random is not None and self._agents:
            healed = self.heal.get("time", inf)
            drawn = drawn_events(faults.random, faults.seed, self._agents)
            for event in takewhile(lambda event: (event.at.time or 0.0) < healed, drawn):
                yield _event(event, faults.seed, self._agents, self._nodes)

    def random_events(self, until: float) -> list[ScheduledEvent]:
        """The randomly drawn events that begin before `until` seconds of the run, in order of time."""
        return list(takewhile(lambda event: event.start.value < until, self.nemesis()))


def compile_schedule(
    faults: FaultsSettings | None,
    network_links: Sequence[LinkRule],
    agents: Sequence[str],
    ends: Mapping[str, float] | None = None,
    others: Sequence[str] = ("env-0", "run"),
) -> FaultSchedule:
    """The schedule of a run. `ends`: where training ends, by unit (`time`, `step`, `episode`), as far as it is known."""
    nodes = (*agents, *others)
    events = [replace(_rule(rule), lasting=True) for rule in network_links]
    if faults is None:
        return FaultSchedule(tuple(events), _agents=tuple(agents), _nodes=nodes)
    events += [_rule(rule) for rule in faults.links]
    events += [_event(event, faults.seed, agents, nodes) for event in faults.events]
    heal = {unit: (1.0 - faults.heal_before_end) * end for unit, end in (ends or {}).items()}
    return FaultSchedule(tuple(events), heal, faults, tuple(agents), nodes)


def ends_of(until: Mapping[str, float | None]) -> dict[str, float]:
    """`ends` from the section `until` (in seconds, steps, episodes)."""
    units = {"time": "time", "steps": "step", "episodes": "episode"}
    return {unit: float(value) for key, unit in units.items() if (value := until.get(key)) is not None}


def cut_of(event: FaultEvent, seed: int, agents: Sequence[str], nodes: Sequence[str]) -> PartitionCut | None:
    """Whom a partition parts in every run of that seed; None for other events."""
    return None if event.partition is None else cut(event.partition, agents, nodes, KeyedDraws(seed, "event", event.id))


def _rule(rule: LinkRule) -> ScheduledEvent:
    stop = None if rule.during.stop is None else moment(rule.during.stop)
    return ScheduledEvent(rule.id, "link", moment(rule.during.start), stop=stop, link=rule)


def _event(event: FaultEvent, seed: int, agents: Sequence[str], nodes: Sequence[str]) -> ScheduledEvent:
    draws = KeyedDraws(seed, "event", event.id)
    start = RunMoment("time", quantile(event.at.random)(draws.uniform(0))) if event.at.random is not None else moment(event.at)
    length = None if event.duration is None else moment(event.duration)
    what = getattr(event, event.chosen)
    common = ScheduledEvent(event.id, event.chosen, start, length)
    if isinstance(what, Partition):
        return replace(common, cut=cut_of(event, seed, agents, nodes))
    if isinstance(what, LinkEffects):
        return replace(common, link=what)
    pattern = what.leave if isinstance(what, MembershipFault) else what.target
    if pattern == AUTO:
        targets: tuple[str, ...] = (agents[draws.choice(len(agents), 3)],) if agents else ()
    else:
        targets = tuple(name for name in nodes if fnmatchcase(name, pattern))
    return replace(common, targets=targets, node_fault=what)
