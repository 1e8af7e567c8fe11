"""Message that shares planned trajectories."""

from __future__ import annotations

from protocols.wire.message_registry import register_conversation, route
from protocols.wire.messages import Count, Digest, Message


class Plan(Message):
    """Agent -> neighbours, when its world model has learnt: the steps that it is going to take next, as it expects them. AM1, only the
    newest counts. `layout`: digest of what it sees and does; `number`: of its plans in this life.

    Frames: `observation[n, D] f4`, `action[n, A] i4 or f4`.
    """

    layout: Digest
    number: Count


register_conversation(
    "plans",
    route("peer", "agent", "agent", Plan),
)
