"""Message that shares transitions."""

from __future__ import annotations

from protocols.wire.message_registry import register_conversation, route
from protocols.wire.messages import Count, Digest, Message


class Segment(Message):
    """Member -> other members, when all traces of an episode are there: the selected steps, for them to learn from. Without goals: agent ->
    neighbours, when an own episode is over: all of it. AM1. `layout`: digest of observations, actions and goals; `version`: updates of its
    policy.

    Frames: `episode[n] i8`, `first[n] i4` (step), `lead[n] i4` (steps that are only history), `steps[n] i4` (lead included), and of all of
    them one after the other `observation[m + n, D] f4 or u1`, `action[m, A] i4 or f4`. With goals `goal[n] i4` (pursued) and
    `log_probability[m] f4`, without `reward[m] f4` and `terminated[n] u1` (no value follows its last step).
    """

    layout: Digest
    version: Count


register_conversation(
    "experience",
    route("peer", "agent", "agent", Segment),
)
