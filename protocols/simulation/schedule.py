"""The faults of a configuration in a simulation: its links' fates in virtual time, and the deaths and returns of its schedule."""

from __future__ import annotations

from collections.abc import Callable, Collection

from protocols.faults.links import Fate, Links
from protocols.faults.schedule import LINK_KINDS, Event, Schedule
from protocols.faults.settings import Membership, Process
from protocols.faults.timeline import Change, Timeline
from protocols.messages import Channel

DELAY = 0.01
"""seconds on the way where the configuration says nothing of delays"""
LEAST = 0.001
"""seconds that every message takes, whatever the configuration says: else time would stand still"""
DEADLY = ("kill", "term", "exit", "oom")
"""what ends a process"""
CARRIED_OUT = ("link", "partition", "process", "membership")
"""kinds of events that a simulation knows"""


class ScheduledLinks:
    """The links of one life of a node, as rules and schedule say. `round()` and `episode()` tell how far its agent and the run are."""

    def __init__(self, links: Links, round: Callable[[], int], episode: Callable[[], int], began: set[str]) -> None:
        """`began` gets the ids of what begins."""
        self._links = links
        self._round, self._episode = round, episode
        self._began = began

    def fate(self, dst: str, channel: Channel, kind: str, seq: int, size: int, now: float) -> Fate:
        """Fate of a message, under what holds at this moment."""
        if changes := self._links.progress(time=now, episode=self._episode(), round=self._round()):
            self._began.update(change.event.id for change in changes if change.what == "begin")
        fate = self._links.fate(dst, channel, kind, seq, size, now)
        if fate.copies and min(fate.copies) < LEAST:
            return fate._replace(copies=tuple(max(delay, LEAST) if delay else DELAY for delay in fate.copies))
        return fate


class Deaths:
    """Carries out who dies or leaves, and when. `die(name, back)`: the process ends, and begins again after `back` seconds, or never
    (None)."""

    def __init__(self, schedule: Schedule, die: Callable[[str, float | None], None], restart: float, began: set[str]) -> None:
        """`began` gets the ids of what begins."""
        self._began = began
        self._timeline = Timeline(schedule, ("process", "membership"))
        self._die = die
        self._restart = restart
        self._carry_out(self._timeline.settle())

    @property
    def next(self) -> float:
        """Time at which something may be due."""
        return self._timeline.next("time")

    def reach(self, time: float, episode: int, round: float) -> None:
        """The run has come so far."""
        self._carry_out(self._timeline.reach(time=time, episode=episode, round=round))

    def _carry_out(self, changes: Collection[Change]) -> None:
        for change in changes:
            deed = change.event.deed
            if change.what != "begin":
                continue
            self._began.add(change.event.id)
            if deed is None:
                continue
            for name in change.event.targets:
                if isinstance(deed, Process) and deed.action in DEADLY:
                    self._die(name, deed.restart_after if deed.restart_after is not None else self._restart)
                elif isinstance(deed, Membership):
                    back = deed.return_after
                    self._die(name, back.time if back is not None else None)


def left_out(events: Collection[Event], began: Collection[str]) -> list[str]:
    """Notes on the events that did not happen as the schedule says, by reason; `began` are the ids of those that began."""
    strange = [event for event in events if not _known(event)]
    known = [event for event in events if _known(event)]
    waiting = [event for event in known if event.id not in began]
    reasons = {
        "not simulated, since a simulation has no processes and nothing is learnt": strange,
        "not begun, since a simulation makes no steps": [event for event in waiting if event.start.unit == "step"],
        "not begun, since the simulation was over before": [event for event in waiting if event.start.unit != "step"],
        "not ended, since a simulation makes no steps": [event for event in known if event.id in began and _ends_by_step(event)],
    }
    return [f"{reason}: {', '.join(event.id for event in found)}" for reason, found in reasons.items() if found]


def _known(event: Event) -> bool:
    """Whether a simulation carries out events of this kind."""
    return event.kind in CARRIED_OUT and (not isinstance(event.deed, Process) or event.deed.action in DEADLY)


def _ends_by_step(event: Event) -> bool:
    until = event.length or event.stop
    return event.kind in LINK_KINDS and until is not None and until.unit == "step"
