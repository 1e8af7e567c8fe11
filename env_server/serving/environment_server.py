"""The environment server: steps all copies when all agents have acted, offers episodes, receives goals, and reports metrics.

This module holds what both clocks share. `env_server.serving.real_time_server.RealTimeServer` uses real time (deadlines, substituted
actions of late agents, membership from the roster); `env_server.serving.lockstep_server.LockstepServer` uses ticks alone (`clock:
logical`: no agent is late, membership follows the fault schedule, and all nodes write checkpoints at the same tick).
"""

from __future__ import annotations

import logging
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from env_server.environments import registry
from env_server.environments.environment_contracts import GoalEnvironment, RestartableEnvironment, VectorEnvironment
from env_server.environments.evaluation_only import EvaluationOnly
from env_server.goals.goal_assignment import GoalAssignment, GoalOffers
from env_server.metrics.episode_statistics import EpisodeCounters
from env_server.metrics.played_goals import PlayedGoals
from env_server.serving.actions import AppliedActions, LateActions, checked_action, checked_restart
from env_server.serving.finite_values import FiniteValues
from env_server.serving.step_failures import FirstStep
from env_server.serving.step_watchdog import StepWatchdog
from env_server.settings import EnvironmentSettings, EvaluationSettings
from protocols.conversations.membership.membership_messages import Refuse
from protocols.conversations.stepping.stepping import ClosedTick, StepServer
from protocols.conversations.stepping.stepping_messages import Act, Flag, Goals, Join, Joined, Observation, Offer, Phase
from protocols.faults.link_effects.run_links import carry_out
from protocols.faults.node_faults.fault_executor import FaultExecutor, Hooks
from protocols.faults.node_faults.fault_log import FaultLog
from protocols.faults.node_faults.process_faults import SkewedClock
from protocols.faults.node_faults.scheduled_faults import node_faults
from protocols.runtime.clock import Clock
from protocols.runtime.errors import BadMessage, EnvironmentFailure, ExitCode
from protocols.runtime.node_control import Entrance
from protocols.runtime.node_start import RUN_SERVER
from protocols.runtime.seeds import Stream, generator, integer
from protocols.runtime.settings_types import parse_duration
from protocols.runtime.telemetry import Telemetry, TimeShares
from protocols.runtime.waits import PendingWait
from protocols.spaces.layout import encode_layouts
from protocols.topology import edges, topology_settings
from protocols.transport import ReceivedMessage

logger = logging.getLogger(__name__)
LONGEST_WAIT = 0.1
"""seconds after which the server looks around, even if nothing has come"""
LONGEST_REASON = 1000
"""characters of the reason that a failure reports to the run server"""
EPISODES = 2**40
"""episode numbers that belong to one part of a run: to one incarnation of the server or, under the logical clock, to the time between two
checkpoints"""


