"""Links that repeat a recorded run: effects begin and end at the same messages of each link, independent of the clock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from protocols.faults.link_effects.faulty_links import FaultyLinks, LinkOutcome
from protocols.faults.schedule.fault_schedule import LINK_KINDS, FaultSchedule, ScheduledEvent
from protocols.faults.schedule.fault_timeline import FaultChange
from protocols.faults.settings import FaultEvent


class ReplayedLinks(FaultyLinks):
    """As `FaultyLinks`; `changes` are the lines of `trace.recorded_changes`. What was begun by hand there brings its event with it; other
    events
    that the schedule does not know are left out. What the network itself is like (`network.links`) is in no trace, and holds as it did."""

    def __init__(self, schedule: FaultSchedule, seed: int, own: str, changes: Sequence[dict[str, Any]], epoch: int = 1) -> None:
        latest = max((float(line.get("time", 0.0)) for line in changes), default=0.0)
        events = {event.id: event for event in (*schedule.events, *schedule.random_events(latest + 1.0)) if event.kind in LINK_KINDS}
        for line in changes:
            if "event" in line and line["id"] not in events:
                events[line["id"]] = schedule.compiled(FaultEvent.model_validate(line["event"]))
        self._changes = [(line, events[line["id"]]) for line in changes if line["id"] in events]
        self._scripts: dict[tuple[str, str], list[tuple[int, str, ScheduledEvent]]] = {}
        self._positions: dict[tuple[str, str], int] = {}
        self._held: dict[tuple[str, str], dict[str, ScheduledEvent]] = {}
        super().__init__(FaultSchedule(tuple(event for event in schedule.events if event.lasting)), seed, own, epoch)

    def progress(
        self, time: float | None = None, step: float | None = None, episode: float | None = None, round: float | None = None
    ) -> list[FaultChange]:
        """Keeps how far the run is; nothing is switched by it but what the network itself is like."""
        return super().progress(time, step, episode, round)

    def link_outcome(self, dst: str, channel: str, kind: str, seq: int, size: int, now: float) -> LinkOutcome:
        """As `FaultyLinks.link_outcome`, after what took effect between the message before and this one."""
        link = (dst, channel)
        script = self._scripts.get(link)
        if script is None:
            script = self._scripts[link] = self._script(dst, channel)
            self._positions[link], self._held[link] = 0, {}
        position = self._positions[link]
        if position < len(script) and script[position][0] < seq:
            holding = self._held[link]
            while position < len(script) and script[position][0] < seq:
                _, what, event = script[position]
                if what == "on":
                    holding[event.id] = event
                else:
                    holding.pop(event.id, None)
                position += 1
            self._positions[link] = position
            for match in [match for match in self._matches if match[:2] == link]:
                del self._matches[match]
        return super().link_outcome(dst, channel, kind, seq, size, now)

    def _script(self, dst: str, channel: str) -> list[tuple[int, str, ScheduledEvent]]:
        """(number of the last message before it, on or off, event) of one link, in the order of the recording."""
        name = f"{channel} {dst}"
        return [(int(line.get("seqs", {}).get(name, 0)), str(line["what"]), event) for line, event in self._changes]

    def _holding(self, dst: str, channel: str) -> Sequence[ScheduledEvent]:
        return [*self._active, *self._held.get((dst, channel), {}).values()]
