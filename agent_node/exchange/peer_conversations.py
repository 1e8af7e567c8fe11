"""The peers of an agent, and the conversations with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from agent_node.process.agent_faults import AgentProcessFaults
from protocols.conversations.conversation import Conversation, EdgeConversation, Send
from protocols.conversations.membership.membership_messages import RosterEntry
from protocols.transport import Transport
from protocols.wire.messages import Message

_GONE = ("dead", "left", "lost")


class PeerConversations:
    """Connections to other agents by the roster, and every conversation's way in and out.

    `names` are the graph's neighbours; other agents are connected too when a conversation has something for them (members of one episode
    need not be neighbours when more than two play). The members come from the roster or, in `lockstep`, from `peer_joined` and
    `peer_left`: there the roster only gives their addresses. `faults` observes received messages, and changes those that a Byzantine agent
    sends.
    """

    def __init__(
        self,
        transport: Transport,
        own: str,
        names: list[str],
        faults: AgentProcessFaults | None = None,
        lockstep: bool = False,
    ) -> None:
        self.names = names
        self.faults = faults
        self.lockstep = lockstep
        self._own = own
        self._transport = transport
        self._conversations: list[Conversation[Any]] = []
        self._roster: Mapping[str, RosterEntry] = {}
        self._connected: dict[str, int] = {}
        self._incarnations: dict[str, int] = {}

    @property
    def alive(self) -> int:
        """Number of neighbours that are alive."""
        return sum(name in self._incarnations for name in self.names)

    def add(self, conversation: Conversation[Any], now: float) -> None:
        """Let a conversation take part; averaging waits for none of the neighbours that are not there."""
        self._conversations.append(conversation)
        if isinstance(conversation, EdgeConversation):
            for name in self.names:
                if name not in self._incarnations:
                    conversation.peer_dead(name, now)
                else:
                    conversation.peer_alive(name, self._incarnations[name], now)

    def end_interval(self) -> None:
        """End all conversations: the next session starts others."""
        self._conversations.clear()
        self._incarnations.clear()

    def peer_joined(self, name: str, incarnation: int, now: float) -> None:
        """An agent takes part, in its first incarnation or a later one."""
        self._incarnations[name] = incarnation
        if name in self.names:
            for conversation in self._conversations:
                if isinstance(conversation, EdgeConversation):
                    conversation.peer_alive(name, incarnation, now)

    def peer_left(self, name: str, now: float) -> None:
        """An agent does not take part any more, in this incarnation."""
        if self._incarnations.pop(name, None) is not None:
            for conversation in self._conversations:
                conversation.peer_dead(name, now)

    def follow(self, roster: Mapping[str, RosterEntry], now: float) -> None:
        """Connect to neighbours that are there, drop those that are gone. A node that came back as another process has died in between."""
        self._roster = roster
        for name, entry in roster.items():
            if entry.role != "agent" or name == self._own:
                continue
            known = self._connected.get(name)
            if known is not None and (entry.state in _GONE or entry.inc != known):
                del self._connected[name]
                self._transport.disconnect("peer", name)
                if not self.lockstep:
                    self.peer_left(name, now)
            if name not in self._connected and (name in self.names or (self.lockstep and name in self._incarnations)):
                self._connect(name, entry)
                if name in self._connected and not self.lockstep:
                    self.peer_joined(name, entry.inc, now)

    def receive(self, src: str, message: Message, arrays: Mapping[str, NDArray[Any]], now: float) -> None:
        """Hand a message to the conversation that it belongs to."""
        if self.faults is not None:
            self.faults.observe(src, message, arrays)
        for conversation in self._conversations:
            if isinstance(message, conversation.message_types) and conversation.concerns(message):
                conversation.receive(src, message, arrays, now)

    def tick(self, now: float) -> None:
        """Process the due deadlines and retries of all conversations; `outgoing` returns their messages. `now` in seconds."""
        for conversation in self._conversations:
            if now >= conversation.wake():
                conversation.tick(now)

    def outgoing(self) -> list[Send]:
        """All messages that the conversations send now."""
        sends = [send for conversation in self._conversations for send in conversation.outgoing()]
        return sends if self.faults is None else [self.faults.corrupt(send) for send in sends]

    def flush(self) -> None:
        """Send the messages of the conversations, which repeat those that cannot be sent now."""
        for send in self.outgoing():
            self.reach(send.dst)
            self._transport.try_send("peer", send.dst, send.message, send.arrays)

    def reach(self, name: str) -> None:
        """Connect to an agent if it is there and not connected."""
        if name not in self._connected and (entry := self._roster.get(name)) is not None:
            self._connect(name, entry)

    def _connect(self, name: str, entry: RosterEntry) -> None:
        if entry.endpoint and entry.state not in (*_GONE, "joining"):
            self._transport.connect("peer", name, entry.endpoint, entry.key)
            self._connected[name] = entry.inc
