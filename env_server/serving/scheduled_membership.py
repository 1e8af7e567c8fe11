"""Who takes part under the logical clock: what the fault schedule says, not who happens to be connected.

An agent that a fault ends is away from the tick at which the run reaches the fault, and expected again from the tick at which its return is
due, or from that at which everything is healed: whoever plays that tick waits for it. Every return is another life of the agent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from protocols.faults.node_faults.node_fault import LETHAL, ScheduledFault
from protocols.faults.schedule.fault_schedule import FaultSchedule
from protocols.faults.schedule.fault_timeline import FaultTimeline
from protocols.faults.schedule.run_moments import RunMoment, RunPosition, moment
from protocols.faults.settings import MembershipFault, ProcessFault

KINDS = ("process", "membership")


@dataclass
class ScheduledMembership:
    """Lives of all agents. `restart`: virtual seconds until the return of an agent whose fault does not say when."""

    agents: Sequence[str]
    schedule: FaultSchedule
    restart: float
    over: set[str] = field(default_factory=set)
    """ids of faults that have begun"""
    incarnations: dict[str, int] = field(default_factory=dict)
    """life in which each agent is (1: the first)"""
    away: dict[str, RunMoment | None] = field(default_factory=dict)
    """absent agents to where in the run they return, unless all is healed earlier; None: never"""

    def __post_init__(self) -> None:
        self.incarnations = {agent: self.incarnations.get(agent, 1) for agent in self.agents}
        self._timeline = FaultTimeline(self.schedule, KINDS, ended=self.over)

    def reach(self, time: float, step: int, episode: int) -> set[str]:
        """The run has come so far: who returns does, who dies is away. Returns those who have just died."""
        reached = RunPosition(time, step, episode)
        changes = self._timeline.reach(time=time, step=step, episode=episode)
        for agent, back in list(self.away.items()):
            # Who is away beyond the healing, or the end of the run, would be awaited for ever: there is no last checkpoint without it.
            if back is not None and (self._timeline.healed or reached.past(back)):
                del self.away[agent]
                self.incarnations[agent] += 1
        gone: set[str] = set()
        for change in changes:
            if change.what != "begin" or change.event.node_fault is None or change.event.id in self.over:
                continue
            self.over.add(change.event.id)
            node_fault = ScheduledFault(change.event.id, change.event.node_fault, change.event.start)
            if node_fault.kind not in LETHAL:
                continue
            for agent in change.event.targets:
                if agent in self.incarnations and agent not in self.away:
                    self.away[agent] = self._back(node_fault.what, reached)
                    gone.add(agent)
        return gone

    @property
    def present(self) -> set[str]:
        """Who takes part now."""
        return set(self.agents) - self.away.keys()

    @property
    def awaited(self) -> bool:
        """Whether somebody is away who will return."""
        return any(back is not None for back in self.away.values())

    def state(self) -> dict[str, Any]:
        """For a checkpoint, at which nobody who will return is away."""
        return {"over": sorted(self.over), "lives": self.incarnations, "away": sorted(self.away)}

    @classmethod
    def restored(cls, agents: Sequence[str], schedule: FaultSchedule, restart: float, state: Mapping[str, Any]) -> ScheduledMembership:
        """From `state`."""
        return cls(agents, schedule, restart, set(state["over"]), dict(state["lives"]), dict.fromkeys(state["away"]))

    def _back(self, what: object, reached: RunPosition) -> RunMoment | None:
        if isinstance(what, MembershipFault):
            if what.return_after is None:
                return None
            away = moment(what.return_after)
            return RunMoment(away.unit, reached.of(away.unit) + away.value)
        if isinstance(what, ProcessFault):
            if not what.returns:
                return None
            return RunMoment("time", reached.time + (self.restart if what.restart_after is None else what.restart_after))
        return None
