"""The environment server: steps all copies when everybody has acted, offers episodes, takes goals, and reports what came of them."""

from __future__ import annotations

import logging
import signal
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from env_server import registry
from env_server.contracts import GoalEnvironment, Outcome
from env_server.counters import Counters
from env_server.offers import OfferBook
from env_server.settings import EnvironmentSettings, EvaluationSettings
from env_server.stand_in import StandIn
from env_server.statistics import EpisodeStatistics
from protocols.control import NodeControl
from protocols.errors import BadMessage, ExitCode
from protocols.faults.deeds import node_faults
from protocols.faults.executor import Executor, Hooks
from protocols.faults.log import FaultLog
from protocols.faults.pace import SkewedClock
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
"""episode numbers that belong to one incarnation"""


class EnvironmentServer:
    """One process's environment and its conversation with all agents; `run` lives until the run server says stop."""

    def __init__(self, start: NodeStart) -> None:
        self.transport = Transport(Identity(start.run, start.node, start.incarnation))
        endpoint = self.transport.bind("env")
        self.control = NodeControl(start, self.transport, endpoint)
        configuration = self.control.join()
        self.settings = EnvironmentSettings.model_validate(configuration["environment"])
        self.evaluation = EvaluationSettings.model_validate(configuration["evaluation"])
        self.agents = [f"agent-{i}" for i in range(configuration["agents"]["count"])]
        pairs = edges(topology_settings(configuration["network"]["topology"]), self.agents, start.seed)
        self.environment = registry.create(self.settings, self.agents, pairs, start.seed)
        self.goals = self.environment if isinstance(self.environment, GoalEnvironment) else None
        self.statistics = EpisodeStatistics(self.goals.goal_space if self.goals else None)
        self.stepping = StepServer(self.agents, self.settings.deadline)
        self.offers = OfferBook(self.agents, generator(start.seed, start.node, Stream.TRANSPORT))
        self.telemetry = Telemetry(start.node_directory, self.transport)
        self.layouts = {agent: self.environment.layout(agent) for agent in self.agents}
        self.stand_in = StandIn(self.settings, self.layouts, generator(start.seed, start.node, Stream.STAND_IN))
        self._start = start
        self._random = generator(start.seed, start.node, Stream.GOALS)
        self._time = TimeShares()
        self._period = parse_duration(configuration["metrics"]["every"])
        self._next_report = time.monotonic() + self._period
        self._last_report = time.monotonic()
        self._incarnations: dict[str, int] = {}
        self._started = False
        self._start_by = 0.0
        self._finishing = False
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
        self._restore()
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "_stopped", True))

    # --- main loop ------------------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Until told to stop."""
        self.control.progress.phase = "waiting"
        seed = integer(self._start.seed, self._start.node, Stream.ENVIRONMENT)
        # Agents know episodes by their number: what they remember of an earlier incarnation's must not be taken for those to come.
        outcome = self.environment.reset(seed, (self._start.incarnation - 1) * EPISODES)
        self._ask_evaluation(self.evaluation.episodes)
        self._last = outcome
        while not self._stopped:
            with self._time.spent("wait"):
                received = self.transport.receive(self._patience(), max(1, self.stepping.awaited))
            for item in received:
                self._handle(item)
            now = time.monotonic()
            if self._started and self.stepping.ready(now) and self._assembled(now):
                self._step(now)
            self._keep_up(now)
        self._save()
        write_links(self._start.node_directory, self.transport)
        self.environment.close()
        self.control.leave(ExitCode.OK)
        self.telemetry.close()
        self.transport.close()

    def _assembled(self, now: float) -> bool:
        """The first step waits until all agents that are alive have joined, or for a few seconds."""
        if self.stepping.tick == 0 and now < self._start_by:
            alive = {name for name, entry in self.control.roster.items() if entry.role == "agent" and entry.state == "alive"}
            return alive <= self.stepping.joining
        return True

    def _patience(self) -> float:
        until = self.stepping.due() - time.monotonic() if self.stepping.present else _LONGEST_WAIT
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
                self._take_goals(src, received.arrays)
            elif isinstance(message, Join):
                self._join(src, message.inc)
        except BadMessage as error:
            self.transport.counters[f"rx.bad.{error.code}"] += 1
            logger.warning("%s from %s: %s", type(message).__name__, src, error)

    def _obey(self, command: str) -> None:
        if command == "start":
            self._started = True
            self._start_by = time.monotonic() + _ASSEMBLY
            self.control.progress.phase = "training"
        elif command == "stop":
            self._stopped = True
        elif command == "finish" and not self._finishing:
            self._finishing = True
            self.control.progress.phase = "evaluation"
            self._ask_evaluation(self.evaluation.final)
            self._report(time.monotonic())
        elif command == "checkpoint":
            self._save()

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
        # Whatever an earlier incarnation played is over, even if nobody has noticed its death yet.
        self._lose(agent)
        self._incarnations[agent] = incarnation
        self.stepping.join(agent)
        logger.info("%s joins, incarnation %d", agent, incarnation)

    def _lose(self, agent: str) -> None:
        present = agent in self.stepping.present
        self.stepping.leave(agent)
        self.offers.forget(agent)
        if present:
            self.environment.set_present(self.stepping.present)

    def _welcome(self, agent: str) -> None:
        joined = Joined(copies=self.settings.copies, layout=self.layouts[agent], members=self.agents, tick=self.stepping.tick)
        self.transport.try_send("env", agent, joined)

    def _roster(self) -> None:
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
            tick, steps, episodes = answer[0]
            self.transport.try_send("env", agent, Observation(tick=tick, steps=steps, episodes=episodes), answer[1])

    def _step(self, now: float) -> None:
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
            for agent in joined:
                self._welcome(agent)
        with self._time.spent("send"):
            self._answer(self._last, closed, applied)
        self._count(closed)
        self._offer(now)
        self.control.progress.ticks, self.control.progress.steps = self.stepping.tick, self._steps

    def _answer(self, outcome: Outcome, closed: Closed, applied: dict[str, NDArray[Any]]) -> None:
        episodes = self.statistics.training
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
            self.stepping.answered(agent, ((self.stepping.tick, self._steps, episodes), frames))
            self.transport.try_send("env", agent, Observation(tick=self.stepping.tick, steps=self._steps, episodes=episodes), frames)

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
            self._report(time.monotonic())
            self.control.event("info", "finished", "the last evaluation is done")

    def _ask_evaluation(self, episodes: int) -> None:
        if episodes:
            self.environment.evaluate(episodes, self.evaluation.aligned)
            self.statistics.expect(episodes, self.evaluation.aligned)

    # --- goals ----------------------------------------------------------------------------------------------------------------------

    def _offer(self, now: float) -> None:
        if self.goals is not None:
            self._send_offers(self.offers.offer(self.goals.offers(), now))

    def _send_offers(self, frames: dict[str, dict[str, NDArray[Any]]]) -> None:
        for agent, arrays in frames.items():
            self.transport.try_send("env", agent, Offer(), arrays)

    def _take_goals(self, agent: str, arrays: Any) -> None:
        if self.goals is None:
            return
        for episode, goal, negotiated in self.offers.answered(agent, arrays):
            try:
                self.goals.set_goal(episode, agent, goal, negotiated)
            except ValueError as error:
                raise BadMessage("E_FRAME", str(error)) from None

    def _chase_goals(self, now: float) -> None:
        """Repeat offers that nobody answered; an episode whose members stay silent gets goals drawn here."""
        if self.goals is None:
            return
        self._send_offers(self.offers.again(now))
        for episode, agent in self.offers.overdue(self.goals.waiting(), self.settings.goal_deadline, now):
            self.goals.set_goal(episode, agent, int(self._random.integers(self.goals.goal_space.count)), False)
            self.transport.counters["goals.substituted"] += 1

    # --- what is due ----------------------------------------------------------------------------------------------------------------

    def _keep_up(self, now: float) -> None:
        for command in self.control.commands():
            self._obey(command)
        self.faults.obey(self.control.faults())
        if self.control.roster_changed:
            self.control.roster_changed = False
            self._roster()
        self.control.tick(now)
        if self._started:
            self._chase_goals(now)
        if now >= self._next_report:
            self._report(now)

    def _report(self, now: float) -> None:
        """Write a row of figures."""
        elapsed = max(now - self._last_report, 1e-9)
        values = self.statistics.window()
        values["steps"] = float(self._steps)
        values["steps_per_second"] = (self._steps - self._reported_steps) / elapsed
        values["env.substituted"] = self._substituted / max(1, self._joint_steps)
        values["episodes.substituted"] = float(len(self._substituted_episodes))
        values["episodes.peer_lost"] = float(self.statistics.peer_lost)
        values |= self._time.take()
        self.telemetry.write(self._steps, self.statistics.training, values)
        self._save()
        self._reported_steps, self._last_report = self._steps, now
        self._next_report = now + self._period

    def _save(self) -> None:
        """Counters that a restarted server goes on from; arenas themselves start anew."""
        state = {"episodes": self.statistics.training, "steps": self._steps, "next_evaluation": self._next_evaluation}
        try:
            self._counters.write(state)
        except OSError as error:
            logger.warning("the counters can't be written: %s", error.strerror)

    def _restore(self) -> None:
        state = self._counters.read()
        if state is not None:
            self.statistics.training, self._steps = int(state["episodes"]), int(state["steps"])
            self._next_evaluation = int(state["next_evaluation"])
            self._reported_steps = self._steps
            self.control.progress.episodes, self.control.progress.steps = self.statistics.training, self._steps


def main(start: NodeStart) -> int:
    """Entry point of an environment server's process."""
    EnvironmentServer(start).run()
    return ExitCode.OK
