"""The life of an agent: join, agree on goals, act, learn, tell the others, average, leave.

One loop on the main thread: take what has arrived, answer the environment first (everybody waits for the slowest), then do the tick's
share of learning, then let the conversations with neighbours move on. Nothing in it waits for a neighbour.
"""

from __future__ import annotations

import logging
import signal
import time
from typing import Any

from numpy.typing import NDArray
from pydantic import TypeAdapter

from agent_node import checkpoints
from agent_node.acting import Actor
from agent_node.averaging import Averaging, Counts
from agent_node.buffers.episodes import Episode
from agent_node.figures import Figures
from agent_node.goal_exchange import GoalExchange
from agent_node.hindsight_exchange import HindsightExchange
from agent_node.neighbours import Neighbours
from agent_node.parts import Parts
from agent_node.settings import AgentSettings, ExchangeSettings
from agent_node.training import Trainer
from protocols.control import NodeControl
from protocols.errors import BadMessage, ExitCode, ResourceError
from protocols.launch import NodeStart
from protocols.links import write_links
from protocols.messages import Act, Goals, Join, Joined, Message, Observation, Offer, Refuse
from protocols.negotiation.proposals import Negotiation
from protocols.retries import RetryTimers
from protocols.seeds import Stream, generator
from protocols.settings import parse_duration
from protocols.stepping import StepClient
from protocols.telemetry import Telemetry, TimeShares
from protocols.topology import TopologySettings, build, metropolis_weights
from protocols.transport import Identity, Received, Transport

logger = logging.getLogger(__name__)
ENVIRONMENT = "env-0"
_LONGEST_WAIT = 0.05


