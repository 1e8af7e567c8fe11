"""An agent under `clock: wall`: it sends messages at once, waits for no neighbour, and writes checkpoints of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from agent_node.process.agent_faults import AgentProcessFaults
from agent_node.process.agent_process import AgentNode
from agent_node.session import checkpoints
from agent_node.session.agent_session import AgentSession
from protocols.conversations.stepping.stepping_messages import Goals, Joined, Offer
from protocols.faults.node_faults.scheduled_faults import node_faults
from protocols.runtime.entrance import Entrance
from protocols.runtime.settings_types import parse_duration
from protocols.transport import ReceivedMessage


class RealTimeAgent(AgentNode):
    """Free-running: messages are handled when they arrive, without waiting."""

    def __init__(self, entrance: Entrance) -> None:
        start, configuration = entrance.start, entrance.configuration
        faults = AgentProcessFaults(start, node_faults(configuration, start.node), self._leave, rejoin=entrance.control.rejoin)
        super().__init__(entrance, faults, faults.clock)
        self._checkpoint_period = parse_duration(configuration["supervision"]["checkpoint_interval"])
        self._next_checkpoint = self.clock.now() + self._checkpoint_period

    def _receive_peer(self, received: ReceivedMessage, now: float) -> None:
        if self.session is None:
            self.transport.counters["rx.early"] += 1
            return
        with self.shares.spent("exchange"):
            self.neighbours.receive(received.src, received.message, received.arrays, now)

    def _receive_offer(self, message: Offer, arrays: Mapping[str, NDArray[Any]], session: AgentSession, now: float) -> None:
        session.offered(arrays, now)

    def _converse(self, now: float) -> None:
        if self.session is None:
            return
        answers, reports = self.session.converse(self.stepping.tick, now)
        if answers is not None:
            self._to_environment(Goals(), answers)
        self.neighbours.flush()
        self._averaged(reports)

    def _resume(self, message: Joined, found: checkpoints.Checkpoint | None) -> bool:
        return False  # every agent has a checkpoint of its own, or none

    # --- what is due ----------------------------------------------------------------------------------------------------------------

    def _keep_up(self, now: float) -> None:
        super()._keep_up(now)
        self._write_due(now)
        if now >= self._next_checkpoint:
            self._next_checkpoint = now + self._checkpoint_period
            self._checkpoint()

    def _obey(self, command: str) -> None:
        super()._obey(command)
        if command == "finish":
            self._finished = True
            if self.shim is not None:
                self.shim.heal()
            self._end_training()
        elif command == "checkpoint":
            self._checkpoint()

    def _checkpoint(self) -> None:
        """Under the number of updates."""
        if self.session is not None:
            self._save(self.session, self.session.trainer.updates, {"incarnation": self._start.incarnation})

    def _close(self) -> None:
        self._checkpoint()
        self._report()
        super()._close()
