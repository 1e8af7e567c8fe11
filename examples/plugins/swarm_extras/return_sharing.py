"""The conversation `returns`: its state machine, and the component that uses it."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from agent_node.contracts import Component, Metrics
from agent_node.memory.episode import Episode
from agent_node.session.session_context import SessionContext
from protocols.conversations.conversation import Array, EdgeConversation, Send
from protocols.runtime.errors import BadMessage
from protocols.wire.messages import Message
from swarm_extras.components import ReturnSharingSettings
from swarm_extras.return_messages import EpisodeReturn


class ReturnExchange(EdgeConversation[tuple[str, float]]):
    """Each agent sends its newest return to its neighbours; events are (sender, return)."""

    message_types = (EpisodeReturn,)

    def __init__(self, neighbours: Collection[str]) -> None:
        super().__init__()
        self._neighbours = sorted(neighbours)
        self._alive: set[str] = set()
        self._newest: dict[str, int] = {}
        self._number = 0

    def announce(self, value: float) -> None:
        """Send a return to all live neighbours."""
        self._number += 1
        message = EpisodeReturn(number=self._number, value=value)
        self._sends += [Send(peer, message) for peer in self._neighbours if peer in self._alive]

    def _receive(self, src: str, message: Message, arrays: Mapping[str, Array], now: float) -> None:
        if src not in self._neighbours or not isinstance(message, EpisodeReturn):
            raise BadMessage("E_UNKNOWN_NODE", f"{src} is no neighbour")
        if message.number > self._newest.get(src, 0):
            self._newest[src] = message.number
            self._events.append((src, message.value))

    def tick(self, now: float) -> None:
        """Without deadlines."""

    def peer_alive(self, peer: str, incarnation: int, now: float) -> None:
        """A new incarnation counts its messages from 1."""
        self._alive.add(peer)
        self._newest.pop(peer, None)

    def peer_dead(self, peer: str, now: float) -> None:
        """Send nothing to a dead neighbour."""
        self._alive.discard(peer)


class ReturnSharing(Component):
    """Metric `returns.best`: the highest return of a neighbour so far."""

    def __init__(self, settings: ReturnSharingSettings) -> None:
        self.settings = settings
        self._best = float("-inf")

    def joined(self, context: SessionContext) -> None:
        """Start the conversation with the neighbours."""
        self._machine = ReturnExchange(context.neighbourhood.all_neighbours)
        context.converse(self._machine)

    def episode_ended(self, episode: Episode) -> None:
        """Announce the return of a training episode."""
        if not episode.evaluation:
            self._machine.announce(float(episode.reward.sum()))

    def tick(self, now: float) -> None:
        """Process the returns that arrived."""
        for _, value in self._machine.events():
            self._best = max(self._best, value)

    def metrics(self) -> Metrics:
        """Nothing until the first return has arrived."""
        return {"returns.best": self._best} if self._best > float("-inf") else {}
