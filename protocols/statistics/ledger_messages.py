"""Messages of the ledger of statistics."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from protocols.wire.message_registry import register_conversation, route
from protocols.wire.messages import Count, Digest, Message, Name, Origins


class LedgerDigest(Message):
    """Agent -> neighbour, when its ledger of statistics has changed and periodically: the versions that it has. LW; a receiver that lacks
    some sends `LedgerPull`. `answer`: the receiver has not yet reported the same versions, and answers with a `LedgerDigest`.

    Frame `version[n, 3] i8`: incarnation, count and seal of the newest entry of each of the `origins`.
    """

    basis: Digest
    epoch: Count
    origins: Origins
    answer: bool = False


class LedgerPull(Message):
    """Agent -> neighbour, repeated until `LedgerEntry` comes: a request for the entries of these origins. EO; answered by one `LedgerEntry`
    for each origin that the receiver has. `request` rises, so that repetitions by the network are not answered twice."""

    basis: Digest
    epoch: Count
    request: Count
    origins: Origins


class LedgerEntry(Message):
    """Answer to `LedgerPull`: the publication of one origin, relayed unchanged, with the frame `payload[P] f8` (P = 0: withdrawn). EO: the
    receiver keeps it if (incarnation, count, seal) is above what it has. `seal`: hash of the rest, made by the origin."""

    basis: Digest
    epoch: Count
    origin: Name
    incarnation: Annotated[int, Meta(ge=0, le=2**32 - 1)]
    count: Count
    seal: Count


register_conversation(
    "statistics",
    route("peer", "agent", "agent", LedgerDigest, LedgerPull, LedgerEntry),
)
