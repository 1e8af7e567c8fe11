"""The life of an agent: join, agree on goals, act, learn, tell the others, average, leave.

One loop on the main thread: take what has arrived, answer the environment first (everybody waits for the slowest), then do the tick's
share of learning, then let the conversations with neighbours move on. Nothing in it waits for a neighbour.
"""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from agent_node import checkpoints
from agent_node.averaging import RoundReport
from agent_node.faults import AgentFaults
from agent_node.figures import Figures
from agent_node.lockstep import Lockstep
from agent_node.neighbours import Neighbours
from agent_node.part_links import PartLinks
from agent_node.persona import persona_of
from agent_node.playing import Playing
from agent_node.together import Together
from protocols.clock import Clock, LogicalClock
from protocols.control import NodeControl
from protocols.errors import BadMessage, ExitCode, ResourceError
from protocols.faults.build import inject
from protocols.faults.deeds import node_faults
from protocols.files import kept_sizes
from protocols.launch import NodeStart
from protocols.links import write_links
from protocols.messages import Act, Goals, Join, Joined, Message, Observation, Offer, Refuse
from protocols.seeds import Stream, generator
from protocols.settings import parse_duration
from protocols.stepping import StepClient
from protocols.telemetry import Telemetry, TimeShares
from protocols.transport import Identity, Received, Transport

logger = logging.getLogger(__name__)
ENVIRONMENT = "env-0"
_LONGEST_WAIT = 0.05
_JOIN_AGAIN = 0.5


