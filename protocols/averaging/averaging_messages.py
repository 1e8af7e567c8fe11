"""Messages of averaging: vectors, compressed changes, push-sum shares."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from protocols.wire.message_registry import register_conversation, route
from protocols.wire.messages import Count, CountOrMinusOne, Digest, Message


class Average(Message):
    """Agent -> neighbour: `vector[d] f4` of parameter group layout `layout` (f8 of statistics) at averaging round `round`. LW."""

    round: Count
    layout: Digest


class Compressed(Message):
    """Agent -> neighbour: change number `change` of its replica, made at averaging round `round`; `digest` is that of the replica after it.
    AM1: a receiver that misses one sends `ReplicaRequest`.

    Frames by the compression: `index[k] u4`, `value[k] f4`, or `scale[m] f4`, `level[m] u1` (`protocols.averaging.compressors`).
    """

    round: Count
    change: Annotated[int, Meta(ge=1, le=2**63 - 1)]
    layout: Digest
    digest: Digest


class ReplicaRequest(Message):
    """Agent -> neighbour, repeated until `Replica` comes: the copy of the receiver's replica is at `change` and has `digest`. `shown`: the
    newest change of the sender's own replica, from which the receiver sees whether its copy is behind; `round`: the round it was made for,
    which does not wait for the receiver."""

    request: Count
    round: CountOrMinusOne
    change: Count
    digest: Digest
    layout: Digest
    shown: Count


class Replica(Message):
    """Answer to the `ReplicaRequest` of that number: state of the sender's replica, made at `round` (-1: none yet), with the frame
    `vector[d] f4` unless the copy was right."""

    request: Count
    round: CountOrMinusOne
    change: Count
    layout: Digest
    digest: Digest


class Share(Message):
    """Agent -> neighbour, in every push-sum round: the sum of all offers over this edge since offer number `base`, as mass `weight` and
    frame `offer[d] f8|f4`, `number` offers in all. LW by `number`; the frame may be left out where the receiver has that offer already.

    `round` is the sender's own count, `ack` the receiver's offer that the sender took last, `to` the newest incarnation of the receiver in
    the roster of the sender (0: unknown).
    """

    round: Count
    layout: Digest
    to: Annotated[int, Meta(ge=0, le=2**32 - 1)] = 0
    number: Count = 0
    base: Count = 0
    weight: Annotated[float, Meta(ge=0, le=1e12)] = 0.0
    ack: Count = 0


class Leave(Message):
    """Agent -> neighbour, when it leaves sums by push-sum in order: all that it had is with another neighbour, all that it gave is taken.
    `ack`: the receiver's offer that it took last; the receiver takes back what it gave after it. BE: a receiver that
    misses it loses only time: it begins a new epoch when the roster reports that the sender is gone."""

    layout: Digest
    ack: Count


ROUND_MESSAGES = (Average, Share, Compressed)
"""messages that carry a vector of a round"""

register_conversation(
    "averaging",
    route("peer", "agent", "agent", Average, Compressed, ReplicaRequest, Replica, Share, Leave),
    corruption="protocols.faults.node_faults.byzantine_messages:VectorCorruption",
)
