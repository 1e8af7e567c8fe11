"""Messages of the negotiation before an episode."""

from __future__ import annotations

from protocols.wire.message_registry import register_conversation, route
from protocols.wire.messages import Count, Message


class Propose(Message):
    """Leader -> other members: `episode[n] i8`, `message[n] i4`. EO by (episode, src); acknowledged by `ProposeAck`."""

    version: Count = 0


class ProposeAck(Message):
    """Follower -> leader: `episode[n] i8`, `message[n] i4` that it uses for each."""


register_conversation(
    "negotiation",
    route("peer", "agent", "agent", Propose, ProposeAck),
    corruption="protocols.faults.node_faults.byzantine_messages:GoalCorruption",
)