class AgentNode:
    """One agent's process; `run` lives until the run server says stop."""

    def __init__(self, start: NodeStart) -> None:
        self._start = start
        self.name = start.node
        self.transport = Transport(Identity(start.run, start.node, start.incarnation, "agent"))
        self.control = NodeControl(start, self.transport, self.transport.bind("peer"))
        configuration = self.control.join()
        self.shim = inject(self.transport, start, configuration)
        self.persona = persona_of(start, configuration, self.control.rejoin)
        logical = LogicalClock(parse_duration(configuration["tick"])) if configuration["clock"] == "logical" else None
        self.faults = AgentFaults(start, node_faults(configuration, self.name), self._leave, logical, self.control.rejoin)
        self.transport.wall = self.faults.clock.wall
        self.clock: Clock = self.faults.clock
        self.together: Together | None = None
        names = sorted(self.persona.surroundings.everybody)
        self.links = None if logical is None else PartLinks(configuration, start, self.faults.life)
        lockstep = None if logical is None else Lockstep(logical.length, self.links)
        self.neighbours = Neighbours(self.transport, self.name, names, self.faults, lockstep)
        if logical is not None and lockstep is not None:
            self.clock = logical
            self.together = Together(logical, lockstep, self.neighbours, self.transport, self.name)
        self.telemetry = Telemetry(start.node_directory, self.transport, self.clock)
        self.shares = TimeShares(self.faults.pace)
        self.figures = Figures()
        self.stepping = StepClient(generator(start.seed, self.name, Stream.RETRIES))
        self.playing: Playing | None = None
        self._action: NDArray[Any] | None = None
        self._held: Received | None = None
        """under the logical clock: the observation of the tick after that which is not over"""
        self._join_again = 0.0
        self._environment_incarnation = 0
        supervision = configuration["supervision"]
        self._checkpoint_period, self._keep = parse_duration(supervision["checkpoint"]), int(supervision["keep"])
        self._metrics_period = parse_duration(configuration["metrics"]["every"])
        now = self.clock.now()
        self._next_checkpoint, self._next_metrics = now + self._checkpoint_period, now + self._metrics_period
        self._start_tick = self.control.checkpoint
        self._started = False
        self._finished = False
        self._stopped = False
        self._farewell = ""
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "_stopped", True))

    # --- main loop ----------------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Until told to stop."""
        while not self._stopped:
            with self.shares.spent("wait"):
                received = self.transport.receive(_LONGEST_WAIT)
            for item in received:
                self._handle(item)
            now = self.faults.clock.now()
            if self.together is None:
                self._converse(now)
            else:
                self._converse_together(self.together)
            self._keep_up(now)
        if self.together is None:
            self._save()
            self._report()
        if self.links is not None:
            self.links.close()
        write_links(self._start.node_directory, self.transport)
        self.control.leave(ExitCode.OK, self._farewell)
        self.telemetry.close()
        self.transport.close()

    def _handle(self, received: Received) -> None:
        message, now = received.message, self.faults.clock.now()
        if received.channel == "ctl":
            self.control.receive(received)
            return
        if received.channel == "env" and (received.src != ENVIRONMENT or message.inc < self._environment_incarnation):
            self.transport.counters["rx.stale"] += 1
            return
        if received.channel == "env" and isinstance(message, Refuse):
            raise ResourceError(f"{received.src} refused: {message.text}")
        try:
            if received.channel == "peer":
                if self.together is not None:
                    self.together.lockstep.receive(received.src, message, received.arrays)
                    return
                if self.playing is None:
                    self.transport.counters["rx.early"] += 1
                    return
                with self.shares.spent("exchange"):
                    self.neighbours.receive(received.src, message, received.arrays, now)
            elif isinstance(message, Joined):
                self._joined(message, now)
            elif self.playing is None:
                self.transport.counters["rx.early"] += 1
            elif isinstance(message, Observation) and self.together is not None and self.together.talking:
                self._held = received
            elif isinstance(message, Observation):
                self._observation(received.src, message, received.arrays, now)
            elif isinstance(message, Offer) and self.together is not None:
                self.together.offered(message, received.arrays)
            elif isinstance(message, Offer):
                self.playing.offered(received.arrays, now)
        except BadMessage as error:
            self.transport.refuse(received, error)

    def _joined(self, message: Joined, now: float) -> None:
        """The environment server says what there is to see and do: build the parts, and take up where the last checkpoint ended."""
        if self.playing is not None:
            return
        resumed = self.together is not None and not self.control.rejoin
        found = checkpoints.read_newest(self._checkpoints)
        if resumed and self._start_tick != (-1 if found is None else int(found.manifest["step"])):
            raise ResourceError(f"{self.name} has no whole checkpoint of tick {self._start_tick}, from which the run goes on")
        if self.together is not None and self.links is not None:
            self.links.begin(self._start_tick)
            self.together.joined(message)
            self._next_metrics = self.clock.now() + self._metrics_period
        persona = replace(self.persona, incarnation=self.faults.life, rejoin=self.control.rejoin)
        playing = Playing(persona, message, self.neighbours, self.figures, self.shares, self.clock, found, resumed)
        if found is not None:
            text = f"{self.name} goes on from its checkpoint at {playing.trainer.updates} updates, {self.figures.episodes} episodes"
            self.control.event("info", "node.restored", text)
        elif self._start.incarnation > 1:
            text = f"{self.name} begins anew: it had no checkpoint yet (supervision.checkpoint says how often one is made)"
            self.control.event("warning", "node.anew", text)
        self.playing = playing
        self.neighbours.follow(self.control.roster, now)
        self.control.progress.phase = "acting"
        self._learn_no_more()

    def _observation(self, server: str, message: Observation, arrays: Mapping[str, NDArray[Any]], now: float) -> None:
        playing = self.playing
        if self.shim is not None:
            self.shim.progress(now, message.steps, message.episodes)
        if playing is None or not self.stepping.observed(server, message.tick, now):
            return
        if self.together is not None:
            self.together.observed(message, arrays)
        self.faults.reached(message.steps, message.episodes)
        if self._stopped:
            return
        if self.links is not None:
            self.links.reached(message.tick, self.clock.now(), message.steps, message.episodes)
        if self.together is not None and message.phase == "evaluation" and not self._finished:
            self._finished = True
            self._learn_no_more()
        self._action, episodes = playing.act(arrays, self.stepping.continuous)
        if message.phase != "checkpoint":
            self.stepping.act(now)
            self._send_action()
        playing.learn(arrays, episodes)
        progress = self.control.progress
        progress.ticks, progress.updates, progress.episodes = self.stepping.tick, playing.trainer.updates, self.figures.episodes

    def _send_action(self) -> None:
        tick = self.stepping.tick
        self._to_environment(Act(tick=tick, rid=f"{self.name}/{tick}"), {"action": self._action})

    def _converse(self, now: float) -> None:
        if self.playing is None:
            return
        answers, reports = self.playing.converse(self.stepping.tick, now)
        if answers is not None:
            self._to_environment(Goals(), answers)
        self.neighbours.flush()
        self._averaged(reports)

    def _converse_together(self, together: Together) -> None:
        """The talk of one tick, when all partners have said what they had to say at the tick before."""
        together.flush()
        observation = together.ready()
        if self.playing is None or observation is None:
            return
        now = self.clock.now()
        with self.shares.spent("exchange"):
            together.hear(self.playing.offered)
        answers, reports = self.playing.converse(observation.tick, now)
        self._averaged(reports)
        if observation.phase == "checkpoint":
            self._begin_anew(observation.tick)
            return
        if answers is not None:
            self._to_environment(Goals(sent=observation.tick), answers)
        together.say()
        together.flush()
        self._write_due(now)
        if (held := self._held) is not None:
            self._held = None
            self._handle(held)

    def _begin_anew(self, tick: int) -> None:
        """All agents and the environment server are at this tick: keep what has been learnt, forget what is under way, and go on from the
        checkpoint, as everybody would who was started from it."""
        if self.playing is not None:
            self._averaged(self.playing.settle())
        self._report()
        if self.links is not None:
            self.links.close()
        self._save(tick)
        if self.together is not None:
            self.together.part()
        self.playing = None
        self._start_tick = tick
        self.control.rejoin = False
        self.stepping.reset()
        self._join_again = 0.0

    def _averaged(self, reports: Sequence[RoundReport]) -> None:
        for report in reports:
            self.control.progress.rounds = report.round
            if self.shim is not None:
                self.shim.progress(time.monotonic(), round=report.round)
            if report.sketch is not None and self.playing is not None:
                values = {"consensus.round": float(report.round)}
                self.telemetry.write(self.playing.trainer.updates, self.figures.episodes, values, {"sketch": report.sketch})

    def _to_environment(self, message: Message, arrays: Any = None) -> None:
        self.transport.try_send("env", ENVIRONMENT, message, arrays)

    # --- what is due --------------------------------------------------------------------------------------------------------------

    def _keep_up(self, now: float) -> None:
        for command in self.control.commands():
            self._obey(command)
        self.faults.obey(self.control.faults())
        if self.control.roster_changed:
            self.control.roster_changed = False
            self._environment_moved()
            self.neighbours.follow(self.control.roster, now)
        self.control.tick(now)
        if self.shim is not None:
            self.shim.progress(now)
        if self._started and self.stepping.tick < 0 and now >= self._join_again:
            self._join_again = now + _JOIN_AGAIN
            self._to_environment(Join())
        if self.stepping.again(now):
            self.transport.counters["retry.act"] += 1
            self._send_action()
        if self.together is None:
            self._write_due(now)
            if now >= self._next_checkpoint:
                self._next_checkpoint = now + self._checkpoint_period
                self._save()

    def _write_due(self, now: float) -> None:
        if now >= self._next_metrics:
            self._next_metrics = now + self._metrics_period
            self._report()

    def _obey(self, command: str) -> None:
        if command == "start":
            self._started = True
            if self.shim is not None:
                self.shim.start(time.monotonic())
        elif command == "stop":
            self._stopped = True
        elif command == "finish" and self.together is None:
            self._finished = True
            if self.shim is not None:
                self.shim.heal()
            self._learn_no_more()
        elif command == "checkpoint" and self.together is None:
            self._save()

    def _learn_no_more(self) -> None:
        """Training is over, perhaps before this agent (which was restarted) has joined the environment."""
        if self._finished and self.playing is not None:
            self.playing.trainer.on = False
            self.control.progress.phase = "evaluation"

    def _environment_moved(self) -> None:
        """Connect to the environment server, and join it anew when it is another process than before."""
        entry = self.control.roster.get(ENVIRONMENT)
        if entry is None or not entry.endpoint or entry.inc <= self._environment_incarnation:
            return
        self._environment_incarnation = entry.inc
        self.transport.connect("env", ENVIRONMENT, entry.endpoint)
        self.stepping.reset()
        self._join_again = 0.0

    def _report(self) -> None:
        links = list(self.transport.link_counters.values())
        usage = self.figures.speed() | self.shares.take()
        usage |= self.figures.traffic(sum(link.sent_messages + link.received_messages for link in links))
        values = self.figures.take()
        if self.playing is not None:
            values |= self.playing.metrics()
        values["peers.alive"], values["peers"] = float(self.neighbours.alive), float(len(self.persona.surroundings.everybody))
        self.telemetry.write(self.figures.steps, self.figures.episodes, values, usage=usage)

    @property
    def _checkpoints(self) -> Path:
        return self._start.node_directory / "checkpoints"

    def _save(self, tick: int | None = None) -> None:
        """Keep what has been learnt, under the number of updates or, of all nodes together, of the tick."""
        if self.playing is None:
            return
        more = {"files": kept_sizes(self._start.node_directory)} if tick is not None else {"incarnation": self._start.incarnation}
        try:
            self.playing.save(self._checkpoints, self.playing.trainer.updates if tick is None else tick, self._keep, more)
        except OSError as error:
            self.control.event(
                "warning", "checkpoint.failed", f"{self.name} can't write a checkpoint: {error.strerror}; the last one stays"
            )

    def _leave(self, reason: str) -> None:
        self._stopped, self._farewell = True, reason


def main(start: NodeStart) -> int:
    """Entry point of an agent's process."""
    AgentNode(start).run()
    return ExitCode.OK