class AgentNode:
    """One agent's process; `run` lives until the run server says stop."""

    def __init__(self, start: NodeStart) -> None:
        self._start = start
        self.name = start.node
        self.transport = Transport(Identity(start.run, start.node, start.incarnation))
        self.control = NodeControl(start, self.transport, self.transport.bind("peer"))
        self._configuration = self.control.join()
        agents = dict(self._configuration["agents"])
        count, overrides = agents.pop("count"), agents.pop("overrides")
        self.settings = AgentSettings.model_validate(_merged(agents, overrides.get(self.name, {})))
        self.exchange = TypeAdapter(ExchangeSettings).validate_python(self._configuration["exchange"])
        self._members = [f"agent-{i}" for i in range(count)]
        graph = build(TopologySettings.model_validate(self._configuration["network"]["topology"]), self._members)
        weights = metropolis_weights(graph)[self._members.index(self.name)]
        self._weights = {peer: float(weights[self._members.index(peer)]) for peer in graph.neighbors(self.name)}
        self.neighbours = Neighbours(self.transport, self.name, sorted(self._weights))
        self.telemetry = Telemetry(start.node_directory, self.transport)
        self.time = TimeShares()
        self.figures = Figures()
        random = generator(start.seed, self.name, Stream.TRANSPORT)
        self._timers = RetryTimers(random)
        self.stepping = StepClient(random)
        self.parts: Parts | None = None
        self._random = random
        self._action: NDArray[Any] | None = None
        self._join_again = 0.0
        self._environment_incarnation = 0
        supervision = self._configuration["supervision"]
        self._checkpoint_period = parse_duration(supervision["checkpoint"])
        self._keep = int(supervision["keep"])
        self._metrics_period = parse_duration(self._configuration["metrics"]["every"])
        now = time.monotonic()
        self._next_checkpoint, self._next_metrics = now + self._checkpoint_period, now + self._metrics_period
        self._started = False
        self._stopped = False
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "_stopped", True))

    # --- main loop ----------------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Until told to stop."""
        while not self._stopped:
            with self.time.spent("wait"):
                received = self.transport.receive(_LONGEST_WAIT)
            for item in received:
                self._handle(item)
            now = time.monotonic()
            self._converse(now)
            self._keep_up(now)
        if self.parts is not None:
            self._save()
        self._report()
        write_links(self._start.node_directory, self.transport)
        self.control.leave(ExitCode.OK)
        self.telemetry.close()
        self.transport.close()

    def _handle(self, received: Received) -> None:
        message = received.message
        if received.channel == "ctl":
            self.control.receive(received)
            return
        try:
            if isinstance(message, Observation):
                self._observation(received)
            elif isinstance(message, Joined):
                self._joined(message)
            elif isinstance(message, Offer) and self.parts is not None and self.goals is not None:
                self.goals.offered(dict(received.arrays), self._members, time.monotonic())
            elif isinstance(message, Refuse):
                raise ResourceError(f"{received.src} refused: {message.text}")
            elif received.channel == "peer" and self.parts is not None:
                with self.time.spent("exchange"):
                    self.neighbours.receive(received.src, message, received.arrays, time.monotonic())
        except (BadMessage, KeyError, IndexError) as error:
            self.transport.counters["rx.bad.E_FRAME"] += 1
            logger.warning("%s from %s: %s", type(message).__name__, received.src, error)

    # --- joining ------------------------------------------------------------------------------------------------------------------

    def _joined(self, message: Joined) -> None:
        """The environment server says what there is to see and do: build the parts, and take up where the last checkpoint ended."""
        if self.parts is not None:
            return
        self._members = list(message.members)
        self.parts = parts = Parts.build(self.settings, self.exchange, message.layout, message.copies, self.name, self._start.seed)
        self.actor = Actor(parts, message.copies)
        self.trainer = Trainer(parts, self.time)
        self.goals: GoalExchange | None = None
        self.hindsight: HindsightExchange | None = None
        self.averaging: Averaging | None = None
        if parts.source is not None and parts.space is not None:
            negotiation = None
            if self.exchange.negotiation is not None and parts.game is not None:
                negotiation = Negotiation(self._random, self.exchange.negotiation.deadline, parts.game.settings.messages)
                self.neighbours.add(negotiation)
            self.goals = GoalExchange(self.name, self._start.seed, parts.source, parts.game, negotiation)
            if self.exchange.hindsight is not None:
                self.hindsight = HindsightExchange(self.exchange.hindsight, parts.space, parts.buffer, self._random)
                self.neighbours.add(self.hindsight.machine)
        if self.exchange.consensus is not None and self._weights:
            self.averaging = Averaging(self.exchange.consensus, self._weights, parts.learner, parts.model)
            self.neighbours.add(self.averaging.machine)
        self._restore(parts)
        self.neighbours.follow(self.control.roster, time.monotonic())
        self.control.progress.phase = "acting"

    def _restore(self, parts: Parts) -> None:
        found = checkpoints.read_newest(self._start.node_directory / "checkpoints")
        if found is None:
            return
        tensors, manifest = found
        try:
            parts.load(tensors, manifest)
        except (ValueError, KeyError) as error:
            raise ResourceError(f"the checkpoint of {self.name} does not fit this configuration: {error}") from None
        self.trainer.updates, self.trainer.fits = int(manifest["updates"]), int(manifest["fits"])
        self.figures.episodes, self.figures.steps = int(manifest["episodes"]), int(manifest["steps"])
        text = f"{self.name} goes on from its checkpoint at {self.trainer.updates} updates, {self.figures.episodes} episodes"
        self.control.event("info", "node.restored", text)

    # --- a tick -------------------------------------------------------------------------------------------------------------------

    def _observation(self, received: Received) -> None:
        now = time.monotonic()
        if self.parts is None or not isinstance(received.message, Observation):
            return
        if not self.stepping.observed(received.src, received.message.tick, now):
            return
        with self.time.spent("act"):
            self._action, episodes = self.actor.observe(received.arrays, self.stepping.continuous)
            self._send_action(now)
        self.figures.observed(received.arrays)
        for episode in episodes:
            self._finished(episode)
        self.trainer.tick()
        progress = self.control.progress
        progress.ticks, progress.updates, progress.episodes = self.stepping.tick, self.trainer.updates, self.figures.episodes

    def _send_action(self, now: float) -> None:
        self._post("env", ENVIRONMENT, Act(tick=self.stepping.tick, rid=f"{self.name}/{self.stepping.tick}"), {"action": self._action})
        self.stepping.act(now)

    def _finished(self, episode: Episode) -> None:
        """An own episode ended: remember it, tell the partners, let goal source and table learn."""
        if self.parts is None:
            return
        agreement = self.goals.agreement(episode.number) if self.goals is not None else None
        if agreement is not None:
            episode.message, episode.role = agreement.message, int(agreement.leader == self.name)
            episode.negotiated = agreement.negotiated
        self.figures.finished(episode, self.parts.space)
        if self.goals is not None:
            self.goals.finished(episode.number, episode.total_reward, learn=not (episode.evaluation or episode.peer_lost))
        if episode.evaluation:
            return
        self.parts.buffer.add(episode)
        if self.hindsight is not None and agreement is not None and not episode.peer_lost:
            self.hindsight.finished(episode, agreement.others, time.monotonic())

    # --- conversations --------------------------------------------------------------------------------------------------------------

    def _converse(self, now: float) -> None:
        """Let the conversations act on what they have heard, and send what they have to say."""
        if self.parts is None:
            return
        with self.time.spent("exchange"):
            self.neighbours.tick(now)
            if self.goals is not None:
                self.goals.settle()
                answers = self.goals.answers()
                if answers is not None:
                    self._post("env", ENVIRONMENT, Goals(), answers)
            if self.hindsight is not None:
                self.hindsight.attach()
            if self.averaging is not None and self.trainer.on:
                counts = Counts(self.trainer.updates, self.figures.episodes, self.stepping.tick, now)
                self.averaging.consider(counts, now)
                for report in self.averaging.apply():
                    self.control.progress.rounds = report.round
                    self.figures.averaged(report)
                    if report.sketch is not None:
                        values = {"consensus.round": float(report.round)}
                        self.telemetry.write(self.trainer.updates, self.figures.episodes, values, {"sketch": report.sketch})
            self.neighbours.flush()

    def _post(self, channel: Any, name: str, message: Message, arrays: Any) -> None:
        self.transport.try_send(channel, name, message, arrays)

    # --- what is due --------------------------------------------------------------------------------------------------------------

    def _keep_up(self, now: float) -> None:
        for command in self.control.commands():
            self._obey(command)
        if self.control.roster_changed:
            self.control.roster_changed = False
            self._environment_moved()
            self.neighbours.follow(self.control.roster, now)
        self.control.tick(now)
        if self._started and self.stepping.tick < 0 and now >= self._join_again:
            self._join_again = now + 0.5
            self._post("env", ENVIRONMENT, Join(), None)
        if self.stepping.again(now):
            self.transport.counters["retry.act"] += 1
            self._post("env", ENVIRONMENT, Act(tick=self.stepping.tick, rid=f"{self.name}/{self.stepping.tick}"), {"action": self._action})
        if now >= self._next_metrics:
            self._next_metrics = now + self._metrics_period
            self._report()
        if self.parts is not None and now >= self._next_checkpoint:
            self._next_checkpoint = now + self._checkpoint_period
            self._save()

    def _obey(self, command: str) -> None:
        if command == "start":
            self._started = True
        elif command == "stop":
            self._stopped = True
        elif command == "finish" and self.parts is not None:
            self.trainer.on = False
            self.control.progress.phase = "evaluation"
        elif command == "checkpoint" and self.parts is not None:
            self._save()

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
        if self.parts is not None:
            values |= self.trainer.take_metrics()
            values["buffer.transitions"] = float(len(self.parts.buffer))
            values["updates"] = float(self.trainer.updates)
            if self.goals is not None:
                values |= self.goals.figures()
        values |= self.time.take()
        links = self.transport.link_counters.values()
        values |= self.figures.traffic(sum(link.sent_messages + link.received_messages for link in list(links)))
        values["peers.alive"], values["peers"] = float(self.neighbours.alive), float(len(self._weights))
        self.telemetry.write(self.figures.steps, self.figures.episodes, values)

    def _save(self) -> None:
        if self.parts is None:
            return
        with self.time.spent("checkpoint"):
            tensors, manifest = self.parts.state()
            manifest |= {
                "node": self.name,
                "incarnation": self._start.incarnation,
                "updates": self.trainer.updates,
                "fits": self.trainer.fits,
                "episodes": self.figures.episodes,
                "steps": self.figures.steps,
            }
            checkpoints.write(self._start.node_directory / "checkpoints", self.trainer.updates, tensors, manifest, self._keep)


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with `changes` laid over it, mapping by mapping."""
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        merged[key] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def main(start: NodeStart) -> int:
    """Entry point of an agent's process."""
    AgentNode(start).run()
    return ExitCode.OK
