"""Broken promises, and which promises hold under a schedule."""

from __future__ import annotations

from dataclasses import dataclass

from protocols.faults.fault_schedule import FaultSchedule, ScheduledEvent
from protocols.simulation.simulated_faults import DELAY

MILD_LOSS = 0.1
"""share of lost messages under which nearly all episodes are negotiated"""
MILD_DELAY = 0.15
"""seconds of delay of the slowest messages under which they are"""


class BrokenPromise(Exception):
    """A protocol has broken a promise. `promise`: its name, the same for all ways to break it."""

    def __init__(self, promise: str, text: str, time: float) -> None:
        super().__init__(f"{promise}: {text} (at {time:.3f} s)")
        self.promise = promise
        self.time = time

    def __reduce__(self) -> tuple[object, ...]:
        """As it is: a process of a search hands it to another one."""
        return _restored, (self.promise, str(self), self.time)


def _restored(promise: str, text: str, time: float) -> BrokenPromise:
    broken = BrokenPromise(promise, "", time)
    broken.args = (text,)
    return broken


@dataclass(frozen=True)
class Severity:
    """What a schedule does at worst."""

    deaths: bool
    """whether nodes die or leave"""
    loss: float
    """greatest share of messages of one link that are lost"""
    delay: float
    """greatest delay in seconds that is common"""
    end: float
    """seconds after which nothing begins or ends any more"""

    @property
    def calm(self) -> bool:
        """Whether every message arrives, soon, and no node dies."""
        return not self.deaths and self.loss == 0.0 and self.delay <= MILD_DELAY

    @property
    def mild(self) -> bool:
        """Whether nearly all messages arrive, soon, and no node dies."""
        return not self.deaths and self.loss <= MILD_LOSS and self.delay <= MILD_DELAY


def severity(schedule: FaultSchedule) -> Severity:
    """What the listed events do; losses and delays of all rules together, as if they were active at once. Events end by themselves."""
    arrives, delay, end, deaths = 1.0, DELAY, 0.0, False
    for event in schedule.events:
        end = max(end, _end(event))
        deaths |= event.node_fault is not None
        if event.cut is not None:
            arrives = 0.0
        if (link := event.link) is not None:
            if link.loss is not None:
                arrives *= 1.0 - max(link.loss.p or 0.0, link.loss.loss_bad if link.loss.model != "bernoulli" else 0.0)
            arrives *= 1.0 - (link.corrupt.p if link.corrupt is not None else 0.0)
            if link.delay is not None:
                delay += link.delay.max if link.delay.max is not None else 3.0 * (link.delay.mean or 0.0)
            delay += link.reorder.hold if link.reorder is not None else 0.0
            delay += 1.0 if link.bandwidth is not None else 0.0
    return Severity(deaths, 1.0 - arrives, delay, end)


def _end(event: ScheduledEvent) -> float:
    if event.lasting:
        return 0.0
    if event.stop is not None:
        return event.stop.value
    away = getattr(event.node_fault, "restart_after", None)
    if (back := getattr(event.node_fault, "return_after", None)) is not None:
        away = back.time
    lasts = event.length.value if event.length is not None else 0.0
    return event.start.value + lasts + (away or 0.0)
