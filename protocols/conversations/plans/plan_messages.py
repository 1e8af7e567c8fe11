"""Message that shares planned trajectories."""

from __future__ import annotations

from protocols.wire.message_registry import register_conversation, route
from protocols.wire.messages import Count, Digest, Message


class Plan(Message):
    """Agent -> neighbours, when its world model has learnt: the steps that it expects to take next. AM1, only the newest
    counts. `layout`: digest of observations and actions; `number`: of the plans of this incarnation.

    Frames: `observation[n, D] f4`, `action[n, A] i4 or f4`.
    """

    layout: Digest
    number: Count


register_conversation(
    "plans",
    route("peer", "agent", "agent", Plan),
)