class EnvironmentServer(ABC):
    """The environment of a process and its conversation with all agents; `run` returns when the run server stops it."""

    tick_by_tick: ClassVar[bool]
    """whether goals are entered by the tick at which they were sent"""

    def __init__(self, entrance: Entrance, clock: Clock) -> None:
        start, configuration = entrance.start, entrance.configuration
        self.transport, self.control, self.shim, self.clock = entrance.transport, entrance.control, entrance.shim, clock
        self.settings = EnvironmentSettings.model_validate(configuration["environment"])
        self.evaluation = EvaluationSettings.model_validate(configuration["evaluation"])
        self.agents = [f"agent-{i}" for i in range(configuration["agents"]["count"])]
        pairs = edges(topology_settings(configuration["network"]["topology"]), self.agents, start.seed)
        dataset = configuration.get("dataset")
        environment = registry.create(self.settings, self.agents, pairs, start.seed)
        self.environment: VectorEnvironment = environment if dataset is None else EvaluationOnly(environment)
        goals = self.environment if isinstance(self.environment, GoalEnvironment) else None
        space, every = goals.goal_space if goals else None, self.evaluation.every
        self.episode_counters = EpisodeCounters(space, every) if isinstance(every, int) else EpisodeCounters(space, every.steps, True)
        self.played_goals = PlayedGoals(space, len(self.agents))
        self._updates_per_tick = 0 if dataset is None else int(dataset["updates_per_tick"])
        self._joint_dataset = dataset is not None and configuration["exchange"]["joint_experience"] is not None
        self._exchanging = self._joint_dataset
        """until all agents have the joint episodes of the dataset: updates are not counted, and no agent makes any"""
        self._first_step = FirstStep(self.settings.id)
        self._waiting: set[str] = set()
        """agents that have not, by their actions of the open tick"""
        self._party = goals.episode_members if goals else 0
        self.stepping = StepServer(self.agents, self.settings.deadline)
        self.telemetry = Telemetry(start.node_directory, self.transport, self.control.report, self.clock)
        self.layouts = {agent: self.environment.layout(agent) for agent in self.agents}
        self._entrance = entrance
        self._start = start
        self._time = TimeShares()
        self.control.waits.activity = self._time.current
        self._period = parse_duration(configuration["metrics"]["every"])
        self._next_report = 0.0
        self._incarnations: dict[str, int] = {}
        self._warned: set[str] = set()
        """agents whose illegal actions were reported"""
        self._restarts: dict[str, NDArray[np.bool_]] = {}
        """copies whose episodes agents end with their actions of the open tick"""
        self._part = 0
        """parts of the run that are over"""
        self._started = False
        self._finishing = False
        self._evaluation_began: float | None = None
        """monotonic time from which the evaluation that is being played counts"""
        self._stopped = False
        self._watchdog = StepWatchdog(self.settings.step_timeout, self._step_expired)
        faults = node_faults(configuration, start.node)
        # Under the logical clock a resumed process repeats the incarnation before it: the log contains the faults that had begun.
        incarnation = 1 if entrance.logical else start.incarnation
        log = FaultLog(start.node_directory, start.node, incarnation, clock.stamp)
        hooks = Hooks(leave=lambda _: setattr(self, "_stopped", True), checkpoint_files=self._newest_file)
        self.faults = FaultExecutor(log, faults.scheduled_faults, self._time.pace, SkewedClock(), hooks, incarnation, faults.heal)
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "_stopped", True))

    # --- what depends on the clock ----------------------------------------------------------------------------------------------------

    @abstractmethod
    def _begin(self) -> None:
        """Continue from the state of an earlier process, and begin an interval of the run."""

    @abstractmethod
    def _ready(self, now: float) -> bool:
        """Whether the open tick can be played."""

    def _receive_timeout(self) -> float:
        """Seconds that may be waited for messages."""
        return LONGEST_WAIT

    @abstractmethod
    def _publish_tick(self, applied: AppliedActions, now: float) -> None:
        """A tick was played: decide about the next one, and send offers and observations."""

    def _phase(self) -> Phase:
        """Phase of the run in the open tick, sent to all agents."""
        return "training"

    def _present_incarnations(self) -> Mapping[str, NDArray[Any]]:
        """Frames of an observation with the agents that take part, where agents do not follow the roster."""
        return {}

    @abstractmethod
    def _keep_counts(self) -> None:
        """A tick was played, and no message reports it yet: keep the counts for the next process."""

    @abstractmethod
    def _follow_roster(self) -> None:
        """The roster has changed."""

    @abstractmethod
    def _all_done(self) -> None:
        """The last evaluation is complete."""

    @abstractmethod
    def _newest_file(self) -> Path | None:
        """The newest file from which the next process would continue, if any."""

    # --- main loop ------------------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Serve agents until the run server sends stop. `EnvironmentFailure` ends it, and is reported to the run server."""
        try:
            self._serve()
        except EnvironmentFailure as failure:
            self.control.leave(failure.exit_code, str(failure)[:LONGEST_REASON])
            self.telemetry.close()
            self.transport.close()
            raise
        finally:
            self._watchdog.close()

    def _serve(self) -> None:
        self._begin()  # restore the counts of an earlier process before the server is reported up
        self.control.progress.phase = "waiting"
        while not self._stopped:
            with self._time.spent("wait"):
                received = self.transport.receive(self._receive_timeout(), max(1, self.stepping.awaited))
            self.control.waits.turn(self._waits)
            for item in received:
                self._handle(item)
            now = time.monotonic()
            if self._started and self._ready(now):
                self._step(now)
            self._keep_up(now)
        self._leave()

    def _waits(self) -> list[PendingWait]:
        """What the server waits for now."""
        if not self._started:
            return [PendingWait("the start of the run", (RUN_SERVER,))]
        stepping, waits = self.stepping, []
        if awaited := self._agents_to_join():
            waits.append(PendingWait("the request to join", tuple(sorted(awaited))))
        if missing := stepping.missing:
            what = " (evaluation)" if self.control.progress.evaluating else ""
            waits.append(PendingWait(f"the actions of tick {stepping.tick}{what}", tuple(sorted(missing)), *self._tick_times()))
        return waits

    def _agents_to_join(self) -> Collection[str]:
        """Agents without which no tick is played."""
        return () if self.stepping.present | self.stepping.joining else self.agents

    def _tick_times(self) -> tuple[float | None, float | None]:
        """When the open tick was opened, and until when it waits for actions."""
        return None, None

    def _begin_part(self) -> None:
        """Start all copies and conversations anew: at the start, after a restart and, under the logical clock, after every checkpoint.

        Agents identify episodes by number: numbers of an earlier interval must not be used again."""
        start, part = self._start, self._part
        self._exchanging = self._joint_dataset
        seed = integer(start.seed, start.node, Stream.ENVIRONMENT)
        with self._first_step.playing(self.episode_counters.steps):
            self._last = self.environment.reset(seed, part * EPISODES)
        self._finite_values = FiniteValues(self.layouts, self.settings.copies)
        self._finite_values.check(self._last)
        self.late_action = LateActions(self.settings, self.layouts, generator(start.seed, start.node, Stream.STAND_IN, part))
        self.goal_assignment: GoalAssignment | None = None
        if isinstance(self.environment, GoalEnvironment):
            goal_offers = GoalOffers(self.agents, generator(start.seed, start.node, Stream.TRANSPORT, part))
            random = generator(start.seed, start.node, Stream.GOALS, part)
            self.goal_assignment = GoalAssignment(
                self.environment, goal_offers, self._send_offer, self.settings.goal_deadline, random, self.tick_by_tick
            )
        self._next_report = self.clock.now() + self._period

    def _handle(self, received: ReceivedMessage) -> None:
        if received.channel == "ctl":
            self.control.receive(received)
            return
        message, src = received.message, received.src
        try:
            if isinstance(message, Act):
                self._act(src, message, received.arrays)
            elif isinstance(message, Goals):
                if self.goal_assignment is not None:
                    self.goal_assignment.answered(src, message.sent, received.arrays)
            elif isinstance(message, Join):
                self._join(src, message.inc)
        except BadMessage as error:
            self.transport.refuse(received, error)

    def _keep_up(self, now: float) -> None:
        for command in self.control.commands():
            self._obey(command)
        self._follow_evaluation(now)
        if orders := self.control.faults():
            self.shim, orders = carry_out(self._entrance, self.shim, orders)
            self.faults.apply_order(orders)
        if self.control.roster_changed:
            self.control.roster_changed = False
            self._follow_roster()
        self.control.tick(now)
        if self.shim is not None:
            self.shim.progress(now, self.episode_counters.steps, self.episode_counters.episodes)

    def _obey(self, command: str) -> None:
        if command == "start":
            self._started = True
            if self.shim is not None:
                self.shim.start(time.monotonic())
            self.control.progress.phase = "training"
        elif command == "stop":
            self._stopped = True

    def _step_expired(self, reason: str) -> None:
        """Called by the watchdog's thread while the main thread is in the environment: report why the process ends."""
        self.control.leave(ExitCode.ABORTED, reason)
        self.transport.close()

    def _leave(self) -> None:
        self.telemetry.traffic()
        self.environment.close()
        self.control.leave(ExitCode.OK)
        self.telemetry.close()
        self.transport.close()

    # --- agents join and leave -----------------------------------------------------------------------------------------------------------

    def _join(self, agent: str, incarnation: int) -> None:
        if agent not in self.layouts:
            self.transport.try_send("env", agent, Refuse(code=ExitCode.CONFIG, text=f"the environment has no agent {agent!r}"))
            return
        if self._incarnations.get(agent) == incarnation and agent in self.stepping.present | self.stepping.joining:
            if agent in self.stepping.present:
                self._welcome(agent)
                self._send_again(agent, self.stepping.tick)
            return
        self._admit(agent, incarnation)

    def _admit(self, agent: str, incarnation: int) -> None:
        """An agent takes part from the next tick on. Episodes of an earlier incarnation are over, even if its death has not been detected
        yet."""
        self._lose(agent)
        self._incarnations[agent] = incarnation
        self.stepping.join(agent)
        logger.info("%s joins, incarnation %d", agent, incarnation)

    def _lose(self, agent: str) -> None:
        present = agent in self.stepping.present
        self.stepping.leave(agent)
        if self.goal_assignment is not None:
            self.goal_assignment.forget(agent)
        if present:
            self.environment.set_present(self.stepping.present)

    def _welcome(self, agent: str) -> None:
        joined = Joined(
            copies=self.settings.copies, layout=self.layouts[agent], members=self.agents, tick=self.stepping.tick, party=self._party
        )
        self.transport.try_send("env", agent, joined, {"layouts": encode_layouts([self.layouts[name] for name in self.agents])})

    # --- a tick -----------------------------------------------------------------------------------------------------------------------

    def _act(self, agent: str, message: Act, arrays: Mapping[str, NDArray[Any]]) -> None:
        action = checked_action(arrays, self.layouts.get(agent), self.settings.copies)
        restart = checked_restart(arrays, self.settings.copies, isinstance(self.environment, RestartableEnvironment))
        verdict = self.stepping.receive(agent, message.tick, action)
        if verdict == "stored":
            if restart is not None:
                self._restarts[agent] = restart
            if message.waits:
                self._waiting.add(agent)
        elif verdict == "repeat":
            self.transport.counters["rx.dup"] += 1
            self._send_again(agent, message.tick)

    def _step(self, now: float) -> None:
        """Play the open tick, and open the next one. Without any agent nothing is played: episodes would begin without the agents that
        are about to join."""
        closed = self.stepping.close()
        applied = self.late_action.complete(closed, self._last.agents)
        for agent, count in applied.illegal.items():
            self._illegal(agent, count)
        for agent in closed.late:
            logger.warning("%s is late at tick %d: %s", agent, closed.tick, self.settings.late_action)
        if closed.actions or closed.late:
            self._restart(closed)
            with self._time.spent("step"), self._watchdog.watching(), self._first_step.playing(self.episode_counters.steps):
                before, self._last = self._last, self.environment.step(applied.actions)
                self._first_step.over = True
                self._finite_values.check(self._last)
            learning = not (self._finishing or self._exchanging)
            self.episode_counters.stepped(before, self._last, closed.actions, self._updates_per_tick if learning else 0)
            self._exchanging = self._exchanging and bool(closed.late or self._waiting & self.stepping.present)
            self._waiting.clear()
        self._reached()
        joined = self.stepping.advance(now)
        if joined:
            self.environment.set_present(self.stepping.present)
            for agent in sorted(joined):
                self._welcome(agent)
        self._count()
        self._publish_tick(applied, now)
        self.control.progress.ticks, self.control.progress.steps = self.stepping.tick, self.episode_counters.steps

    def _reached(self) -> None:
        """The open tick was played: what the fault schedule has for this place in the run happens."""
        self.faults.advance(step=self.episode_counters.steps, episode=self.episode_counters.episodes)

    def _restart(self, closed: ClosedTick) -> None:
        """Episodes that agents have left with the actions of this tick."""
        if isinstance(self.environment, RestartableEnvironment):
            for agent, copies in self._restarts.items():
                if agent in closed.actions:
                    self.environment.restart(agent, copies)
        self._restarts.clear()

    def _illegal(self, agent: str, count: int) -> None:
        """An agent has sent so many illegal actions: count them, and report the first."""
        self.episode_counters.illegal += count
        if agent not in self._warned:
            self._warned.add(agent)
            text = f"{agent} chooses actions that its action mask forbids; random legal ones stand in for them"
            cure = "a learner of your own reads the mask at the end of its features (PolicySpec.mask)"
            self.control.event("warning", "action.illegal", f"{text}: {cure}", agent=agent)

    def _send_answers(self, applied: AppliedActions) -> None:
        """Send the result of the tick to all agents that take part."""
        with self._time.spent("send"):
            incarnations = self._present_incarnations()
            for agent in self.stepping.present:
                batch = self._last.agents[agent]
                flags = batch.flags | applied.substituted[agent] * np.uint16(Flag.SUBSTITUTED)
                frames: dict[str, NDArray[Any]] = {
                    "observation": batch.observation,
                    "reward": batch.reward,
                    "flags": flags,
                    "episode": self._last.episode,
                    "applied": applied.actions[agent],
                }
                if batch.achieved is not None and batch.goal is not None:
                    frames |= {"achieved": batch.achieved, "goal": batch.goal}
                frames |= incarnations
                about = (self.stepping.tick, self.episode_counters.steps, self.episode_counters.episodes, self._sent_phase)
                self.stepping.answered(agent, (about, frames))
                self.transport.try_send("env", agent, self._observation(*about), frames)

    def _send_again(self, agent: str, tick: int) -> None:
        answer = self.stepping.answer(agent, tick)
        if answer is not None:
            self.transport.try_send("env", agent, self._observation(*answer[0]), answer[1])

    @property
    def _sent_phase(self) -> Phase:
        phase = self._phase()
        return "exchange" if phase == "training" and self._exchanging else phase

    def _observation(self, tick: int, steps: int, episodes: int, phase: Phase) -> Observation:
        return Observation(tick=tick, steps=steps, episodes=episodes, phase=phase)

    def _send_offer(self, agent: str, frames: Mapping[str, NDArray[Any]]) -> None:
        self.transport.try_send("env", agent, Offer(sent=self.stepping.tick), frames)

    # --- episodes, evaluations, metrics -----------------------------------------------------------------------------------------------

    def _count(self) -> None:
        episode_counters = self.episode_counters
        before, records = episode_counters.episodes, self.environment.finished()
        episode_counters.add(records)
        self.played_goals.add(before, records)
        self._keep_counts()
        self.control.progress.episodes = episode_counters.episodes
        while (evaluation := episode_counters.evaluation()) is not None:
            self._evaluated(evaluation)
            values = ", ".join(f"{name} {value:.3g}" for name, value in evaluation.items())
            logger.info("evaluation at episode %d: %s", episode_counters.episodes, values)
            self._begin_evaluation()
        if not self._finishing and not episode_counters.evaluating and episode_counters.evaluation_due():
            self._ask_evaluation(self.evaluation.episodes)
        if self._finishing and not episode_counters.evaluating and self.control.progress.phase != "finished":
            self.control.progress.phase = "finished"
            self._all_done()

    def _evaluated(self, evaluation: dict[str, float]) -> None:
        """An evaluation is complete: write its metrics."""
        self.telemetry.write(self.episode_counters.steps, self.episode_counters.episodes, evaluation)

    def _follow_evaluation(self, now: float) -> None:
        """Report how far the evaluation that is being played is, and cut it short where its time is over."""
        progress = self.control.progress
        progress.evaluated, progress.evaluating = self.episode_counters.evaluated if self._started and self.stepping.tick else (0, 0)
        progress.evaluation_left = 0.0
        if not progress.evaluating:
            return
        if self._evaluation_began is None:
            self._evaluation_began = now
        elapsed, limit = now - self._evaluation_began, self._limit_evaluation(now - self._evaluation_began)
        expected = [] if limit is None else [max(0.0, limit - elapsed)]
        if progress.evaluated:
            expected.append(elapsed * (progress.evaluating - progress.evaluated) / progress.evaluated)
        progress.evaluation_left = min(expected, default=0.0)

    def _limit_evaluation(self, elapsed: float) -> float | None:
        """Cut the evaluation short that has lasted so many seconds, where it has a bound; the bound in seconds."""
        return None

    def _finish(self) -> None:
        """Training is over: one last evaluation."""
        if not self._finishing:
            self._finishing = True
            if self.shim is not None:
                self.shim.heal()
            self.control.progress.phase = "evaluation"
            self._ask_evaluation(self.evaluation.final_episodes)
            self._report()

    def _ask_evaluation(self, episodes: int) -> None:
        self.episode_counters.expect(episodes, self.evaluation.aligned)
        self._begin_evaluation()

    def _begin_evaluation(self) -> None:
        if episodes := self.episode_counters.to_begin():
            self._evaluation_began = None
            self.environment.evaluate(episodes, self.evaluation.aligned)

    def _report(self) -> None:
        """Write a row of metrics."""
        now = time.monotonic()
        usage = {"steps_per_second": self.episode_counters.speed(now)} | self._time.take()
        values = self.episode_counters.values()
        if self.goal_assignment is not None:
            values["goals.substituted"] = float(self.goal_assignment.substituted)
        self.telemetry.write(self.episode_counters.steps, self.episode_counters.episodes, values, usage=usage)
        if (goals := self.played_goals.take()) is not None:
            self.telemetry.write_goals(self.episode_counters.steps, self.episode_counters.episodes, goals)
        self.episode_counters.reported(now)
        self._next_report = self.clock.now() + self._period

    def _resume_counts(self, numbers: Mapping[str, Any]) -> None:
        """Go on from an earlier process's numbers."""
        self.episode_counters.resume_from(numbers)
        self.control.progress.episodes, self.control.progress.steps = self.episode_counters.episodes, self.episode_counters.steps
