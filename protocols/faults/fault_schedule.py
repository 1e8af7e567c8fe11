"""What begins and ends when: the sections `faults` and `network.links`, with everything that they leave to chance drawn.

For the executors of faults:

    schedule = compile_schedule(faults, network_links, agents, ends)   # the same in every process of a run: a function of its arguments
    schedule.events     # `ScheduledEvent`s with names for targets and a `RunMoment` to begin, in the order of the file
    schedule.random_events(until)                                      # those of the seeded nemesis that begin before that time

Kinds are the keys of a configuration's event (`process`, `straggler`, `clock`, `byzantine`, `storage`, `membership`, `partition`,
`link`). An event ends after its `for`, counted from its beginning, or when all faults are healed; `restart_after` and
`return_after` are handled by the executor. `round` counts the averaging rounds of the target agent.
`protocols/faults/fault_timeline.py` follows a run by it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from itertools import takewhile
from math import inf
from typing import Literal, cast

from protocols.faults.fault_draws import KeyedDraws, drawn_events, quantile
from protocols.faults.settings import (
    AUTO,
    FaultEvent,
    FaultsSettings,
    LinkEffects,
    LinkRule,
    MembershipFault,
    NodeFault,
    Partition,
    RunSpan,
    TriggerPoint,
)
from protocols.wire.messages import Channel

Unit = Literal["time", "step", "episode", "round"]
UNITS: tuple[Unit, ...] = ("time", "step", "episode", "round")


@dataclass(frozen=True)
class RunMoment:
    """A place in the run or, as a length, a part of it: seconds, environment steps, episodes, or averaging rounds."""

    unit: Unit
    value: float


@dataclass
class RunPosition:
    """How far the run is; in a unit in which that is not known, -1."""

    time: float = 0.0
    step: float = 0
    episode: float = 0
    round: float = 0

    def of(self, unit: str) -> float:
        """The position in `unit`: `time` (seconds), `step`, `episode` or `round`."""
        return float(getattr(self, unit))

    def known(self) -> dict[str, float]:
        """Unit -> position, in the units in which it is known."""
        return {unit: value for unit, value in vars(self).items() if value >= 0}

    def after(self, length: RunMoment | None) -> RunMoment | None:
        """The place that is this length further on; None for no length."""
        return None if length is None else RunMoment(length.unit, self.of(length.unit) + length.value)

    def past(self, place: RunMoment) -> bool:
        """Whether the run has reached `place`, in the unit of `place`."""
        return self.of(place.unit) >= place.value


def moment(where: TriggerPoint | RunSpan) -> RunMoment:
    """A place or length of the settings that leaves nothing to chance."""
    unit = where.chosen.removesuffix("s")
    return RunMoment(cast(Unit, unit), float(getattr(where, where.chosen)))


SMALLEST_RING = 4
"""agents from which on an overlapping ring cuts anything: in a ring of three the majority of each agent consists of both neighbours"""


@dataclass(frozen=True)
class PartitionCut:
    """A partition of certain nodes. Messages from or to a node in no group are not touched."""

    channels: tuple[Channel, ...]
    group: Mapping[str, int]
    """number of each node's group; with `reach`, its place on the ring"""
    direction: str = "both"
    reach: int | None = None
    """overlapping ring: two nodes reach each other up to this distance"""

    def severs(self, src: str, dst: str, channel: Channel) -> bool:
        """Whether messages from `src` to `dst` are lost."""
        if channel not in self.channels:
            return False
        here, there = self.group.get(src), self.group.get(dst)
        if here is None or there is None or here == there:
            return False
        if self.reach is not None:
            distance = abs(here - there)
            return min(distance, len(self.group) - distance) > self.reach
        if self.direction == "both":
            return True
        return (here if self.direction == "from_first" else there) == 0

    def text(self) -> str:
        """`agent-0 | agent-1 agent-2`."""
        if self.reach is not None:
            order = sorted(self.group, key=lambda name: self.group[name])
            return f"ring of {' '.join(order)}, each reaches up to {self.reach} away"
        sides: dict[int, list[str]] = {}
        for name, number in self.group.items():
            sides.setdefault(number, []).append(name)
        return " | ".join(" ".join(sides[number]) for number in sorted(sides))


