"""When the events of a schedule begin and end during a run.

    timeline = FaultTimeline(schedule, kinds=...)      # follows the run: of these kinds
    for change in timeline.reach(time=..., step=..., episode=..., round=...): ...    # what has begun or ended, in order

`round` counts the averaging rounds of the target agent: a timeline that receives rounds must be that of a single node.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import inf
from typing import Literal

from protocols.faults.fault_schedule import UNITS, FaultSchedule, RunMoment, RunPosition, ScheduledEvent


@dataclass(frozen=True)
class FaultChange:
    """An event that has begun or ended, or (`until`) of which only now is known where it will end; `until` is that place, as far as it is
    known."""

    what: Literal["begin", "until", "end"]
    event: ScheduledEvent
    until: RunMoment | None = None


class FaultTimeline:
    """The active events, by the position in the run: a function of the calls of `reach`.

    `begun` are events that began before this timeline did (of an earlier incarnation of the process), with how far the run was then:
    they end where they would have ended. `ended` are over.

    With `late` the run has begun already: the position in a unit is unknown before the first call of `reach` with it, and an event that
    lasts for some of that unit, and began before, counts from there.
    """

    def __init__(
        self,
        schedule: FaultSchedule,
        kinds: Collection[str] | None = None,
        begun: Mapping[str, RunPosition] | None = None,
        ended: Collection[str] = (),
        late: bool = False,
    ) -> None:
        self._kinds = kinds
        self._begun = dict(begun or {})
        self._ended = frozenset(ended)
        self._heal = dict(schedule.heal)
        self._nemesis = schedule.nemesis()
        self._next = next(self._nemesis, None)
        self._pending = [event for event in schedule.events if self._concerned(event)]
        self._active: dict[str, tuple[ScheduledEvent, RunMoment | None]] = {}
        self._due: dict[str, float] = {}
        self.reached = RunPosition()
        self.unknown: set[str] = set(UNITS) if late else set()
        """units without a position so far"""
        self.healed = False
        self._look()

    @property
    def active(self) -> list[ScheduledEvent]:
        """What is active now, in the order in which it began."""
        return [event for event, _ in self._active.values()]

    def next(self, unit: str) -> float:
        """The place in this unit before which nothing begins or ends; infinite when nothing waits for that unit."""
        return self._due.get(unit, inf)

    def reach(
        self, time: float | None = None, step: float | None = None, episode: float | None = None, round: float | None = None
    ) -> list[FaultChange]:
        """The run has come so far (units that are not given stay; none goes back). What ended and began by it, in order."""
        reached, due = self.reached, self._due
        looks = False
        for unit, value in (("time", time), ("step", step), ("episode", episode), ("round", round)):
            if value is None:
                continue
            if unit in self.unknown:
                self.unknown.discard(unit)
                looks = True
            if value > getattr(reached, unit):
                setattr(reached, unit, value)
                looks = looks or value >= due.get(unit, inf)
        return self.settle() if looks else []

    def settle(self) -> list[FaultChange]:
        """Begin and end everything that is due at the present position of the run, and return these changes in order."""
        changes = self._ends_found()
        while True:
            ended = self._first_end()
            if ended is not None:
                changes.append(FaultChange("end", self._active.pop(ended)[0]))
                continue
            if not self.healed and any(self.reached.of(unit) >= value for unit, value in self._heal.items()):
                changes += self.heal()
                continue
            event = self._first_beginning()
            if event is None:
                break
            if event.id in self._ended and not event.lasting:
                continue
            changes.append(self._begun_now(event))
        self._look()
        return changes

    def begin(self, event: ScheduledEvent) -> list[FaultChange]:
        """Begin an event that is in no schedule; nothing where it lasts or has ended already."""
        if event.id in self._active or event.id in self._ended:
            return []
        return [self._begun_now(event), *self.settle()]

    def end(self, fault: str) -> list[FaultChange]:
        """End one event; one that has not begun never will. Not the network's own properties."""
        self._ended |= {fault}
        self._pending = [event for event in self._pending if event.id != fault or event.lasting]
        found = self._active.get(fault)
        if found is None or found[0].lasting:
            return []
        del self._active[fault]
        self._look()
        return [FaultChange("end", found[0])]

    def heal(self) -> list[FaultChange]:
        """End everything but the network's own properties; nothing begins any more."""
        self.healed = True
        self._pending = [event for event in self._pending if event.lasting]
        self._next = None
        over = [event for event, _ in self._active.values() if not event.lasting]
        for event in over:
            del self._active[event.id]
        self._look()
        return [FaultChange("end", event) for event in over]

    def _concerned(self, event: ScheduledEvent) -> bool:
        return self._kinds is None or event.kind in self._kinds

    def _begun_now(self, event: ScheduledEvent) -> FaultChange:
        until = self._end_of(event)
        self._active[event.id] = (event, until)
        return FaultChange("begin", event, until)

    def _first_end(self) -> str | None:
        return next((name for name, (_, until) in self._active.items() if until is not None and self.reached.past(until)), None)

    def _first_beginning(self) -> ScheduledEvent | None:
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

    def _end_of(self, event: ScheduledEvent) -> RunMoment | None:
        if event.length is None:
            return event.stop
        unit, lasts = event.length.unit, event.length.value
        # In the unit of the beginning the length counts from the place that was asked for, not from where it was noticed.
        if event.start.unit == unit:
            return RunMoment(unit, event.start.value + lasts)
        began = self._begun.get(event.id)
        if began is not None and began.of(unit) >= 0.0:
            return RunMoment(unit, began.of(unit) + lasts)
        return None if unit in self.unknown else RunMoment(unit, self.reached.of(unit) + lasts)

    def _ends_found(self) -> list[FaultChange]:
        """Where active events end of which that was not known before."""
        found = []
        for name, (event, until) in self._active.items():
            if until is None and event.length is not None and (until := self._end_of(event)) is not None:
                self._active[name] = (event, until)
                found.append(FaultChange("until", event, until))
        return found

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
