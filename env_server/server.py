"""The environment server: steps all copies when everybody has acted, offers episodes, takes goals, and reports what came of them."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from env_server import registry
from env_server.contracts import GoalEnvironment, Outcome
from env_server.counters import Counters
from env_server.course import Course
from env_server.goal_desk import GoalDesk
from env_server.offers import OfferBook
from env_server.parts import PartCheckpoints
from env_server.settings import EnvironmentSettings, EvaluationSettings
from env_server.stand_in import StandIn
from env_server.statistics import EpisodeStatistics
from protocols.clock import Clock, WallClock
from protocols.control import NodeControl
from protocols.errors import BadMessage, ExitCode
from protocols.faults.build import inject
from protocols.faults.deeds import node_faults
from protocols.faults.executor import Executor, Hooks
from protocols.faults.log import FaultLog
from protocols.faults.pace import SkewedClock
from protocols.files import kept_sizes
from protocols.launch import NodeStart
from protocols.links import write_links
from protocols.messages import Act, Flag, Goals, Join, Joined, Observation, Offer, Refuse
from protocols.seeds import Stream, generator, integer
from protocols.settings import parse_duration
from protocols.stepping import Closed, StepServer
from protocols.telemetry import Telemetry, TimeShares
from protocols.topology import edges, topology_settings
from protocols.transport import Identity, Received, Transport

logger = logging.getLogger(__name__)
_LONGEST_WAIT = 0.1
_ASSEMBLY = 10.0
"""seconds that the first step waits for agents that are alive"""
EPISODES = 2**40
"""episode numbers that belong to one part of a run: to one incarnation of the server or, under the logical clock, to the time between two
checkpoints"""


class EnvironmentServer:
    """One process's environment and its conversation with all agents; `run` lives until the run server says stop."""

    def __init__(self, start: NodeStart) -> None:
        self.transport = Transport(Identity(start.run, start.node, start.incarnation, "env"))
        endpoint = self.transport.bind("env")
        self.control = NodeControl(start, self.transport, endpoint)
        configuration = self.control.join()
        self.shim = inject(self.transport, start, configuration)
        self.settings = EnvironmentSettings.model_validate(configuration["environment"])
        self.evaluation = EvaluationSettings.model_validate(configuration["evaluation"])
        self.agents = [f"agent-{i}" for i in range(configuration["agents"]["count"])]
        pairs = edges(topology_settings(configuration["network"]["topology"]), self.agents, start.seed)
        self.environment = registry.create(self.settings, self.agents, pairs, start.seed)
        goals = self.environment if isinstance(self.environment, GoalEnvironment) else None
        self.statistics = EpisodeStatistics(goals.goal_space if goals else None)
        self._party = goals.party if goals else 0
        self.stepping = StepServer(self.agents, self.settings.deadline)
        self.course = Course(configuration, self.agents) if configuration["clock"] == "logical" else None
        self.clock: Clock = self.course.clock if self.course else WallClock()
        self.telemetry = Telemetry(start.node_directory, self.transport, self.clock)
        self.layouts = {agent: self.environment.layout(agent) for agent in self.agents}
        self._start = start
        self._time = TimeShares()
        self._period = parse_duration(configuration["metrics"]["every"])
        self._next_report = 0.0
        self._last_report = time.monotonic()
        self._incarnations: dict[str, int] = {}
        self._early: dict[str, int] = {}
        """agents that wait to join, until the tick at which the schedule has them back"""
        self._started = False
        self._start_by = 0.0
        self._finishing = False
        self._told = False
        self._parts = PartCheckpoints(start.node_directory / "checkpoints", int(configuration["supervision"]["keep"]))
        self._stopped = False
        self._next_evaluation = self.evaluation.every
        self._steps = 0
        self._reported_steps = 0
        self._substituted = 0
        self._joint_steps = 0
        self._substituted_episodes: set[int] = set()
        self._counters = Counters(start.node_directory)
        faults = node_faults(configuration, start.node)
        log = FaultLog(start.node_directory, start.node, start.incarnation)
        hooks = Hooks(leave=lambda _: setattr(self, "_stopped", True), checkpoint_files=lambda: self._counters.path)
        self.faults = Executor(log, faults.deeds, self._time.pace, SkewedClock(), hooks, start.incarnation, faults.heal)
        self._part = self._restore()
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "_stopped", True))

    # --- main loop ------------------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Until told to stop."""
        self.control.progress.phase = "waiting"
        self._begin_part()
        while not self._stopped:
            with self._time.spent("wait"):
                received = self.transport.receive(self._patience(), max(1, self.stepping.awaited))
            for item in received:
                self._handle(item)
            now = time.monotonic()
            if self._started and self._ready(now):
                self._step(now)
            self._keep_up(now)
        if self.course is None:
            self._save()
        write_links(self._start.node_directory, self.transport)
        self.environment.close()
        self.control.leave(ExitCode.OK)
        self.telemetry.close()
        self.transport.close()

    def _begin_part(self) -> None:
        """Start all copies and conversations anew: at the start, after a restart and, under the logical clock, after every checkpoint.

        Agents know episodes by their number: what they remember of an earlier part must not be taken for those to come."""
        start, part = self._start, self._part
        self._last = self.environment.reset(integer(start.seed, start.node, Stream.ENVIRONMENT), part * EPISODES)
        self.stand_in = StandIn(self.settings, self.layouts, generator(start.seed, start.node, Stream.STAND_IN, part))
        self.desk: GoalDesk | None = None
        if isinstance(self.environment, GoalEnvironment):
            book = OfferBook(self.agents, generator(start.seed, start.node, Stream.TRANSPORT, part))
            random = generator(start.seed, start.node, Stream.GOALS, part)
            self.desk = GoalDesk(self.environment, book, self._send_offer, self.settings.goal_deadline, random, self.course is not None)
        self._next_report = self.clock.now() + self._period
        if self.course is None or (self.stepping.tick == 0 and not part):
            self._ask_evaluation(self.evaluation.episodes)

    def _ready(self, now: float) -> bool:
        """Whether the open tick can be played. Under the logical clock nobody is late: the tick waits until everybody has acted."""
        if self.course is not None:
            for agent in sorted(self._early.keys() & self.course.presence.present):
                self._join(agent, self._early.pop(agent))
            everybody = self.stepping.present | self.stepping.joining
            return not self.course.at_rest and self.course.presence.present <= everybody and not self.stepping.awaited
        return self.stepping.ready(now) and self._assembled(now)

    def _assembled(self, now: float) -> bool:
        """The first step waits until all agents that are alive have joined, or for a few seconds."""
        if self.stepping.tick == 0 and now < self._start_by:
            alive = {name for name, entry in self.control.roster.items() if entry.role == "agent" and entry.state == "alive"}
            return alive <= self.stepping.joining
        return True

    def _patience(self) -> float:
        until = self.stepping.due() - time.monotonic() if self.stepping.present and self.course is None else _LONGEST_WAIT
        return min(_LONGEST_WAIT, max(0.001, until))

    def _handle(self, received: Received) -> None:
        if received.channel == "ctl":
            self.control.receive(received)
            return
        message, src = received.message, received.src
        try:
            if isinstance(message, Act):
                self._act(src, message, received.arrays)
            elif isinstance(message, Goals):
                if self.desk is not None:
                    self.desk.answered(src, message.sent, received.arrays)
            elif isinstance(message, Join):
                self._join(src, message.inc)
        except BadMessage as error:
            self.transport.refuse(received, error)

    def _obey(self, command: str) -> None:
        if command == "start":
            self._started = True
            if self.shim is not None:
                self.shim.start(time.monotonic())
            self._start_by = time.monotonic() + _ASSEMBLY
            self.control.progress.phase = "training"
        elif command == "stop":
            self._stopped = True
        elif command == "finish" and self.course is None:
            self._finish()
        elif command == "checkpoint" and self.course is None:
            self._save()

    def _finish(self) -> None:
        """Training is over: one last evaluation."""
        if not self._finishing:
            self._finishing = True
            if self.shim is not None:
                self.shim.heal()
            self.control.progress.phase = "evaluation"
            self._ask_evaluation(self.evaluation.final)
            self._report()

    # --- agents come and go -----------------------------------------------------------------------------------------------------------

    def _join(self, agent: str, incarnation: int) -> None:
        if agent not in self.layouts:
            self.transport.try_send("env", agent, Refuse(code=ExitCode.CONFIG, text=f"the environment has no agent {agent!r}"))
            return
        if self._incarnations.get(agent) == incarnation and agent in self.stepping.present | self.stepping.joining:
            if agent in self.stepping.present:
                self._welcome(agent)
                self._send_again(agent, self.stepping.tick)
            return
        if self.course is not None and agent not in self.course.presence.present:
            self._early[agent] = incarnation  # it is back before the tick of its return
            return
        # Whatever an earlier incarnation played is over, even if nobody has noticed its death yet.
        self._lose(agent)
        self._incarnations[agent] = incarnation
        self.stepping.join(agent)
        logger.info("%s joins, incarnation %d", agent, incarnation)

    def _lose(self, agent: str) -> None:
        present = agent in self.stepping.present
        self.stepping.leave(agent)
        if self.desk is not None:
            self.desk.forget(agent)
        if present:
            self.environment.set_present(self.stepping.present)

    def _welcome(self, agent: str) -> None:
        joined = Joined(
            copies=self.settings.copies, layout=self.layouts[agent], members=self.agents, tick=self.stepping.tick, party=self._party
        )
        self.transport.try_send("env", agent, joined)

    def _roster(self) -> None:
        if self.course is not None:  # who takes part is decided by ticks, not by who happens to be alive now
            return
        for name, entry in self.control.roster.items():
            gone = entry.state in ("dead", "left", "lost")
            if name in self._incarnations and gone and self._incarnations[name] <= entry.inc:
                if name in self.stepping.present | self.stepping.joining:
                    logger.log(logging.INFO if entry.state == "left" else logging.WARNING, "%s is %s", name, entry.state)
                    self._lose(name)
                self.transport.disconnect("env", name)

    # --- a tick -----------------------------------------------------------------------------------------------------------------------

    def _act(self, agent: str, message: Act, arrays: Any) -> None:
        action = arrays.get("action")
        layout = self.layouts.get(agent)
        if layout is None or action is None:
            raise BadMessage("E_FRAME", "no frame `action`, or nobody of that name here")
        expected = (self.settings.copies, len(layout.actions) or len(layout.low))
        if action.shape != expected or action.dtype != (np.int32 if layout.actions else np.float32):
            raise BadMessage("E_FRAME", f"action is {action.dtype}{list(action.shape)}, not {list(expected)}")
        if layout.actions and ((action < 0) | (action >= np.array(layout.actions))).any():
            raise BadMessage("E_FRAME", f"an action outside of {layout.actions}")
        verdict = self.stepping.receive(agent, message.tick, action)
        if verdict == "repeat":
            self.transport.counters["rx.dup"] += 1
            self._send_again(agent, message.tick)

    def _send_again(self, agent: str, tick: int) -> None:
        answer = self.stepping.answer(agent, tick)
        if answer is not None:
            self.transport.try_send("env", agent, self._observation(*answer[0]), answer[1])

    def _step(self, now: float) -> None:
        if self.desk is not None and self.course is not None:
            self.desk.enter(self.stepping.tick)
        closed = self.stepping.close()
        applied = self.stand_in.complete(closed.actions, self.agents)
        for agent in closed.late:
            logger.warning("%s is late at tick %d: %s", agent, closed.tick, self.settings.stand_in)
            playing = (self._last.agents[agent].flags & Flag.MEMBER) != 0
            self._substituted_episodes.update(self._last.episode[playing].tolist())
        with self._time.spent("step"):
            before, self._last = self._last, self.environment.step(applied)
        # The first observation of an episode is no step of it.
        self._steps += int(np.count_nonzero((self._last.episode >= 0) & (self._last.episode == before.episode)))
        self.faults.advance(step=self._steps, episode=self.statistics.training)
        joined = self.stepping.advance(now)
        if joined:
            self.environment.set_present(self.stepping.present)
            for agent in sorted(joined):
                self._welcome(agent)
        self._count(closed)
        if self.course is None:
            self._send_answers(closed, applied)
            self._offer(now)
        else:
            # Offers first: whoever has the observation of a tick has them too.
            gone = self._decide(self.course)
            self._offer(self.clock.now())
            self._send_answers(closed, applied)
            self._follow(self.course, gone)
        self.control.progress.ticks, self.control.progress.steps = self.stepping.tick, self._steps

    def _decide(self, course: Course) -> frozenset[str]:
        """Under the logical clock: what the new tick brings; who dies at it."""
        finished = self.control.progress.phase == "finished"
        decision = course.decide(
            self.stepping.tick, self._steps, self.statistics.training, self.stepping.present, self.statistics.evaluating, finished
        )
        if decision.over is not None:
            self._finish()
            self.control.event("info", "training.over", decision.over)
        if not course.checkpoint_due and self.clock.now() >= self._next_report:
            self._report()
        return decision.gone

    def _follow(self, course: Course, gone: frozenset[str]) -> None:
        """Under the logical clock, when everybody knows: the dead are gone; a checkpoint is made, and everybody begins anew."""
        for agent in sorted(gone):
            self._lose(agent)
        if not course.checkpoint_due:
            return
        self._report()
        self._part += 1
        course.at_rest = self.control.progress.phase == "finished"
        state = {"part": self._part, "present": sorted(self.stepping.present), "files": kept_sizes(self._start.node_directory)}
        self._parts.write(self.stepping.tick, {**state, "course": course.state(), "numbers": self._numbers()})
        for agent in self.agents:
            self.stepping.leave(agent)
        course.begin(self.stepping.tick)
        self._begin_part()

    def _send_answers(self, closed: Closed, applied: dict[str, NDArray[Any]]) -> None:
        with self._time.spent("send"):
            self._answer(self._last, closed, applied)

    def _offer(self, now: float) -> None:
        if self.desk is not None:
            self.desk.offer(now)
            if self.course is not None:
                self.desk.chase(now)

    def _send_offer(self, agent: str, frames: Mapping[str, NDArray[Any]]) -> None:
        self.transport.try_send("env", agent, Offer(sent=self.stepping.tick), frames)

    def _answer(self, outcome: Outcome, closed: Closed, applied: dict[str, NDArray[Any]]) -> None:
        for agent in self.stepping.present:
            batch = outcome.agents[agent]
            flags = batch.flags | np.uint16(Flag.SUBSTITUTED) if agent in closed.late else batch.flags
            frames: dict[str, NDArray[Any]] = {
                "observation": batch.observation,
                "reward": batch.reward,
                "flags": flags,
                "episode": outcome.episode,
                "applied": applied[agent],
            }
            if batch.achieved is not None and batch.goal is not None:
                frames |= {"achieved": batch.achieved, "goal": batch.goal}
            about = (self.stepping.tick, self._steps, self.statistics.training)
            self.stepping.answered(agent, (about, frames))
            if self.course is not None:
                frames["lives"] = self.course.lives(self.stepping.present)
            self.transport.try_send("env", agent, self._observation(*about), frames)

    def _observation(self, tick: int, steps: int, episodes: int) -> Observation:
        return Observation(tick=tick, steps=steps, episodes=episodes, phase=self.course.phase if self.course else "training")

    def _count(self, closed: Closed) -> None:
        self._substituted += len(closed.late)
        self._joint_steps += len(closed.actions) + len(closed.late)
        before = self.statistics.training
        self.statistics.add(self.environment.finished())
        self.control.progress.episodes = self.statistics.training
        while (evaluation := self.statistics.evaluation()) is not None:
            self.telemetry.write(self._steps, self.statistics.training, evaluation)
            rounded = {name: round(value, 3) for name, value in evaluation.items()}
            logger.info("evaluation at episode %d: %s", self.statistics.training, rounded)
        if not self._finishing and before < self._next_evaluation <= self.statistics.training:
            self._next_evaluation += self.evaluation.every
            self._ask_evaluation(self.evaluation.episodes)
        if self._finishing and not self.statistics.evaluating and self.control.progress.phase != "finished":
            self.control.progress.phase = "finished"
            if self.course is None:
                self._report()
                self.control.event("info", "finished", "the last evaluation is done")

    def _ask_evaluation(self, episodes: int) -> None:
        if episodes:
            self.environment.evaluate(episodes, self.evaluation.aligned)
            self.statistics.expect(episodes, self.evaluation.aligned)

    # --- what is due ----------------------------------------------------------------------------------------------------------------

    def _keep_up(self, now: float) -> None:
        for command in self.control.commands():
            self._obey(command)
        self.faults.obey(self.control.faults())
        if self.control.roster_changed:
            self.control.roster_changed = False
            self._roster()
        self.control.tick(now)
        if self.shim is not None:
            self.shim.progress(now, self._steps, self.statistics.training)
        if self.course is None:
            if self._started and self.desk is not None:
                self.desk.chase(now)
            if now >= self._next_report:
                self._report()
        elif self.course.at_rest and not self._told and self.course.presence.present <= self.stepping.joining:
            # Everybody has made the last checkpoint, else they would not have joined again.
            self._told = True
            self.control.event("info", "finished", "the last evaluation is done")

    def _report(self) -> None:
        """Write a row of figures."""
        now = time.monotonic()
        elapsed = max(now - self._last_report, 1e-9)
        usage = {"steps_per_second": (self._steps - self._reported_steps) / elapsed} | self._time.take()
        values = self.statistics.window()
        values["steps"] = float(self._steps)
        values["env.substituted"] = self._substituted / max(1, self._joint_steps)
        values["episodes.substituted"] = float(len(self._substituted_episodes))
        values["episodes.peer_lost"] = float(self.statistics.peer_lost)
        if self.desk is not None:
            values["goals.substituted"] = float(self.desk.substituted)
        self.telemetry.write(self._steps, self.statistics.training, values, usage=usage)
        if self.course is None:
            self._save()
        self._reported_steps, self._last_report = self._steps, now
        self._next_report = self.clock.now() + self._period

    # --- what outlives this process ---------------------------------------------------------------------------------------------------

    def _save(self) -> None:
        """Counters that a restarted server goes on from; arenas themselves start anew."""
        try:
            self._counters.write(self._numbers())
        except OSError as error:
            logger.warning("the counters can't be written: %s", error.strerror)

    def _numbers(self) -> dict[str, int]:
        return {
            "episodes": self.statistics.training,
            "steps": self._steps,
            "next_evaluation": self._next_evaluation,
            "peer_lost": self.statistics.peer_lost,
        }

    def _restore(self) -> int:
        """Go on from what an earlier process has left; the number of parts of the run that are over."""
        if self.course is not None:
            return self._go_back(self.course)
        numbers = self._counters.read()
        if numbers is not None:
            self._count_on(numbers)
        return self._start.incarnation - 1

    def _count_on(self, numbers: Mapping[str, int]) -> None:
        self.statistics.training, self._steps = int(numbers["episodes"]), int(numbers["steps"])
        self.statistics.peer_lost = int(numbers.get("peer_lost", 0))
        self._next_evaluation = int(numbers["next_evaluation"])
        self._reported_steps = self._steps
        self.control.progress.episodes, self.control.progress.steps = self.statistics.training, self._steps

    def _go_back(self, course: Course) -> int:
        """Under the logical clock: to the checkpoint from which all nodes go on."""
        tick = self.control.checkpoint
        if tick < 0:
            return 0
        state = self._parts.read(tick)
        self._count_on(state["numbers"])
        course.restore(state["course"], tick)
        self._finishing = not course.training
        self.stepping.tick = tick
        return int(state["part"])


def main(start: NodeStart) -> int:
    """Entry point of an environment server's process."""
    EnvironmentServer(start).run()
    return ExitCode.OK
