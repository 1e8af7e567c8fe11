"""The environment server under `clock: wall`: real time; agents may be late, dead or silent, and all waits have deadlines."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection
from pathlib import Path

from env_server.environments.environment_contracts import CancellableEvaluation
from env_server.serving.actions import AppliedActions
from env_server.serving.environment_server import LONGEST_WAIT, EnvironmentServer
from env_server.serving.server_state import ServerCounters
from protocols.runtime.clock import TrainingLimits, WallClock
from protocols.runtime.node_control import Entrance
from protocols.runtime.node_start import RUN_SERVER
from protocols.runtime.waits import PendingWait

logger = logging.getLogger(__name__)
ASSEMBLY = 10.0
"""seconds that the first step waits for agents that are alive"""
END_OF_TRAINING = 30.0
"""seconds that steps wait for the run server's end of training, once `until.steps` or `until.episodes` is reached"""


class RealTimeServer(EnvironmentServer):
    """A tick is played when all agents have acted or its deadline has passed. The run server decides which agents are present, and when
    training ends: agents receive the roster and the phase from it."""

    tick_by_tick = False

    def __init__(self, entrance: Entrance) -> None:
        self._counters = ServerCounters(entrance.start.node_directory)
        self._unkept = False
        """the disk has refused the counts of a tick, which was reported"""
        self._start_by = 0.0
        self._training_began: float | None = None
        self._evaluation_limit: float | None = None
        self._own_cancelled = self._cancelled = False
        self._limits = TrainingLimits(entrance.configuration["until"] | {"time": None}, length=1.0)
        self._reached_at: float | None = None
        """monotonic time at which `until.steps` or `until.episodes` was reached"""
        super().__init__(entrance, WallClock())

    def _begin(self) -> None:
        numbers = self._counters.read()
        if numbers is not None:
            self._resume_counts(numbers)
        self._part = self._start.incarnation - 1
        self._begin_part()
        self._ask_evaluation(self.evaluation.episodes)

    # --- when a tick is played --------------------------------------------------------------------------------------------------------

    def _ready(self, now: float) -> bool:
        return self.stepping.ready(now) and self._assembled(now) and self._within_limits()

    def _within_limits(self) -> bool:
        """Whether training may go on: with the budget used up no step is played until the run server ends training, so that agents learn
        from no more steps than `until` allows (but those of one tick). Where it does not answer, its successor will."""
        counters = self.episode_counters
        if self._finishing or self._limits.reached(0, counters.steps, counters.episodes) is None:
            return True
        now = time.monotonic()
        if self._reached_at is None or not self.control.answered:
            self._reached_at = now
        return now >= self._reached_at + END_OF_TRAINING

    def _assembled(self, now: float) -> bool:
        """The first step waits until all agents that are alive have joined, or for a few seconds."""
        if self.stepping.tick == 0 and now < self._start_by:
            return self._alive <= self.stepping.joining
        return True

    def _waits(self) -> list[PendingWait]:
        waits = super()._waits()
        if self._started and self.goal_assignment is not None:
            waits += self.goal_assignment.waits(time.monotonic())
        if self._reached_at is not None and not self._finishing:
            deadline = self._reached_at + END_OF_TRAINING
            waits.append(PendingWait("the end of training", (RUN_SERVER,), self._reached_at, deadline))
        return waits

    def _agents_to_join(self) -> Collection[str]:
        if self.stepping.tick == 0 and time.monotonic() < self._start_by:
            return self._alive - self.stepping.joining
        return super()._agents_to_join()

    def _tick_times(self) -> tuple[float | None, float | None]:
        return self.stepping.opened, self.stepping.due()

    @property
    def _alive(self) -> set[str]:
        return {name for name, entry in self.control.roster.items() if entry.role == "agent" and entry.state == "alive"}

    def _receive_timeout(self) -> float:
        until = self.stepping.due() - time.monotonic() if self.stepping.present else LONGEST_WAIT
        return min(LONGEST_WAIT, max(0.001, until))

    def _publish_tick(self, applied: AppliedActions, now: float) -> None:
        self._send_answers(applied)
        if self.goal_assignment is not None:
            self.goal_assignment.offer(now)

    # --- orders of the run server -------------------------------------------------------------------------------------------------------

    def _obey(self, command: str) -> None:
        first = command == "start" and not self._started  # a run server that takes over sends it again
        super()._obey(command)
        if first:
            self._start_by = time.monotonic() + ASSEMBLY
            self._training_began = time.monotonic()
        elif command == "finish":
            self._finish()
        elif command == "checkpoint":
            self._save()

    def _follow_roster(self) -> None:
        for name, entry in self.control.roster.items():
            gone = entry.state in ("dead", "left", "lost")
            if name in self._incarnations and gone and self._incarnations[name] <= entry.inc:
                if name in self.stepping.present | self.stepping.joining:
                    logger.log(logging.INFO if entry.state == "left" else logging.WARNING, "%s is %s", name, entry.state)
                    self._lose(name)
                self.transport.disconnect("env", name)

    # --- what is due ------------------------------------------------------------------------------------------------------------------

    def _keep_up(self, now: float) -> None:
        super()._keep_up(now)
        if self._started and self.goal_assignment is not None:
            self.goal_assignment.enforce_deadline(now)
        if now >= self._next_report:
            self._report()

    # --- evaluations are bounded in time ----------------------------------------------------------------------------------------------

    def _begin_evaluation(self) -> None:
        super()._begin_evaluation()
        if self._evaluation_began is None:
            self._own_cancelled = self._cancelled = False

    def _limit_evaluation(self, elapsed: float) -> float | None:
        settings, counters, environment = self.evaluation, self.episode_counters, self.environment
        if settings.time_share is None or not isinstance(environment, CancellableEvaluation):
            return None
        if elapsed == 0.0:
            trained = self.control.trained + (0.0 if self._training_began is None else time.monotonic() - self._training_began)
            self._evaluation_limit = max(settings.min_time, settings.time_share * trained)
        limit = self._evaluation_limit or 0.0
        if counters.assigns and elapsed >= limit / 2 and not (self._own_cancelled or self._cancelled):
            self._own_cancelled = True
            counters.shorten(*environment.cancel_evaluation(own_only=True))
        if elapsed >= limit and not self._cancelled:
            self._cancelled = True
            counters.shorten(*environment.cancel_evaluation())
        if elapsed >= 2 * limit and self._finishing:
            counters.conclude()
        return limit

    def _evaluated(self, evaluation: dict[str, float]) -> None:
        newest = self.episode_counters.newest
        played = {"eval.own.episodes": float(newest.own), "eval.aligned.episodes": float(newest.aligned)}
        super()._evaluated({name: number for name, number in played.items() if number} | evaluation)
        if newest.cancelled and self._finishing and not self.episode_counters.evaluating:
            done = newest.own + newest.aligned
            planned, limit = done + newest.cancelled, self._evaluation_limit or 0.0
            text = f"the last evaluation has {done} of {planned} episodes: it was cut short after {limit:.3g} s"
            cure = "a larger evaluation.min_time or evaluation.time_share allows more"
            self.control.event("info", "evaluation.cut", f"{text}; {cure}", episodes=done, planned=planned, seconds=f"{limit:.3f}")

    def _all_done(self) -> None:
        self._report()
        self.control.event("info", "finished", "the last evaluation is done")

    def _report(self) -> None:
        super()._report()
        self._save()

    def _leave(self) -> None:
        self._save()
        self._counters.close()
        super()._leave()

    # --- what outlives this process -----------------------------------------------------------------------------------------------------

    def _save(self) -> None:
        """Counters that a restarted server goes on from; arenas themselves start anew."""
        try:
            self._counters.write(self.episode_counters.numbers() | self.episode_counters.tick_counts())
        except OSError as error:
            logger.warning("the counters can't be written: %s", error.strerror)

    def _keep_counts(self) -> None:
        try:
            self._counters.note(self.episode_counters.tick_counts())
        except OSError as error:
            if not self._unkept:
                logger.warning("the counts of a tick can't be written: %s", error.strerror)
            self._unkept = True

    def _newest_file(self) -> Path | None:
        return self._counters.path if self._counters.path.exists() else None
