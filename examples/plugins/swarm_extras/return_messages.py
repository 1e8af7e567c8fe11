"""The message of the conversation `returns` and its route."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from protocols.wire.message_registry import register_conversation, route
from protocols.wire.messages import Message


class EpisodeReturn(Message):
    """Agent -> neighbours after a training episode: the own return. AM1, only the newest counts."""

    number: Annotated[int, Meta(ge=1, le=2**63 - 1)]
    value: Annotated[float, Meta(ge=-1e12, le=1e12)]


def register_messages() -> None:
    """Register the conversation."""
    register_conversation("returns", route("peer", "agent", "agent", EpisodeReturn), newest_only=(EpisodeReturn,))
