"""When something happens under the logical clock: the environment server decides it from the ticks alone, and all nodes follow.

A checkpoint ends an interval of the run. All nodes keep what was learned and drop what is in progress (running episodes, negotiations,
messages), and the next interval begins from the checkpoint: in the same processes or in restarted ones. Both do the same, so a run that was
resumed equals one that was never interrupted.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.conversations.stepping.stepping_messages import Phase
from protocols.faults.fault_schedule import FaultSchedule, RunMoment, RunPosition
from protocols.faults.fault_timeline import FaultTimeline
from protocols.faults.node_faults.scheduled_faults import LETHAL, absence, schedule_of, scheduled_fault_of
from protocols.faults.settings import FaultsSettings
from protocols.runtime.clock import LogicalClock, TrainingLimits, in_ticks
from protocols.runtime.settings_types import parse_duration

KINDS = ("process", "membership")


@dataclass
class ScheduledMembership:
    """Presence and incarnations of all agents, as the fault schedule determines them. `restart`: virtual seconds until the return of an
    agent whose fault sets no duration.

    An agent that a fault ends is absent from the tick at which the run reaches the fault, and expected again from the tick at which its
    return is due, or at which all faults are healed: that tick waits for it. Every return is another incarnation.
    """

    agents: Sequence[str]
    schedule: FaultSchedule
    restart: float
    over: set[str] = field(default_factory=set)
    """ids of faults that have begun"""
    incarnations: dict[str, int] = field(default_factory=dict)
    """incarnation of each agent (1: the first)"""
    away: dict[str, RunMoment | None] = field(default_factory=dict)
    """absent agents to where in the run they return, unless all is healed earlier; None: never"""

    def __post_init__(self) -> None:
        self.incarnations = {agent: self.incarnations.get(agent, 1) for agent in self.agents}
        self._timeline = FaultTimeline(self.schedule, KINDS, ended=self.over)

    def reach(self, time: float, step: int, episode: int) -> set[str]:
        """Advance to this position of the run: agents return or become absent. Returns those that have just died."""
        reached = RunPosition(time, step, episode)
        changes = self._timeline.reach(time=time, step=step, episode=episode)
        for agent, back in list(self.away.items()):
            # An agent that is absent beyond the healing, or the end of the run, would be awaited forever: the last checkpoint needs it.
            if back is not None and (self._timeline.healed or reached.past(back)):
                del self.away[agent]
                self.incarnations[agent] += 1
        gone: set[str] = set()
        for change in changes:
            node_fault = scheduled_fault_of(change.event)
            if change.what != "begin" or node_fault is None or change.event.id in self.over:
                continue
            self.over.add(change.event.id)
            if node_fault.kind not in LETHAL:
                continue
            for agent in change.event.targets:
                if agent in self.incarnations and agent not in self.away:
                    self.away[agent] = reached.after(absence(node_fault.what, self.restart))
                    gone.add(agent)
        return gone

    @property
    def present(self) -> set[str]:
        """Names of the agents that take part at present."""
        return set(self.agents) - self.away.keys()

    @property
    def awaited(self) -> bool:
        """Whether an absent agent will return."""
        return any(back is not None for back in self.away.values())

    def state(self) -> dict[str, Any]:
        """For a checkpoint, at which no agent that will return is absent."""
        return {"over": sorted(self.over), "lives": self.incarnations, "away": sorted(self.away)}

    @classmethod
    def restored(cls, agents: Sequence[str], schedule: FaultSchedule, restart: float, state: Mapping[str, Any]) -> ScheduledMembership:
        """The membership that a checkpoint contains: inverse of `state`."""
        return cls(agents, schedule, restart, set(state["over"]), dict(state["lives"]), dict.fromkeys(state["away"]))


@dataclass(frozen=True)
class TickDecision:
    """Decisions about a tick: agents that die, and why training is over, if it is."""

    gone: frozenset[str]
    over: str | None


class RunSchedule:
    """Of a run: which agents take part, when training ends, and when all nodes make a checkpoint."""

    def __init__(self, configuration: Mapping[str, Any], agents: Sequence[str]) -> None:
        self.clock = LogicalClock(parse_duration(configuration["tick"]))
        self.training = True
        self.checkpoint_due = False
        """all nodes make a checkpoint at this tick"""
        self.at_rest = False
        """all is done: no further tick is played"""
        until, supervision = configuration["until"], configuration["supervision"]
        self.limits = TrainingLimits(until, self.clock.length)
        self._end: tuple[int, int, int] | None = None
        """tick, steps and episodes at which training ended"""
        self._period = in_ticks(parse_duration(supervision["checkpoint_interval"]), self.clock.length)
        self._next = self._period
        self._agents = tuple(agents)
        faults = configuration.get("faults")
        self._schedule = schedule_of(FaultsSettings.model_validate(faults), list(agents), until) if faults else FaultSchedule()
        self._restart = parse_duration(supervision["restart_delay"])
        self.membership = ScheduledMembership(self._agents, self._schedule, self._restart)

    @property
    def phase(self) -> Phase:
        """Phase of this tick, sent to all agents."""
        if self.checkpoint_due:
            return "checkpoint"
        return "training" if self.training else "evaluation"

    def incarnations(self, playing: Collection[str]) -> NDArray[np.uint16]:
        """Incarnation of each agent that takes part at this tick, 0 of the others: `[M]`, in the order of `Joined.members`. `playing` are
        those whose actions are awaited: a returning agent takes part from the tick after the one that waits for it."""
        present, incarnations = self.membership.present & set(playing), self.membership.incarnations
        return np.array([incarnations[agent] if agent in present else 0 for agent in self._agents], np.uint16)

    def begin(self, tick: int) -> None:
        """A part of the run begins at a tick."""
        self.clock.tick = tick
        self._next = tick + self._period
        self.checkpoint_due = False

    def decide(self, tick: int, steps: int, episodes: int, playing: Collection[str], busy: bool, finished: bool) -> TickDecision:
        """Decide about this tick. A checkpoint needs all agents: none is made while an agent is absent that returns, or has returned and is
        not `playing` yet, nor while the server is `busy` with what no checkpoint keeps; one is when all is `finished`."""
        self.clock.tick = tick
        gone = self.membership.reach(self.clock.now(), steps, episodes)
        over = self.limits.reached(tick, steps, episodes) if self.training else None
        if over is not None:
            self.training, self._end, busy = False, (tick, steps, episodes), True
        complete = not self.membership.awaited and self.membership.present <= set(playing)
        self.checkpoint_due = complete and (finished or (tick >= self._next and not busy))
        return TickDecision(frozenset(gone), over)

    def state(self) -> dict[str, Any]:
        """The state for a checkpoint, as JSON values."""
        return {"training": self.training, "at_rest": self.at_rest, "end": self._end, "presence": self.membership.state()}

    def restore(self, state: Mapping[str, Any], tick: int, over: bool) -> None:
        """Go on from a checkpoint of that tick. `over`: training had ended then, and the limits of now leave nothing to do; where they do,
        it goes on."""
        self.training, self.at_rest = not over, over and bool(state["at_rest"])
        self._end = state.get("end") if over else None
        self.membership = ScheduledMembership.restored(self._agents, self._schedule, self._restart, state["presence"])
        self.begin(tick)
