"""An agent under `clock: logical`: it acts and learns at every tick as soon as possible, and exchanges messages once a tick with its
partners.

Each observation states which agents take part, whether training is over, and whether all agents write a checkpoint. After a checkpoint the
agent joins again, as if it had been started from the checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from agent_node.process.agent_faults import AgentProcessFaults
from agent_node.process.agent_process import AgentNode
from agent_node.process.tick_barrier import IntervalLinks, LockstepExchange, TickBarrier
from agent_node.session import checkpoints
from agent_node.session.agent_session import AgentSession
from protocols.conversations.stepping.stepping_messages import Goals, Joined, Observation, Offer
from protocols.faults.node_faults.scheduled_faults import node_faults
from protocols.runtime.atomic_files import kept_sizes
from protocols.runtime.clock import LogicalClock
from protocols.runtime.entrance import Entrance
from protocols.runtime.errors import ResourceError
from protocols.runtime.settings_types import parse_duration
from protocols.transport import ReceivedMessage


class LockstepAgent(AgentNode):
    """In step with its partners: their messages are handled at their tick."""

    def __init__(self, entrance: Entrance) -> None:
        start, configuration, rejoin = entrance.start, entrance.configuration, entrance.control.rejoin
        clock = LogicalClock(parse_duration(configuration["tick"]))
        faults = AgentProcessFaults(start, node_faults(configuration, start.node), self._leave, clock, rejoin)
        self.links = IntervalLinks(configuration, start, faults.incarnation)
        lockstep = TickBarrier(clock.length, self.links)
        super().__init__(entrance, faults, clock, lockstep=True)
        self.transport.guard.takes_news = True  # a lost message is not repeated here
        self.together = LockstepExchange(clock, lockstep, self.neighbours, self.transport, self.name)
        self._held: ReceivedMessage | None = None
        """the observation of the tick after that which is not over"""
        self._start_tick = self.control.checkpoint

    # --- receiving ------------------------------------------------------------------------------------------------------------------

    def _receive_peer(self, received: ReceivedMessage, now: float) -> None:
        self.together.lockstep.receive(received.src, received.message, received.arrays)

    def _receive_offer(self, message: Offer, arrays: Mapping[str, NDArray[Any]], session: AgentSession, now: float) -> None:
        self.together.offered(message, arrays)

    def _observation(self, received: ReceivedMessage, message: Observation, now: float) -> None:
        if self.together.conversing:
            self._held = received
        else:
            super()._observation(received, message, now)

    def _reached(self, message: Observation, arrays: Mapping[str, NDArray[Any]]) -> None:
        self.together.observed(message, arrays)
        super()._reached(message, arrays)
        if self._stopped:
            return
        self.links.reached(message.tick, self.clock.now(), message.steps, message.episodes)
        if message.phase == "evaluation" and not self._finished:
            self._finished = True
            self._end_training()

    # --- exchange of a tick ---------------------------------------------------------------------------------------------------------

    def _converse(self, now: float) -> None:
        """When all messages of the partners of the tick before have arrived."""
        together = self.together
        together.flush()
        observation = together.ready()
        if self.session is None or observation is None:
            return
        virtual = self.clock.now()
        with self.shares.spent("exchange"):
            together.receive_due(self.session.offered)
        answers, reports = self.session.converse(observation.tick, virtual)
        self._averaged(reports)
        if observation.phase == "checkpoint":
            self._rejoin_from_checkpoint(self.session, observation.tick)
            return
        if answers is not None:
            self._to_environment(Goals(sent=observation.tick), answers)
        together.send_due()
        together.flush()
        self._write_due(virtual)
        if (held := self._held) is not None:
            self._held = None
            self._handle(held)

    # --- checkpoints ----------------------------------------------------------------------------------------------------------------

    def _rejoin_from_checkpoint(self, session: AgentSession, tick: int) -> None:
        """All agents and the environment server are at this tick: write a checkpoint, drop what is in progress, and continue from the
        checkpoint as after a start from it."""
        self._averaged(session.settle())
        self._report()
        self.links.close()
        self._save(session, tick, {"files": kept_sizes(self._start.node_directory)})
        self.together.end_interval()
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
        self.together.joined(message)
        self._next_metrics = self.clock.now() + self._metrics_period
        return resumed

    def _close(self) -> None:
        self.links.close()
        super()._close()