def cut(partition: Partition, agents: Sequence[str], draws: KeyedDraws) -> PartitionCut:
    """The cut of a partition among `agents`; groups may name other nodes too. Draw 0 decides who is alone, the others the order."""
    channels = tuple(partition.channels)
    if partition.groups is not None:
        members = {
            name: number
            for number, globs in enumerate(partition.groups)
            for name in (*agents, *OTHER_NODES)
            if any(fnmatchcase(name, glob) for glob in globs)
        }
        return PartitionCut(channels, members, partition.direction)
    order = draws.shuffled(list(agents), 1)
    if partition.target != AUTO:
        chosen = next((name for name in order if fnmatchcase(name, partition.target)), order[0])
        order.remove(chosen)
        order.insert(0, chosen)
    count = len(order)
    if partition.shape == "overlapping_ring":
        majority = count // 2 + 1
        return PartitionCut(channels, {name: place for place, name in enumerate(order)}, reach=max(1, majority // 2))
    if partition.shape == "random":
        sides = {name: int(draws.uniform(2, index) < 0.5) for index, name in enumerate(sorted(order))}
        if len(set(sides.values())) == 1:
            sides[order[0]] = 1 - sides[order[0]]
        return PartitionCut(channels, sides, partition.direction)
    first = {"isolate_one": 1, "halves": count // 2, "majority_minority": max(1, (count - 1) // 2)}[str(partition.shape)]
    return PartitionCut(channels, {name: int(index >= first) for index, name in enumerate(order)}, partition.direction)


LINK_KINDS = ("link", "partition")
"""kinds of events that the links carry out"""
OTHER_NODES = ("env-0", "run")
"""senders of messages besides the agents"""


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
        return replace(_event(event, self._faults.seed if self._faults is not None else 0, self._agents), asked=event)

    def nemesis(self) -> Iterator[ScheduledEvent]:
        """Events drawn at random, by their beginning; without an end unless training has one in time."""
        faults = self._faults
        if faults is not None and faults.random is not None and self._agents:
            healed = self.heal.get("time", inf)
            drawn = drawn_events(faults.random, faults.seed, self._agents)
            for event in takewhile(lambda event: (event.at.time or 0.0) < healed, drawn):
                yield _event(event, faults.seed, self._agents)

    def random_events(self, until: float) -> list[ScheduledEvent]:
        """The randomly drawn events that begin before `until` seconds of the run, in order of time."""
        return list(takewhile(lambda event: event.start.value < until, self.nemesis()))


def compile_schedule(
    faults: FaultsSettings | None,
    network_links: Sequence[LinkRule],
    agents: Sequence[str],
    ends: Mapping[str, float] | None = None,
) -> FaultSchedule:
    """The schedule of a run. `ends`: where training ends, by unit (`time`, `step`, `episode`), as far as it is known."""
    events = [replace(_rule(rule), lasting=True) for rule in network_links]
    if faults is None:
        return FaultSchedule(tuple(events), _agents=tuple(agents))
    events += [_rule(rule) for rule in faults.links]
    events += [_event(event, faults.seed, agents) for event in faults.events]
    heal = {unit: (1.0 - faults.heal_before_end) * end for unit, end in (ends or {}).items()}
    return FaultSchedule(tuple(events), heal, faults, tuple(agents))


def ends_of(until: Mapping[str, float | None]) -> dict[str, float]:
    """`ends` from the section `until` (in seconds, steps, episodes)."""
    units = {"time": "time", "steps": "step", "episodes": "episode"}
    return {unit: float(value) for key, unit in units.items() if (value := until.get(key)) is not None}


def cut_of(event: FaultEvent, seed: int, agents: Sequence[str]) -> PartitionCut | None:
    """Whom a partition parts in every run of that seed; None for other events."""
    return None if event.partition is None else cut(event.partition, agents, KeyedDraws(seed, "event", event.id))


def _rule(rule: LinkRule) -> ScheduledEvent:
    stop = None if rule.during.stop is None else moment(rule.during.stop)
    return ScheduledEvent(rule.id, "link", moment(rule.during.start), stop=stop, link=rule)


def _event(event: FaultEvent, seed: int, agents: Sequence[str]) -> ScheduledEvent:
    draws = KeyedDraws(seed, "event", event.id)
    start = RunMoment("time", quantile(event.at.random)(draws.uniform(0))) if event.at.random is not None else moment(event.at)
    length = None if event.duration is None else moment(event.duration)
    what = getattr(event, event.chosen)
    common = ScheduledEvent(event.id, event.chosen, start, length)
    if isinstance(what, Partition):
        return replace(common, cut=cut_of(event, seed, agents))
    if isinstance(what, LinkEffects):
        return replace(common, link=what)
    pattern = what.leave if isinstance(what, MembershipFault) else what.target
    if pattern == AUTO:
        targets: tuple[str, ...] = (agents[draws.choice(len(agents), 3)],) if agents else ()
    else:
        targets = tuple(name for name in (*agents, *OTHER_NODES) if fnmatchcase(name, pattern))
    return replace(common, targets=targets, node_fault=what)
