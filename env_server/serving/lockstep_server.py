"""The environment server under `clock: logical`: every decision depends on ticks alone (`env_server.serving.run_schedule`), and no agent is
late.

At tick T the goals sent before T are entered and all copies are stepped. Then the events of T + 1 are determined, each present agent gets
its offers and the observation of T + 1, and dead agents are removed. At a checkpoint all nodes resume from the written state.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from env_server.serving.actions import AppliedActions
from env_server.serving.environment_server import EnvironmentServer
from env_server.serving.run_schedule import RunSchedule
from env_server.serving.server_state import IntervalCheckpoints
from protocols.conversations.stepping.stepping_messages import Phase
from protocols.runtime.atomic_files import kept_sizes
from protocols.runtime.node_control import Entrance
from protocols.runtime.node_start import RUN_SERVER
from protocols.runtime.waits import PendingWait


class LockstepServer(EnvironmentServer):
    """A tick is played when all agents that take part by the fault schedule have acted, without a deadline."""

    tick_by_tick = True

    def __init__(self, entrance: Entrance) -> None:
        configuration = entrance.configuration
        self.run_schedule = RunSchedule(configuration, [f"agent-{i}" for i in range(configuration["agents"]["count"])])
        self._checkpoints = IntervalCheckpoints(
            entrance.start.node_directory / "checkpoints", int(configuration["supervision"]["keep_checkpoints"])
        )
        self._early: dict[str, int] = {}
        """agents that wait to join, until the tick at which the schedule has them back, and their incarnations"""
        self._published_phase = False
        super().__init__(entrance, self.run_schedule.clock)

    def _begin(self) -> None:
        self._go_back(self.control.checkpoint)
        self._begin_part()
        if not self._part:
            self._ask_evaluation(self.evaluation.episodes)

    # --- when a tick is played --------------------------------------------------------------------------------------------------------

    def _ready(self, now: float) -> bool:
        for agent in sorted(self._early.keys() & self.run_schedule.membership.present):
            self._join(agent, self._early.pop(agent))
        joined = self.stepping.present | self.stepping.joining
        return not self.run_schedule.at_rest and self.run_schedule.membership.present <= joined and not self.stepping.awaited

    def _waits(self) -> list[PendingWait]:
        if self.run_schedule.at_rest and self._published_phase:
            return [PendingWait("the end of the run", (RUN_SERVER,))]
        return super()._waits()

    def _agents_to_join(self) -> Collection[str]:
        return self.run_schedule.membership.present - (self.stepping.present | self.stepping.joining)

    def _admit(self, agent: str, incarnation: int) -> None:
        if agent in self.run_schedule.membership.present:
            super()._admit(agent, incarnation)
        else:
            self._early[agent] = incarnation  # it is back before the tick of its return

    def _follow_roster(self) -> None:
        """Who takes part is decided by ticks, not by who happens to be alive now."""

    # --- a tick -----------------------------------------------------------------------------------------------------------------------

    def _step(self, now: float) -> None:
        if self.goal_assignment is not None:
            self.goal_assignment.enter(self.stepping.tick)
        super()._step(now)

    def _reached(self) -> None:
        """Not yet: faults go by time too, and that of the next tick begins when it is decided what that brings."""

    def _keep_counts(self) -> None:
        """Checkpoints have them: all nodes go on from the same tick."""

    def _publish_tick(self, applied: AppliedActions, now: float) -> None:
        gone = self._decide()
        # Offers first: an agent that has the observation of a tick has them too.
        if self.goal_assignment is not None:
            self.goal_assignment.offer(self.clock.now())
            self.goal_assignment.enforce_deadline(self.clock.now())
        self._send_answers(applied)
        for agent in sorted(gone):
            self._lose(agent)
        if self.run_schedule.checkpoint_due:
            self._checkpoint()

    def _decide(self) -> frozenset[str]:
        """What the new tick brings; who dies at it."""
        episode_counters, finished = self.episode_counters, self.control.progress.phase == "finished"
        decision = self.run_schedule.decide(
            self.stepping.tick,
            episode_counters.steps,
            episode_counters.episodes,
            self.stepping.present,
            episode_counters.evaluating,
            finished,
        )
        self.faults.advance(time=self.clock.now(), step=episode_counters.steps, episode=episode_counters.episodes)
        if decision.over is not None:
            self._finish()
            self.control.event("info", "training.over", decision.over)
        if not self.run_schedule.checkpoint_due and self.clock.now() >= self._next_report:
            self._report()
        return decision.gone

    def _phase(self) -> Phase:
        return self.run_schedule.phase

    def _present_incarnations(self) -> Mapping[str, NDArray[Any]]:
        return {"lives": self.run_schedule.incarnations(self.stepping.present)}

    # --- the end ----------------------------------------------------------------------------------------------------------------------

    def _all_done(self) -> None:
        """A checkpoint follows, after which the run is at rest."""

    def _keep_up(self, now: float) -> None:
        super()._keep_up(now)
        if self.run_schedule.at_rest and not self._published_phase and self.run_schedule.membership.present <= self.stepping.joining:
            # All agents have made the last checkpoint, otherwise they would not have joined again.
            self._published_phase = True
            self.control.event("info", "finished", "the last evaluation is done")

    # --- checkpoints ------------------------------------------------------------------------------------------------------------------

    def _checkpoint(self) -> None:
        """All agents were sent that this tick ends an interval of the run: write its checkpoint, and begin the next interval."""
        self._report()
        self._part += 1
        self.run_schedule.at_rest = self.control.progress.phase == "finished"
        state = {"part": self._part, "present": sorted(self.stepping.present), "files": kept_sizes(self._start.node_directory)}
        self._checkpoints.write(
            self.stepping.tick, {**state, "course": self.run_schedule.state(), "numbers": self.episode_counters.numbers()}
        )
        for agent in self.agents:
            self.stepping.leave(agent)
        self.run_schedule.begin(self.stepping.tick)
        self._begin_part()

    def _go_back(self, tick: int) -> None:
        """To the checkpoint from which all nodes go on; -1 is the beginning of the run."""
        if tick < 0:
            return
        state = self._checkpoints.read(tick)
        self._part = int(state["part"])
        self._resume_counts(state["numbers"])
        over = self.run_schedule.limits.still_over(state, tick)
        self.run_schedule.restore(state["course"], tick, over is not None)
        self._finishing = over is not None
        self.stepping.tick = tick
        if over is not None:
            self.control.event("info", "training.over", over)  # a restarted run server has not received it
        elif not state["course"]["training"]:
            text = "training resumes after the last evaluation: no earlier checkpoint was kept (supervision.keep_checkpoints)"
            self.control.event("warning", "training.reopened", text)

    def _newest_file(self) -> Path | None:
        return self._checkpoints.newest()
