"""What the fault schedule makes of an agent's messages under the logical clock, from one checkpoint to the next."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from protocols.faults.link_effects.link_trace import read_past
from protocols.faults.link_effects.run_links import links_of, recorder_of
from protocols.faults.schedule.fault_schedule import LINK_KINDS
from protocols.runtime.node_start import NodeStart

PERIOD = 100
"""ticks of which the trace sums up what became of the messages"""


class IntervalLinks:
    """Draws begin anew with every checkpoint (its tick is their epoch), and so do queues and bursts of loss; what has begun and ended
    before is read from the agent's own trace. A damaged message is one that its receiver would refuse: here it is not sent."""

    def __init__(self, configuration: Mapping[str, Any], start: NodeStart, incarnation: int) -> None:
        self._configuration = configuration
        self._start = replace(start, incarnation=incarnation)
        self._recorder = recorder_of(configuration, self._start, wall=False)
        self.begin(start_tick=-1)

    def begin(self, start_tick: int) -> None:
        """Everybody goes on from the checkpoint of this tick; -1 is the beginning of the run."""
        self._recorder.close()
        self._recorder = recorder_of(self._configuration, self._start, wall=False)
        past = read_past(self._start.node_directory, LINK_KINDS)
        self._links = links_of(self._configuration, self._start.node, start_tick + 2, past)

    def reached(self, tick: int, time: float, steps: int, episodes: int) -> None:
        """A tick begins."""
        if self._links is not None:
            changes = self._links.progress(time=time, step=steps, episode=episodes)
            self._recorder.tick(tick // PERIOD)
            self._recorder.changed(changes, self._links.reached)

    def copies(self, dst: str, kind: str, seq: int, size: int, now: float) -> Collection[float]:
        """Delay in seconds of each copy that arrives; none for a lost message."""
        if self._links is None:
            return (0.0,)
        link_outcome = self._links.link_outcome(dst, "peer", kind, seq, size, now)
        self._recorder.decided("peer", dst, kind, seq, size, link_outcome)
        return () if link_outcome.corrupt else link_outcome.copies

    def close(self) -> None:
        """Write what has not been written yet."""
        self._recorder.close()
