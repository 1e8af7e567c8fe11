"""Message that ends the messages of one tick under the logical clock."""

from __future__ import annotations

from protocols.wire.message_registry import register_conversation, route
from protocols.wire.messages import Count, Message


class Marker(Message):
    """Agent -> every partner under the logical clock: its messages of tick `sent` are the `count` messages before this one."""

    count: Count


register_conversation(
    "lockstep",
    route("peer", "agent", "agent", Marker),
)
