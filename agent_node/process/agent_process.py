"""The process of one agent: it joins the environment, agrees on goals, acts, learns, exchanges data with peers, and leaves.

One loop on the main thread: receive messages, answer the environment first (all agents wait for the slowest), then do the tick's share of
learning, then process the conversations with neighbours. Under `clock: wall` the agent sends messages at once, waits for no neighbour, and
writes checkpoints of its own; `LockstepAgent` exchanges messages once a tick, after all messages of its partners of the tick before have
arrived.
"""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent_node.exchange.parameter_averaging import RoundReport
from agent_node.learners.library.devices import check_devices
from agent_node.process.agent_faults import AgentProcessFaults
from agent_node.session import checkpoints
from agent_node.session.agent_session import AgentMetrics, AgentSession, PeerConversations
from agent_node.session.session_context import agent_spec_of
from protocols.conversations.membership.membership_messages import Refuse
from protocols.conversations.stepping.stepping import StepClient
from protocols.conversations.stepping.stepping_messages import Act, Goals, Join, Joined, Observation, Offer
from protocols.faults.link_effects.run_links import carry_out
from protocols.faults.node_faults.scheduled_faults import node_faults
from protocols.runtime.clock import Clock, LogicalClock
from protocols.runtime.errors import BadMessage, ExitCode, ResourceError
from protocols.runtime.node_control import Entrance
from protocols.runtime.node_start import RUN_SERVER
from protocols.runtime.seeds import Stream, generator
from protocols.runtime.settings_types import parse_duration
from protocols.runtime.telemetry import Telemetry, TimeShares
from protocols.runtime.waits import PendingWait
from protocols.spaces.layout import decode_layouts
from protocols.transport import ReceivedMessage
from protocols.wire.messages import Message

logger = logging.getLogger(__name__)
ENVIRONMENT = "env-0"
_LONGEST_WAIT = 0.05
_JOIN_AGAIN = 0.5


