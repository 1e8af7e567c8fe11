"""Who takes part under the logical clock: what the fault schedule says, not who happens to be connected.

An agent that a fault ends is away from the tick at which the run reaches the fault, and expected again from the tick at which its return is
due, or from that at which everything is healed: whoever plays that tick waits for it. Every return is another life of the agent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from protocols.faults.deed import LETHAL, Deed
from protocols.faults.moments import Moment, Reached, moment
from protocols.faults.schedule import Schedule
from protocols.faults.settings import Membership, Process
from protocols.faults.timeline import Timeline

KINDS = ("process", "membership")


@dataclass
class Presence:
    """Lives of all agents. `restart`: virtual seconds until the return of an agent whose fault does not say when."""

    agents: Sequence[str]
    schedule: Schedule
    restart: float
    over: set[str] = field(default_factory=set)
    """ids of faults that have begun"""
    lives: dict[str, int] = field(default_factory=dict)
    """life in which each agent is (1: the first)"""
    away: dict[str, Moment | None] = field(default_factory=dict)
    """absent agents to where in the run they return, unless all is healed earlier; None: never"""

    def __post_init__(self) -> None:
        self.lives = {agent: self.lives.get(agent, 1) for agent in self.agents}
        self._timeline = Timeline(self.schedule, KINDS, ended=self.over)

    def reach(self, time: float, step: int, episode: int) -> set[str]:
        """The run has come so far: who returns does, who dies is away. Returns those who have just died."""
        reached = Reached(time, step, episode)
        changes = self._timeline.reach(time=time, step=step, episode=episode)
        for agent, back in list(self.away.items()):
            # Who is away beyond the healing, or the end of the run, would be awaited for ever: there is no last checkpoint without it.
            if back is not None and (self._timeline.healed or reached.past(back)):
                del self.away[agent]
                self.lives[agent] += 1
        gone: set[str] = set()
        for change in changes:
            if change.what != "begin" or change.event.deed is None or change.event.id in self.over:
                continue
            self.over.add(change.event.id)
            deed = Deed(change.event.id, change.event.deed, change.event.start)
            if deed.kind not in LETHAL:
                continue
            for agent in change.event.targets:
                if agent in self.lives and agent not in self.away:
                    self.away[agent] = self._back(deed.what, reached)
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
        return {"over": sorted(self.over), "lives": self.lives, "away": sorted(self.away)}

    @classmethod
    def restored(cls, agents: Sequence[str], schedule: Schedule, restart: float, state: Mapping[str, Any]) -> Presence:
        """From `state`."""
        return cls(agents, schedule, restart, set(state["over"]), dict(state["lives"]), dict.fromkeys(state["away"]))

    def _back(self, what: object, reached: Reached) -> Moment | None:
        if isinstance(what, Membership):
            if what.return_after is None:
                return None
            away = moment(what.return_after)
            return Moment(away.unit, reached.of(away.unit) + away.value)
        if isinstance(what, Process):
            if not what.returns:
                return None
            return Moment("time", reached.time + (self.restart if what.restart_after is None else what.restart_after))
        return None
