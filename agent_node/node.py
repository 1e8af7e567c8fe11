"""The life of an agent: join, agree on goals, act, learn, tell the others, average, leave.

One loop on the main thread: take what has arrived, answer the environment first (everybody waits for the slowest), then do the tick's
share of learning, then let the conversations with neighbours move on. Nothing in it waits for a neighbour.
"""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from agent_node.faults import AgentFaults
from agent_node.figures import Figures
from agent_node.neighbours import Neighbours
from agent_node.playing import Persona, Playing
from agent_node.settings import AgentSettings, ExchangeSettings
from protocols.control import NodeControl
from protocols.errors import BadMessage, ExitCode, ResourceError
from protocols.faults.deeds import node_faults
from protocols.launch import NodeStart
from protocols.links import write_links
from protocols.messages import Act, Goals, Join, Joined, Message, Observation, Offer, Refuse
from protocols.seeds import Stream, generator
from protocols.settings import parse_duration
from protocols.stepping import StepClient
from protocols.telemetry import Telemetry, TimeShares
from protocols.topology import topology_settings
from protocols.topology.graph import make_graph
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
        self.transport = Transport(Identity(start.run, start.node, start.incarnation))
        self.control = NodeControl(start, self.transport, self.transport.bind("peer"))
        configuration = self.control.join()
        self.persona = _persona(start, configuration, self.control.rejoin)
        self.faults = AgentFaults(start, node_faults(configuration, self.name), self._leave)
        self.transport.wall = self.faults.clock.wall
        self.neighbours = Neighbours(self.transport, self.name, sorted(self.persona.surroundings.everybody), self.faults)
        self.telemetry = Telemetry(start.node_directory, self.transport)
        self.shares = TimeShares(self.faults.pace)
        self.figures = Figures()
        self._random = generator(start.seed, self.name, Stream.TRANSPORT)
        self.stepping = StepClient(self._random)
        self.playing: Playing | None = None
        self._action: NDArray[Any] | None = None
        self._join_again = 0.0
        self._environment_incarnation = 0
        supervision = configuration["supervision"]
        self._checkpoint_period, self._keep = parse_duration(supervision["checkpoint"]), int(supervision["keep"])
        self._metrics_period = parse_duration(configuration["metrics"]["every"])
        now = time.monotonic()
        self._next_checkpoint, self._next_metrics = now + self._checkpoint_period, now + self._metrics_period
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
            self._converse(now)
            self._keep_up(now)
        self._save()
        self._report()
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
                if self.playing is None:
                    self.transport.counters["rx.early"] += 1
                    return
                with self.shares.spent("exchange"):
                    self.neighbours.receive(received.src, message, received.arrays, now)
            elif isinstance(message, Joined):
                self._joined(message, now)
            elif self.playing is None:
                self.transport.counters["rx.early"] += 1
            elif isinstance(message, Observation):
                self._observation(received.src, message, received.arrays, now)
            elif isinstance(message, Offer):
                self.playing.offered(received.arrays, now)
        except BadMessage as error:
            self.transport.counters[f"rx.bad.{error.code}"] += 1
            logger.warning("%s from %s: %r", type(message).__name__, received.src, error)

    def _joined(self, message: Joined, now: float) -> None:
        """The environment server says what there is to see and do: build the parts, and take up where the last checkpoint ended."""
        if self.playing is not None:
            return
        playing = Playing(self.persona, message, self.neighbours, self.figures, self.shares, self._random)
        if playing.restore(self._checkpoints):
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
        if playing is None or not self.stepping.observed(server, message.tick, now):
            return
        self.faults.reached(message.steps, message.episodes)
        self._action, episodes = playing.act(arrays, self.stepping.continuous)
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
        for report in reports:
            self.control.progress.rounds = report.round
            if report.sketch is not None:
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
        if self._started and self.stepping.tick < 0 and now >= self._join_again:
            self._join_again = now + _JOIN_AGAIN
            self._to_environment(Join())
        if self.stepping.again(now):
            self.transport.counters["retry.act"] += 1
            self._send_action()
        if now >= self._next_metrics:
            self._next_metrics = now + self._metrics_period
            self._report()
        if now >= self._next_checkpoint:
            self._next_checkpoint = now + self._checkpoint_period
            self._save()

    def _obey(self, command: str) -> None:
        if command == "start":
            self._started = True
        elif command == "stop":
            self._stopped = True
        elif command == "finish":
            self._finished = True
            self._learn_no_more()
        elif command == "checkpoint":
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
        values = self.figures.take()
        if self.playing is not None:
            values |= self.playing.metrics()
        values |= self.shares.take()
        links = list(self.transport.link_counters.values())
        values |= self.figures.traffic(sum(link.sent_messages + link.received_messages for link in links))
        values["peers.alive"], values["peers"] = float(self.neighbours.alive), float(len(self.persona.surroundings.everybody))
        self.telemetry.write(self.figures.steps, self.figures.episodes, values)

    @property
    def _checkpoints(self) -> Any:
        return self._start.node_directory / "checkpoints"

    def _save(self) -> None:
        if self.playing is None:
            return
        try:
            self.playing.save(self._checkpoints, self._start.incarnation, self._keep)
        except OSError as error:
            self.control.event(
                "warning", "checkpoint.failed", f"{self.name} can't write a checkpoint: {error.strerror}; the last one stays"
            )

    def _leave(self, reason: str) -> None:
        self._stopped, self._farewell = True, reason


def _persona(start: NodeStart, configuration: Mapping[str, Any], rejoin: bool) -> Persona:
    """This agent's settings, its overrides laid over those of all agents, and its place in the graph."""
    agents = dict(configuration["agents"])
    count, overrides = agents.pop("count"), agents.pop("overrides")
    names = [f"agent-{i}" for i in range(count)]
    graph = make_graph(topology_settings(configuration["network"]["topology"]), names, start.seed)
    return Persona(
        start.node,
        start.seed,
        AgentSettings.model_validate(_merged(agents, overrides.get(start.node, {}))),
        ExchangeSettings.model_validate(configuration["exchange"]),
        graph.surroundings(start.node),
        start.incarnation,
        rejoin,
    )


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with `changes` laid over it, mapping by mapping; a component of another kind replaces the old one whole."""
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        same = isinstance(old, dict) and isinstance(value, dict) and value.get("kind", old.get("kind")) == old.get("kind")
        merged[key] = _merged(old, value) if same and isinstance(old, dict) else value
    return merged


def main(start: NodeStart) -> int:
    """Entry point of an agent's process."""
    AgentNode(start).run()
    return ExitCode.OK