class AgentNode:
    """One agent's process; `run` returns when the run server stops it. `logical`: the clock of lock-step ticks; None in real time."""

    def __init__(self, entrance: Entrance, logical: LogicalClock | None = None) -> None:
        start, configuration = entrance.start, entrance.configuration
        plan, rejoin = node_faults(configuration, start.node), entrance.control.rejoin
        self.faults = AgentProcessFaults(start, plan, self._leave, logical, rejoin)
        self.clock: Clock = self.faults.clock if logical is None else logical
        self._entrance = entrance
        self._start = start
        self.name = start.node
        self.transport, self.control, self.shim = entrance.transport, entrance.control, entrance.shim
        self.agent_spec = agent_spec_of(start, configuration, rejoin)
        check_devices(self.agent_spec.settings)
        self.transport.wall = self.faults.clock.wall
        names = sorted(self.agent_spec.neighbourhood.all_neighbours)
        self.neighbours = PeerConversations(self.transport, self.name, names, self.faults, lockstep=logical is not None)
        self.telemetry = Telemetry(start.node_directory, self.transport, self.control.report, self.clock)
        self.shares = TimeShares(self.faults.pace)
        self.metrics = AgentMetrics()
        self.stepping = StepClient(generator(start.seed, self.name, Stream.RETRIES))
        self.session: AgentSession | None = None
        self._answer: dict[str, NDArray[Any]] = {}
        """frames of the newest `Act`"""
        self._join_again = 0.0
        self._rejoining = False
        """whether it restores its own checkpoint without a restart, as all agents do at the same tick; users are not notified"""
        self._environment_incarnation = 0
        self._newest_tick = -1
        """of the observations received together"""
        self._environment_counts = {"environment.steps": 0.0, "environment.episodes": 0.0}
        self._keep = int(configuration["supervision"]["keep_checkpoints"])
        self._metrics_period = parse_duration(configuration["metrics"]["every"])
        self._next_metrics = self.clock.now() + self._metrics_period
        self._checkpoint_period = parse_duration(configuration["supervision"]["checkpoint_interval"])
        self._next_checkpoint = self.clock.now() + self._checkpoint_period
        self._tick_deadline = parse_duration(configuration["environment"]["deadline"])
        self.control.waits.activity = self.shares.current
        self._started = False
        self._finished = False
        self._stopped = False
        self._leave_reason = ""
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "_stopped", True))

    # --- main loop ----------------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Run until the run server stops the agent."""
        while not self._stopped:
            with self.shares.spent("wait"):
                received = self.transport.receive(_LONGEST_WAIT)
            self.control.waits.turn(self._waits)
            self._take(received)
            now = self.faults.clock.now()
            self._converse(now)
            self._keep_up(now)
        self._close()

    def _close(self) -> None:
        self._checkpoint()
        self._report()
        self._end()

    def _end(self) -> None:
        self.telemetry.traffic()
        self.control.leave(ExitCode.OK, self._leave_reason)
        self.telemetry.close()
        self.transport.close()

    def _take(self, received: Sequence[ReceivedMessage]) -> None:
        """Handle all received messages. Of several observations the environment waits for an answer to the last one only."""
        ticks = (item.message.tick for item in received if isinstance(item.message, Observation) and self._is_current(item))
        self._newest_tick = max(ticks, default=-1)
        for item in received:
            self._handle(item)

    def _is_current(self, received: ReceivedMessage) -> bool:
        """Whether a message of the environment channel is from the current environment server."""
        return received.src == ENVIRONMENT and received.message.inc >= self._environment_incarnation

    def _handle(self, received: ReceivedMessage) -> None:
        message, now = received.message, self.faults.clock.now()
        if received.channel == "ctl":
            self.control.receive(received)
            return
        if received.channel == "env" and not self._is_current(received):
            self.transport.counters["rx.stale"] += 1
            return
        if received.channel == "env" and isinstance(message, Refuse):
            raise ResourceError(f"{received.src} refused: {message.text}")
        try:
            if received.channel == "peer":
                self._receive_peer(received, now)
            elif isinstance(message, Joined):
                self._joined(message, received.arrays, now)
            elif self.session is None:
                self.transport.counters["rx.early"] += 1
            elif isinstance(message, Observation):
                self._observation(received, message, now)
            elif isinstance(message, Offer):
                self._receive_offer(message, received.arrays, self.session, now)
        except BadMessage as error:
            self.transport.refuse(received, error)

    def _receive_peer(self, received: ReceivedMessage, now: float) -> None:
        """A message of a peer has arrived."""
        if self.session is None:
            self.transport.counters["rx.early"] += 1
            return
        with self.shares.spent("exchange"):
            self.neighbours.receive(received.src, received.message, received.arrays, now)

    def _receive_offer(self, message: Offer, arrays: Mapping[str, NDArray[Any]], session: AgentSession, now: float) -> None:
        """The environment server offers episodes."""
        session.offered(arrays, now)

    def _resume(self, message: Joined, found: checkpoints.Checkpoint | None) -> bool:
        """The agent has joined, and continues from its checkpoint: whether all agents continue from the same one."""
        return False

    def _joined(self, message: Joined, arrays: Mapping[str, NDArray[Any]], now: float) -> None:
        """The layout of the environment has arrived: construct the session, and restore the newest checkpoint."""
        if self.session is not None:
            return
        found = checkpoints.read_newest(self._checkpoints)
        resumed = self._resume(message, found)
        agent_spec = replace(self.agent_spec, incarnation=self.faults.incarnation, rejoin=self.control.rejoin)
        layouts = decode_layouts(arrays, message.members)
        session = AgentSession(agent_spec, message, self.neighbours, self.metrics, self.shares, self.clock, found, resumed, layouts)
        if found is not None and not self._rejoining:
            text = f"{self.name} goes on from its checkpoint at {session.trainer.updates} updates, {self.metrics.episodes} episodes"
            self.control.event("info", "node.restored", text)
        elif found is None and self._start.incarnation > 1:
            text = f"{self.name} starts without a checkpoint: none was written yet (supervision.checkpoint_interval sets how often)"
            self.control.event("warning", "node.anew", text)
        self.session = session
        # Members of episodes with more than two members exchange messages whether they are neighbours or not.
        self.transport.guard.only(None if message.party > 2 else self.neighbours.names)
        self.neighbours.follow(self.control.roster, now)
        self.control.progress.phase = "acting"
        self._end_training()

    def _observation(self, received: ReceivedMessage, message: Observation, now: float) -> None:
        """A tick begins: act, then learn. A tick that is already over (`environment.deadline`) is only recorded: an agent that answered and
        learnt from each of them in turn would never catch up."""
        session, arrays = self.session, received.arrays
        if self.shim is not None:
            self.shim.progress(time.monotonic(), message.steps, message.episodes)  # links use the true time with either clock
        if session is None or not self.stepping.observed(received.src, message.tick, now):
            return
        self._environment_counts = {"environment.steps": float(message.steps), "environment.episodes": float(message.episodes)}
        self._reached(message, arrays)
        if self._stopped:
            return
        over = message.tick < self._newest_tick
        action, episodes = session.act(arrays, self.stepping.continuous, answer=not over)
        self._answer = {"action": action}
        if (restart := session.actor.restart) is not None:
            self._answer["restart"] = restart.astype(np.uint8)
        if over:
            self.stepping.acted = True  # a stand-in has, and the next observation contains its action
        elif message.phase != "checkpoint":
            self.stepping.act(now)
            self._send_action()
        # The environment server counts the updates from a dataset by the answers to ticks of training, and a checkpoint's tick has none.
        counted = message.phase == "training" or self.agent_spec.dataset is None
        session.learn(arrays, episodes, action, train=counted and not over)
        progress = self.control.progress
        progress.ticks, progress.updates, progress.episodes = self.stepping.tick, session.trainer.updates, self.metrics.episodes

    def _send_action(self) -> None:
        tick, waits = self.stepping.tick, self.session is not None and self.session.waits
        self._to_environment(Act(tick=tick, rid=f"{self.name}/{tick}", waits=waits), self._answer)

    def _reached(self, message: Observation, arrays: Mapping[str, NDArray[Any]]) -> None:
        """The run has come so far: what the fault schedule has for this moment happens, and may stop this agent."""
        self.faults.reached(message.steps, message.episodes)

    def _converse(self, now: float) -> None:
        """Process the conversations with neighbours and the environment server."""
        if self.session is None:
            return
        answers, reports = self.session.converse(self.stepping.tick, now)
        if answers is not None:
            self._to_environment(Goals(), answers)
        self.neighbours.flush()
        self._averaged(reports)

    def _averaged(self, reports: Sequence[RoundReport]) -> None:
        for report in reports:
            self.control.progress.rounds = report.round
            if self.shim is not None:
                self.shim.progress(time.monotonic(), round=report.round)
            if report.sketch is not None and self.session is not None:
                values = {"consensus.round": float(report.common_round)}
                self.telemetry.write(self.session.trainer.updates, self.metrics.episodes, values, {"sketch": report.sketch})
        for mixed in () if self.session is None else self.session.mixed():
            values = {"statistics.round": float(mixed.round)}
            self.telemetry.write(self.metrics.steps, self.metrics.episodes, values, {"sketch": mixed.sketch})

    def _to_environment(self, message: Message, arrays: Any = None) -> None:
        self.transport.try_send("env", ENVIRONMENT, message, arrays)

    def _waits(self) -> list[PendingWait]:
        """What this agent waits for now."""
        shift = time.monotonic() - self.faults.clock.now()
        return [wait.shifted(shift) for wait in [*self._environment_waits(), *self.neighbours.waits()]]

    def _environment_waits(self) -> list[PendingWait]:
        """What it waits for from the run server or the environment server."""
        if not self._started and self.session is None:
            return [PendingWait("the start of the run", (RUN_SERVER,))]
        if self.session is None:
            return [PendingWait("the answer to its request to join", (ENVIRONMENT,))]
        if (since := self.stepping.acted_at) is not None:
            what = f"the observation after tick {self.stepping.tick}"
            return [PendingWait(what, (ENVIRONMENT,), since, since + self._tick_deadline)]
        return [PendingWait("the first observation", (ENVIRONMENT,))] if self.stepping.tick < 0 else []

    # --- what is due --------------------------------------------------------------------------------------------------------------

    def _keep_up(self, now: float) -> None:
        for command in self.control.commands():
            self._obey(command)
        if orders := self.control.faults():
            self.shim, orders = carry_out(self._entrance, self.shim, orders)
            self.faults.executor.apply_order(orders)
        if self.control.roster_changed:
            self.control.roster_changed = False
            self._environment_moved()
            self.neighbours.follow(self.control.roster, now)
        self.control.tick(time.monotonic())
        if self.shim is not None:
            self.shim.progress(time.monotonic())
        if self._started and self.stepping.tick < 0 and now >= self._join_again:
            self._join_again = now + _JOIN_AGAIN
            self._to_environment(Join())
        if self.stepping.again(now):
            self.transport.counters["retry.act"] += 1
            self._send_action()
        self._write_due(now)

    def _write_due(self, now: float) -> None:
        self._write_metrics(now)
        if now >= self._next_checkpoint:
            self._next_checkpoint = now + self._checkpoint_period
            self._checkpoint()

    def _write_metrics(self, now: float) -> None:
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
        elif command == "finish":
            self._finished = True
            if self.shim is not None:
                self.shim.heal()
            self._end_training()
        elif command == "checkpoint":
            self._checkpoint()

    def _end_training(self) -> None:
        """Training is over, perhaps before this agent (which was restarted) has joined the environment."""
        if self._finished and self.session is not None:
            trainer = self.session.trainer
            if trainer.on and (text := trainer.imagination_unused_reason):
                self.control.event("warning", "model.unused", text)
            if trainer.on and (text := trainer.no_update_reason):
                self.control.event("warning", "learner.idle", text)
            trainer.on = False
            self.control.progress.phase = "evaluation"

    def _environment_moved(self) -> None:
        """Connect to the environment server, and join it anew when it is another process than before."""
        entry = self.control.roster.get(ENVIRONMENT)
        if entry is None or not entry.endpoint or entry.inc <= self._environment_incarnation:
            return
        self._environment_incarnation = entry.inc
        self.transport.connect("env", ENVIRONMENT, entry.endpoint, entry.key)
        self.stepping.reset()
        self._join_again = 0.0

    def _report(self) -> None:
        links = list(self.transport.link_counters.values())
        usage = self.metrics.speed() | self.shares.take()
        usage |= self.metrics.traffic(sum(link.sent_messages + link.received_messages for link in links))
        values, frames = self.metrics.take(), {}
        if self.session is not None:
            values |= self.session.metrics() | self._environment_counts
            frames = self.session.frames()
            for warning in self.session.trainer.take_warnings():
                self.control.event("warning", warning.code, warning.text)
        values["peers.alive"], values["peers"] = float(self.neighbours.alive), float(len(self.agent_spec.neighbourhood.all_neighbours))
        self.telemetry.write(self.metrics.steps, self.metrics.episodes, values, frames, usage)

    @property
    def _checkpoints(self) -> Path:
        return self._start.node_directory / "checkpoints"

    def _checkpoint(self) -> None:
        """Under the number of updates."""
        if self.session is not None:
            self._save(self.session, self.session.trainer.updates, {"incarnation": self._start.incarnation})

    def _save(self, session: AgentSession, step: int, more: Mapping[str, Any]) -> None:
        """Keep what has been learnt, under the number `step`; `more` goes into the manifest."""
        try:
            session.save(self._checkpoints, step, self._keep, more)
        except OSError as error:
            self.control.event(
                "warning", "checkpoint.failed", f"{self.name} can't write a checkpoint: {error.strerror}; the last one stays"
            )

    def _leave(self, reason: str) -> None:
        self._stopped, self._leave_reason = True, reason
