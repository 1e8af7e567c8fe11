"""What the run server knows of each fault of a run: those of the schedule, those drawn as it goes on, and those asked for by hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from math import isfinite
from pathlib import Path

from orchestrator.config import Configuration
from orchestrator.run_files import read_lines
from protocols.faults.deed import Deed
from protocols.faults.deeds import deed_of, schedule_of
from protocols.faults.log import FILE
from protocols.faults.moments import Moment, Reached
from protocols.faults.orders import LinkOrder
from protocols.faults.schedule import Event
from protocols.faults.settings import FaultEvent
from protocols.launch import RUN_SERVER

BY_HAND = "by-hand-"
"""with a number: the id of a fault that was asked for by hand"""


@dataclass
class Entry:
    """One fault of the schedule, or one that was asked for by hand; `deed` is None where links do it."""

    id: str
    kind: str
    targets: tuple[str, ...]
    start: Moment
    lasts: Moment | None
    deed: Deed | None = None
    stop: Moment | None = None
    """where it ends, whenever it began"""
    asked: FaultEvent | None = None
    """for a fault by hand, what was asked for"""
    begun: bool = False
    since: Reached = field(default_factory=Reached)
    until: Moment | None = None
    ended: bool = False

    def text(self) -> str:
        """`crash: process.kill agent-3`."""
        return f"{self.id}: {self.kind} {', '.join(self.targets)}".rstrip()

    def order(self) -> str:
        """What nodes are told to begin; empty where they know by themselves what their links do."""
        if self.deed is not None:
            return self.deed.to_json()
        return LinkOrder(self.asked, self.since).to_json() if self.asked is not None else ""

    def end_of(self, since: Reached) -> Moment | None:
        """Where it ends, having begun when the run was so far; None: when it is healed. In the unit of the beginning a length counts from
        the place that was asked for, not from where it was noticed."""
        if self.lasts is None:
            return self.stop
        unit = self.lasts.unit
        began = self.start.value if unit == self.start.unit and isfinite(self.start.value) else since.of(unit)
        return Moment(unit, began + self.lasts.value)

    def concerns(self, node: str) -> bool:
        """Whether the order is for that node: everybody has links."""
        return self.deed is None or node in self.targets


@dataclass(frozen=True)
class Plan:
    """The faults of a run; by unit, from where on nothing is broken any more; and those that are drawn as it goes on."""

    entries: tuple[Entry, ...] = ()
    heal: Mapping[str, float] = field(default_factory=dict)
    drawn: Iterator[Entry] = field(default_factory=lambda: iter(()))


def make_plan(configuration: Configuration) -> Plan:
    """The plan of a run. With `mode: replay`, what was asked for by hand in the run that is repeated comes again, at the times at which it
    came there; what the links did, their nodes repeat by themselves."""
    settings = configuration.faults
    if settings is None:
        return Plan()
    schedule = schedule_of(settings, configuration.agent_names(), configuration.until.model_dump())
    entries = [entry(event) for event in schedule.events]
    if settings.mode == "replay" and settings.trace is not None:
        for event in asked_for(Path(settings.trace)):
            compiled = schedule.compiled(event)
            entries.append(entry(compiled if compiled.deed is not None else without_order(compiled)))
    return Plan(tuple(entries), schedule.heal, map(entry, schedule.nemesis()))


def without_order(event: Event) -> Event:
    """A fault of the links of which nobody needs to be told."""
    return Event(event.id, event.kind, event.start, event.length, link=event.link, cut=event.cut)


def entry(event: Event) -> Entry:
    """An event that has not begun."""
    deed = deed_of(event)
    kind = event.kind if deed is None else deed.kind
    targets = event.targets if event.cut is None else (event.cut.text(),)
    return Entry(event.id, kind, targets, event.start, event.length, deed, stop=event.stop, asked=event.asked)


def asked_for(run: Path) -> list[FaultEvent]:
    """The faults that were asked for by hand in a run so far, in order, as its run server has noted them."""
    lines = read_lines(run / "nodes" / RUN_SERVER / FILE)
    return [FaultEvent.model_validate(line["event"]) for line in lines if line.get("what") == "asked"]


def free_id(taken: set[str]) -> str:
    """The first id of a fault by hand that nothing has."""
    return next(name for number in count(1) if (name := f"{BY_HAND}{number}") not in taken)
