"""What the run server knows of each fault of a run: those of the schedule, those drawn as it goes on, and those asked for by hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from math import isfinite
from pathlib import Path

from orchestrator.config.configuration import Configuration
from orchestrator.results.run_files import read_lines
from protocols.faults.link_effects.link_orders import ManualLinkFault
from protocols.faults.node_faults.fault_log import FILE
from protocols.faults.node_faults.node_fault import ScheduledFault
from protocols.faults.node_faults.scheduled_faults import schedule_of, scheduled_fault_of
from protocols.faults.schedule.fault_schedule import ScheduledEvent
from protocols.faults.schedule.run_moments import RunMoment, RunPosition
from protocols.faults.settings import FaultEvent
from protocols.runtime.node_start import RUN_SERVER

BY_HAND = "by-hand-"
"""with a number: the id of a fault that was asked for by hand"""


@dataclass
class RunFault:
    """One fault of the schedule, or one that was asked for by hand; `node_fault` is None where links do it."""

    id: str
    kind: str
    targets: tuple[str, ...]
    start: RunMoment
    lasts: RunMoment | None
    node_fault: ScheduledFault | None = None
    stop: RunMoment | None = None
    """where it ends, whenever it began"""
    asked: FaultEvent | None = None
    """for a fault by hand, what was asked for"""
    begun: bool = False
    since: RunPosition = field(default_factory=RunPosition)
    until: RunMoment | None = None
    ended: bool = False

    def text(self) -> str:
        """`crash: process.kill agent-3`."""
        return f"{self.id}: {self.kind} {', '.join(self.targets)}".rstrip()

    def order(self) -> str:
        """What nodes are told to begin; empty where they know by themselves what their links do."""
        if self.node_fault is not None:
            return self.node_fault.to_json()
        return ManualLinkFault(self.asked, self.since).to_json() if self.asked is not None else ""

    def end_of(self, since: RunPosition) -> RunMoment | None:
        """Where it ends, having begun when the run was so far; None: when it is healed. In the unit of the beginning a length counts from
        the place that was asked for, not from where it was noticed."""
        if self.lasts is None:
            return self.stop
        unit = self.lasts.unit
        began = self.start.value if unit == self.start.unit and isfinite(self.start.value) else since.of(unit)
        return RunMoment(unit, began + self.lasts.value)

    def concerns(self, node: str) -> bool:
        """Whether the order is for that node: everybody has links."""
        return self.node_fault is None or node in self.targets


@dataclass(frozen=True)
class FaultPlan:
    """The faults of a run; by unit, from where on nothing is broken any more; and those that are drawn as it goes on."""

    entries: tuple[RunFault, ...] = ()
    heal: Mapping[str, float] = field(default_factory=dict)
    drawn: Iterator[RunFault] = field(default_factory=lambda: iter(()))


def make_plan(configuration: Configuration) -> FaultPlan:
    """The plan of a run. With `mode: replay`, what was asked for by hand in the run that is repeated comes again, at the times at which it
    came there; what the links did, their nodes repeat by themselves."""
    settings = configuration.faults
    if settings is None:
        return FaultPlan()
    schedule = schedule_of(settings, configuration.agent_names(), configuration.until.model_dump())
    entries = [entry(event) for event in schedule.events]
    if settings.mode == "replay" and settings.trace is not None:
        for event in asked_for(Path(settings.trace)):
            compiled = schedule.compiled(event)
            entries.append(entry(compiled if compiled.node_fault is not None else without_order(compiled)))
    return FaultPlan(tuple(entries), schedule.heal, map(entry, schedule.nemesis()))


def without_order(event: ScheduledEvent) -> ScheduledEvent:
    """A fault of the links of which nobody needs to be told."""
    return ScheduledEvent(event.id, event.kind, event.start, event.length, link=event.link, cut=event.cut)


def entry(event: ScheduledEvent) -> RunFault:
    """An event that has not begun."""
    node_fault = scheduled_fault_of(event)
    kind = event.kind if node_fault is None else node_fault.kind
    targets = event.targets if event.cut is None else (event.cut.text(),)
    return RunFault(event.id, kind, targets, event.start, event.length, node_fault, stop=event.stop, asked=event.asked)


def asked_for(run: Path) -> list[FaultEvent]:
    """The faults that were asked for by hand in a run so far, in order, as its run server has noted them."""
    lines = read_lines(run / "nodes" / RUN_SERVER / FILE)
    return [FaultEvent.model_validate(line["event"]) for line in lines if line.get("what") == "asked"]


def free_id(taken: set[str]) -> str:
    """The first id of a fault by hand that nothing has."""
    return next(name for number in count(1) if (name := f"{BY_HAND}{number}") not in taken)
