"""What begins and ends when: the sections `faults` and `network.links`, with everything that they leave to chance drawn.

For whoever carries faults out:

    schedule = compile_schedule(faults, network_links, agents, ends)   # the same in every process of a run: a function of its arguments
    schedule.events                                     # `Event`s with names for targets and a `Moment` to begin, in the order of the file
    schedule.random_events(until)                       # those of the seeded nemesis that begin before that time
    timeline = Timeline(schedule, kinds=..., node=...)  # follows the run: of these kinds, with this node among the targets
    for change in timeline.reach(time=..., step=..., episode=..., round=...): ...    # what has begun or ended, in order

Kinds are the keys of a configuration's event (`process`, `straggler`, `clock`, `byzantine`, `storage`, `membership`, `partition`,
`link`). An event ends where its `for` says, counted from where it begins, or when everything is healed; `restart_after` and
`return_after` are whoever's affair who carries it out. `round` counts the averaging rounds of the agent whom an event concerns: a
timeline that is told of rounds must be one of a single node.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from itertools import takewhile
from math import inf
from typing import Literal

from protocols.faults.distributions import quantile
from protocols.faults.draws import Draws
from protocols.faults.moments import Moment, Reached, moment
from protocols.faults.nemesis import drawn_events
from protocols.faults.partitions import Cut, cut
from protocols.faults.settings import (
    AUTO,
    Byzantine,
    ClockSkew,
    FaultEvent,
    FaultsSettings,
    LinkEffects,
    LinkRule,
    Membership,
    Partition,
    Process,
    Storage,
    Straggler,
)

Deed = Process | Straggler | ClockSkew | Byzantine | Storage | Membership
LINK_KINDS = ("link", "partition")
"""kinds of events that the links carry out"""


@dataclass(frozen=True)
class Event:
    """Something that begins and ends, with nothing left to chance."""

    id: str
    kind: str
    start: Moment
    length: Moment | None = None
    """from where it begins; None: until everything is healed"""
    stop: Moment | None = None
    """where it ends, for rules of the links that say so"""
    targets: tuple[str, ...] = ()
    """whom it concerns; none: the links"""
    deed: Deed | None = None
    link: LinkEffects | None = None
    cut: Cut | None = None
    lasting: bool = False
    """whether it stays when all is healed: a property of the network"""
    asked: FaultEvent | None = None
    """for what is in no schedule: what was asked for by hand while the run went on"""


@dataclass(frozen=True)
class Schedule:
    """All events of a run but those of the nemesis, which are drawn as the run goes on."""

    events: tuple[Event, ...] = ()
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

    def compiled(self, event: FaultEvent) -> Event:
        """An event that is not in it, asked for by hand, as if it were."""
        return replace(_event(event, self._faults.seed if self._faults is not None else 0, self._agents, self._nodes), asked=event)

    def nemesis(self) -> Iterator[Event]:
        """Events drawn at random, by their beginning; without an end unless training has one in time."""
        faults = self._faults
        if faults is not None and faults.random is not None and self._agents:
            healed = self.heal.get("time", inf)
            drawn = drawn_events(faults.random, faults.seed, self._agents)
            for event in takewhile(lambda event: (event.at.time or 0.0) < healed, drawn):
                yield _event(event, faults.seed, self._agents, self._nodes)

    def random_events(self, until: float) -> list[Event]:
        """Those that begin before `until` seconds."""
        return list(takewhile(lambda event: event.start.value < until, self.nemesis()))


def compile_schedule(
    faults: FaultsSettings | None,
    network_links: Sequence[LinkRule],
    agents: Sequence[str],
    ends: Mapping[str, float] | None = None,
    others: Sequence[str] = ("env-0", "run"),
) -> Schedule:
    """The schedule of a run. `ends`: where training ends, by unit (`time`, `step`, `episode`), as far as it is known."""
    nodes = (*agents, *others)
    events = [replace(_rule(rule), lasting=True) for rule in network_links]
    if faults is None:
        return Schedule(tuple(events), _agents=tuple(agents), _nodes=nodes)
    events += [_rule(rule) for rule in faults.links]
    events += [_event(event, faults.seed, agents, nodes) for event in faults.events]
    heal = {unit: (1.0 - faults.heal_before_end) * end for unit, end in (ends or {}).items()}
    return Schedule(tuple(events), heal, faults, tuple(agents), nodes)


def ends_of(until: Mapping[str, float | None]) -> dict[str, float]:
    """`ends` from the section `until` (in seconds, steps, episodes)."""
    units = {"time": "time", "steps": "step", "episodes": "episode"}
    return {unit: float(value) for key, unit in units.items() if (value := until.get(key)) is not None}


def _rule(rule: LinkRule) -> Event:
    stop = None if rule.during.stop is None else moment(rule.during.stop)
    return Event(rule.id, "link", moment(rule.during.start), stop=stop, link=rule)


def _event(event: FaultEvent, seed: int, agents: Sequence[str], nodes: Sequence[str]) -> Event:
    draws = Draws(seed, "event", event.id)
    start = Moment("time", quantile(event.at.random)(draws.uniform(0))) if event.at.random is not None else moment(event.at)
    length = None if event.duration is None else moment(event.duration)
    what = getattr(event, event.chosen)
    common = Event(event.id, event.chosen, start, length)
    if isinstance(what, Partition):
        return replace(common, cut=cut(what, agents, nodes, draws))
    if isinstance(what, LinkEffects):
        return replace(common, link=what)
    pattern = what.leave if isinstance(what, Membership) else what.target
    if pattern == AUTO:
        targets: tuple[str, ...] = (agents[draws.choice(len(agents), 3)],) if agents else ()
    else:
        targets = tuple(name for name in nodes if fnmatchcase(name, pattern))
    return replace(common, targets=targets, deed=what)


# --- following a run ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """An event that has begun or ended; `until` is where it will end, as far as that is known."""

    what: Literal["begin", "end"]
    event: Event
    until: Moment | None = None


class Timeline:
    """Which events are active, from how far the run is. What it says is a function of the calls of `reach`.

    `begun` are events that began before this timeline did (of an earlier incarnation of the process), with how far the run was then:
    they end where they would have ended. `ended` are over.
    """

    def __init__(
        self,
        schedule: Schedule,
        kinds: Collection[str] | None = None,
        node: str | None = None,
        begun: Mapping[str, Reached] | None = None,
        ended: Collection[str] = (),
    ) -> None:
        self._kinds = kinds
        self._node = node
        self._begun = dict(begun or {})
        self._ended = frozenset(ended)
        self._heal = dict(schedule.heal)
        self._nemesis = schedule.nemesis()
        self._next = next(self._nemesis, None)
        self._pending = [event for event in schedule.events if self._concerned(event)]
        self._active: dict[str, tuple[Event, Moment | None]] = {}
        self._due: dict[str, float] = {}
        self.reached = Reached()
        self.healed = False
        self._look()

    @property
    def active(self) -> list[Event]:
        """What is active now, in the order in which it began."""
        return [event for event, _ in self._active.values()]

    def next(self, unit: str) -> float:
        """The place in this unit before which nothing begins or ends; infinite when nothing waits for that unit."""
        return self._due.get(unit, inf)

    def reach(
        self, time: float | None = None, step: float | None = None, episode: float | None = None, round: float | None = None
    ) -> list[Change]:
        """The run has come so far (units that are not given stay; none goes back). What ended and began by it, in order."""
        reached, due = self.reached, self._due
        looks = False
        for unit, value in (("time", time), ("step", step), ("episode", episode), ("round", round)):
            if value is not None and value > getattr(reached, unit):
                setattr(reached, unit, value)
                looks = looks or value >= due.get(unit, inf)
        return self.settle() if looks else []

    def settle(self) -> list[Change]:
        """What is due at the place where the run is: at its beginning, what holds from the start on."""
        changes: list[Change] = []
        while True:
            ended = self._first_end()
            if ended is not None:
                changes.append(Change("end", self._active.pop(ended)[0]))
                continue
            if not self.healed and any(self.reached.of(unit) >= value for unit, value in self._heal.items()):
                changes += self.heal()
                continue
            event = self._first_beginning()
            if event is None:
                break
            if event.id in self._ended and not event.lasting:
                continue
            until = self._end_of(event)
            self._active[event.id] = (event, until)
            changes.append(Change("begin", event, until))
        self._look()
        return changes

    def begin(self, event: Event) -> list[Change]:
        """Begin an event that is in no schedule; nothing where it lasts or has ended already."""
        if event.id in self._active or event.id in self._ended:
            return []
        until = self._end_of(event)
        self._active[event.id] = (event, until)
        self._look()
        return [Change("begin", event, until), *self.settle()]

    def end(self, fault: str) -> list[Change]:
        """End one event; one that has not begun never will. Not the network's own properties."""
        self._ended |= {fault}
        self._pending = [event for event in self._pending if event.id != fault or event.lasting]
        found = self._active.get(fault)
        if found is None or found[0].lasting:
            return []
        del self._active[fault]
        self._look()
        return [Change("end", found[0])]

    def heal(self) -> list[Change]:
        """End everything but the network's own properties; nothing begins any more."""
        self.healed = True
        self._pending = [event for event in self._pending if event.lasting]
        self._next = None
        over = [event for event, _ in self._active.values() if not event.lasting]
        for event in over:
            del self._active[event.id]
        self._look()
        return [Change("end", event) for event in over]

    def _concerned(self, event: Event) -> bool:
        if self._kinds is not None and event.kind not in self._kinds:
            return False
        return self._node is None or not event.targets or self._node in event.targets

    def _first_end(self) -> str | None:
        return next((name for name, (_, until) in self._active.items() if until is not None and self.reached.past(until)), None)

    def _first_beginning(self) -> Event | None:
        due = [event for event in self._pending if self.reached.past(event.start)]
        if due:
            first = min(due, key=lambda event: event.start.value)
            self._pending.remove(first)
            return first
        while (drawn := self._next) is not None and self.reached.past(drawn.start):
            self._next = next(self._nemesis, None)
            if self._concerned(drawn):
                return drawn
        return None

    def _end_of(self, event: Event) -> Moment | None:
        if event.length is None:
            return event.stop
        # In the unit of the beginning the length counts from the place that was asked for, not from where it was noticed.
        began = self._begun.get(event.id, self.reached).of(event.length.unit)
        start = event.start.value if event.start.unit == event.length.unit else began
        return Moment(event.length.unit, start + event.length.value)

    def _look(self) -> None:
        """Find the places at which something may be due next."""
        due: dict[str, float] = {}
        waiting = [event.start for event in self._pending] + ([self._next.start] if self._next is not None else [])
        waiting += [until for _, until in self._active.values() if until is not None]
        for place in waiting:
            due[place.unit] = min(due.get(place.unit, inf), place.value)
        if not self.healed:
            for unit, value in self._heal.items():
                due[unit] = min(due.get(unit, inf), value)
        self._due = due
