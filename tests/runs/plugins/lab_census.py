"""A plugin with a whole conversation: neighbours send each other how many updates they have made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from agent_node.contracts import Component, Metrics
from agent_node.session.session_context import SessionContext
from protocols.conversations.conversation import EdgeConversation, Send, column
from protocols.runtime.component_registry import register
from protocols.runtime.settings_types import ComponentSettings
from protocols.wire.message_registry import register_conversation, route
from protocols.wire.messages import Count, Message


class Census(Message):
    """Agent -> neighbours: `updates[1] i8`. LW by `number`."""

    number: Count


register_conversation("census", route("peer", "agent", "agent", Census), newest_only=(Census,))


class CensusConversation(EdgeConversation[None]):
    """Sends the own count to all living neighbours."""

    message_types = (Census,)

    def __init__(self) -> None:
        super().__init__()
        self.known: dict[str, int] = {}
        self._alive: set[str] = set()
        self._number = 0

    def share(self, updates: int) -> None:
        """Send the own count."""
        self._number += 1
        for peer in sorted(self._alive):
            self._sends.append(Send(peer, Census(number=self._number), {"updates": np.array([updates], np.int64)}))

    def _receive(self, src: str, message: Message, arrays: Mapping[str, NDArray[Any]], now: float) -> None:
        self.known[src] = int(column(arrays, "updates", "i8", 1)[0])

    def tick(self, now: float) -> None:
        """Nothing has a deadline."""

    def peer_dead(self, peer: str, now: float) -> None:
        """Send it nothing."""
        self._alive.discard(peer)

    def peer_alive(self, peer: str, incarnation: int, now: float) -> None:
        """Send to it from now on."""
        self._alive.add(peer)


class CensusSettings(ComponentSettings):
    """How often."""

    kind: Literal["census"] = "census"
    every: int = 10
    """ticks between two messages"""


class CensusExchange(Component):
    """The agent's side."""

    def __init__(self, settings: CensusSettings) -> None:
        self.settings = settings
        self.machine = CensusConversation()
        self._ticks = 0

    def joined(self, context: SessionContext) -> None:
        """Start the conversation."""
        self._context = context
        context.converse(self.machine)

    def tick(self, now: float) -> None:
        """Send when it is time."""
        self._ticks += 1
        if self._ticks % self.settings.every == 0:
            self.machine.share(self._context.progress.updates)

    def metrics(self) -> Metrics:
        """`census.updates`: of the own and the neighbours' counts the least; -1 before a neighbour's is known."""
        known = self.machine.known
        return {"census.updates": float(min(known.values())) if known else -1.0}


register("exchange", "census", CensusSettings, f"{__name__}:CensusExchange")
