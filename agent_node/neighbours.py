"""The peers of an agent: who is there, and the conversations that run over the edges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from agent_node.faults import AgentFaults
from protocols.consensus.averager import Averager
from protocols.conversation import Conversation
from protocols.hindsight import TraceExchange
from protocols.messages import (
    Average,
    Compressed,
    Message,
    Propose,
    ProposeAck,
    Replica,
    ReplicaRequest,
    RosterEntry,
    Share,
    Trace,
    TraceAck,
)
from protocols.negotiation.proposals import Negotiation
from protocols.transport import Transport

_GONE = ("dead", "left", "lost")
_TAKES: dict[type[Message], type] = {
    Propose: Negotiation,
    ProposeAck: Negotiation,
    Trace: TraceExchange,
    TraceAck: TraceExchange,
    Average: Averager,
    Compressed: Averager,
    ReplicaRequest: Averager,
    Replica: Averager,
    Share: Averager,
}


class Neighbours:
    """Connections to other agents by the roster, and every conversation's way in and out.

    `names` are the graph's neighbours; other agents are connected too when a conversation has something for them (members of one episode
    need not be neighbours when more than two play). `faults` hears what comes, and changes what a liar sends.
    """

    def __init__(self, transport: Transport, own: str, names: list[str], faults: AgentFaults | None = None) -> None:
        self.names = names
        self.faults = faults
        self._own = own
        self._transport = transport
        self._conversations: list[Conversation[Any]] = []
        self._roster: Mapping[str, RosterEntry] = {}
        self._incarnations: dict[str, int] = {}

    @property
    def alive(self) -> int:
        """Neighbours that are alive."""
        return sum(name in self._incarnations for name in self.names)

    def add(self, conversation: Conversation[Any], now: float) -> None:
        """Let a conversation take part; averaging waits for none of the neighbours that are not there."""
        self._conversations.append(conversation)
        if isinstance(conversation, Averager):
            for name in self.names:
                if name in self._incarnations:
                    conversation.peer_alive(name, self._incarnations[name], now)
                else:
                    conversation.peer_dead(name, now)

    def follow(self, roster: Mapping[str, RosterEntry], now: float) -> None:
        """Connect to neighbours that are there, drop those that are gone, and tell the conversations. A node that came back as another
        process has died in between."""
        self._roster = roster
        for name, entry in roster.items():
            if entry.role != "agent" or name == self._own:
                continue
            known = self._incarnations.get(name)
            if known is not None and (entry.state in _GONE or entry.inc != known):
                del self._incarnations[name]
                self._transport.disconnect("peer", name)
                for conversation in self._conversations:
                    conversation.peer_dead(name, now)
            if name in self.names and name not in self._incarnations:
                self._connect(name, entry)
                if name in self._incarnations:
                    for conversation in self._conversations:
                        if isinstance(conversation, Averager):
                            conversation.peer_alive(name, self._incarnations[name], now)

    def receive(self, src: str, message: Message, arrays: Mapping[str, NDArray[Any]], now: float) -> None:
        """Hand a message to the conversation that it belongs to."""
        if self.faults is not None:
            self.faults.heard(src, message, arrays)
        wanted = _TAKES.get(type(message))
        for conversation in self._conversations:
            if wanted is not None and isinstance(conversation, wanted):
                conversation.receive(src, message, arrays, now)

    def tick(self, now: float) -> None:
        """Let deadlines and retries happen."""
        for conversation in self._conversations:
            if now >= conversation.wake():
                conversation.tick(now)

    def flush(self) -> None:
        """Send what the conversations have to say; what can't be sent now they repeat by themselves."""
        for conversation in self._conversations:
            for send in conversation.outgoing():
                if self.faults is not None:
                    send = self.faults.tamper(send)
                if send.dst not in self._incarnations and (entry := self._roster.get(send.dst)) is not None:
                    self._connect(send.dst, entry)
                self._transport.try_send("peer", send.dst, send.message, send.arrays)

    def _connect(self, name: str, entry: RosterEntry) -> None:
        if entry.endpoint and entry.state not in (*_GONE, "joining"):
            self._transport.connect("peer", name, entry.endpoint)
            self._incarnations[name] = entry.inc
