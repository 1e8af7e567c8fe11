"""An agent under `clock: logical`: it acts and learns at every tick as soon as possible, and exchanges messages once a tick with its
partners, at the same tick as they do.

Acting and learning wait for no partner; the exchange of tick T waits for the partners' markers of T - 1. Each observation states which
agents take part, whether training is over, and whether all agents write a checkpoint. After a checkpoint the agent joins again, as if it
had been started from the checkpoint.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from agent_node.process.agent_process import AgentNode
from agent_node.process.tick_barrier import IntervalLinks, TickBarrier
from agent_node.session import checkpoints
from agent_node.session.agent_session import AgentSession
from protocols.conversations.conversation import column
from protocols.conversations.stepping.stepping_messages import Goals, Joined, Observation, Offer
from protocols.runtime.atomic_files import kept_sizes
from protocols.runtime.clock import LogicalClock
from protocols.runtime.errors import ResourceError
from protocols.runtime.node_control import Entrance
from protocols.runtime.settings_types import parse_duration
from protocols.runtime.waits import PendingWait
from protocols.transport import ReceivedMessage

logger = logging.getLogger(__name__)
LONG = 5.0
"""real seconds of waiting for partners after which a warning is logged"""


class LockstepAgent(AgentNode):
    """In step with its partners: their messages are handled at their tick."""

    clock: LogicalClock

    def __init__(self, entrance: Entrance) -> None:
        super().__init__(entrance, LogicalClock(parse_duration(entrance.configuration["tick"])))
        self.links = IntervalLinks(entrance.configuration, entrance.start, self.faults.incarnation)
        self.barrier = TickBarrier(self.clock.length, self.links)
        self.transport.guard.takes_news = True  # a lost message is not repeated here
        self._members: list[str] = []
        self._partners: frozenset[str] = frozenset()
        self._known: dict[str, int] = {}
        """incarnations of the partners that take part"""
        self._offers: list[tuple[int, Mapping[str, NDArray[Any]]]] = []
        """offers wait for the exchange of their tick: they arrive before that tick's observation, possibly during the exchange of the
        tick before"""
        self._due: Observation | None = None
        """the tick whose exchange is not over: the next tick has to wait"""
        self._since, self._warned = 0.0, False
        self._held: ReceivedMessage | None = None
        """the observation of the tick after that which is not over"""
        self._start_tick = self.control.checkpoint

    # --- receiving ------------------------------------------------------------------------------------------------------------------

    def _receive_peer(self, received: ReceivedMessage, now: float) -> None:
        self.barrier.receive(received.src, received.message, received.arrays)

    def _receive_offer(self, message: Offer, arrays: Mapping[str, NDArray[Any]], session: AgentSession, now: float) -> None:
        self._offers.append((message.sent, arrays))

    def _observation(self, received: ReceivedMessage, message: Observation, now: float) -> None:
        if self._due is not None:
            self._held = received
        else:
            super()._observation(received, message, now)

    def _reached(self, message: Observation, arrays: Mapping[str, NDArray[Any]]) -> None:
        """A tick begins: update the partners that take part; its exchange is due. `BadMessage` if the observation does not list them."""
        given = column(arrays, "lives", "u2", len(self._members))
        self.clock.tick = message.tick
        self._due = message
        self._since, self._warned = time.monotonic(), False
        self._update_partners({name: inc for name, inc in zip(self._members, given.tolist(), strict=True) if inc}, message.tick)
        super()._reached(message, arrays)
        if self._stopped:
            return
        self.links.reached(message.tick, self.clock.now(), message.steps, message.episodes)
        if message.phase == "evaluation" and not self._finished:
            self._finished = True
            self._end_training()

    def _update_partners(self, incarnations: Mapping[str, int], tick: int) -> None:
        now = self.clock.now()
        for name in sorted(self._partners):
            incarnation = incarnations.get(name)
            if self._known.get(name) == incarnation:
                continue
            if name in self._known:
                del self._known[name]
                self.barrier.peer_left(name)
                self.neighbours.peer_left(name, now)
            if incarnation is not None:
                self._known[name] = incarnation
                self.barrier.peer_joined(name, tick)
                self.neighbours.peer_joined(name, incarnation, now)
                self.neighbours.reach(name)

    # --- exchange of a tick ---------------------------------------------------------------------------------------------------------

    def _converse(self, now: float) -> None:
        """When all messages of the partners of the tick before have arrived."""
        self._flush()
        if not self._ready() or self.session is None or (observation := self._due) is None:
            return
        virtual = self.clock.now()
        with self.shares.spent("exchange"):
            self._receive_due(self.session, virtual)
        answers, reports = self.session.converse(observation.tick, virtual)
        self._averaged(reports)
        if observation.phase == "checkpoint":
            self._rejoin_from_checkpoint(self.session, observation.tick)
            return
        if answers is not None:
            self._to_environment(Goals(sent=observation.tick), answers)
        self.barrier.send_due(self.neighbours.outgoing(), self.clock.tick)
        self._flush()
        self._write_metrics(virtual)
        if (held := self._held) is not None:
            self._held = None
            self._handle(held)

    def _flush(self) -> None:
        """Hand to the transport what it did not accept before."""
        for name in self.barrier.waiting():
            self.neighbours.reach(name)
        self.barrier.flush(self.transport)

    def _ready(self) -> bool:
        """Whether the exchange of a tick can begin now."""
        if self._due is None:
            return False
        missing = self.barrier.missing(self._due.tick - 1)
        if missing and not self._warned and time.monotonic() > self._since + LONG:
            self._warned = True
            logger.warning("tick %d waits for the messages of %s of the tick before", self._due.tick, ", ".join(missing))
        return not missing

    def _receive_due(self, session: AgentSession, now: float) -> None:
        """Handle what has arrived by this tick: offers, then the partners' messages."""
        self._due = None
        tick = self.clock.tick
        offers, self._offers = self._offers, [offer for offer in self._offers if offer[0] > tick]
        for sent, arrays in offers:
            if sent <= tick:
                session.offered(arrays, now)
        for src, message, arrays in self.barrier.take(tick):
            message.inc = self._known[src]
            self.neighbours.receive(src, message, arrays, now)

    def _waits(self) -> list[PendingWait]:
        """Conversations wait by virtual time, which stands still with the tick: what counts is which partners' messages are missing."""
        waits = self._environment_waits()
        if self._due is not None and (missing := self.barrier.missing(self._due.tick - 1)):
            waits.append(PendingWait(f"the messages of tick {self._due.tick - 1}", tuple(sorted(missing)), self._since))
        return waits

    # --- checkpoints ----------------------------------------------------------------------------------------------------------------

    def _rejoin_from_checkpoint(self, session: AgentSession, tick: int) -> None:
        """All agents and the environment server are at this tick: write a checkpoint, drop what is in progress, and continue from the
        checkpoint as after a start from it."""
        self._averaged(session.settle())
        self._report()
        self.links.close()
        self._save(session, tick, {"files": kept_sizes(self._start.node_directory)})
        self.barrier.reset()
        self.neighbours.end_interval()
        self._known.clear()
        self._offers.clear()
        self.session, self._rejoining = None, True
        self._start_tick = tick
        self.control.rejoin = False
        self.stepping.reset()
        self._join_again = 0.0

    def _resume(self, message: Joined, found: checkpoints.Checkpoint | None) -> bool:
        resumed, own = not self.control.rejoin, -1 if found is None else int(found.manifest["step"])
        if resumed and self._start_tick != own:
            raise ResourceError(f"{self.name} has no whole checkpoint of tick {self._start_tick}, from which the run goes on")
        # A rejoining agent resumes from the newest common checkpoint: either all agents write one, or none does.
        self._start_tick = own
        self.links.begin(self._start_tick)
        # Where an episode has more than two members, all members of the run are partners.
        self._members = list(message.members)
        self._partners = frozenset(self._members if message.party > 2 else self.neighbours.names) - {self.name}
        self.clock.tick = message.tick
        self._next_metrics = self.clock.now() + self._metrics_period
        return resumed

    # --- what is not done by real time ----------------------------------------------------------------------------------------------

    def _write_due(self, now: float) -> None:
        """Metrics are written after the exchange of a tick, checkpoints at a tick that the environment server sets."""

    def _obey(self, command: str) -> None:
        if command in ("start", "stop"):
            super()._obey(command)

    def _close(self) -> None:
        self.links.close()
        self._end()
