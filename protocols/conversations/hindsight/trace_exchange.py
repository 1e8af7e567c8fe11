"""After an episode its members tell each other what they wanted and what they touched, so that each can learn from all of it.

`TraceExchange` sends the own trace (`protocols.conversations.hindsight.episode_traces`) to the other members and collects theirs
(`protocols.conversations.hindsight.episode_exchange` has the rules of repeating, acknowledging and giving up).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from protocols.conversations.conversation import Array
from protocols.conversations.hindsight.episode_exchange import EpisodeExchange, ExchangeComplete, ExchangeIncomplete
from protocols.conversations.hindsight.episode_traces import (
    EpisodeTrace,
    TraceLimits,
    decode_traces,
    encode_traces,
    intervals,
    joint,
    touches,
)
from protocols.conversations.hindsight.hindsight_messages import Trace, TraceAck

__all__ = [
    "EpisodeTrace",
    "ExchangeComplete",
    "ExchangeIncomplete",
    "TraceExchange",
    "TraceLimits",
    "intervals",
    "joint",
    "touches",
]

TRACES_PER_MESSAGE = 1024


class TraceExchange(EpisodeExchange[EpisodeTrace]):
    """Traces of all finished episodes of one agent. `deadline` and `limit` as in `EpisodeExchange`."""

    name = "trace"
    message_types = (Trace, TraceAck)
    message_type = Trace
    acknowledgement_type = TraceAck

    def __init__(self, limits: TraceLimits, random: np.random.Generator, deadline: float = 5.0, limit: int = 4096) -> None:
        super().__init__(random, deadline, limit)
        self._limits = limits

    def _pack(self, told: Sequence[EpisodeTrace]) -> list[dict[str, Array]]:
        return [encode_traces(told[start : start + TRACES_PER_MESSAGE]) for start in range(0, len(told), TRACES_PER_MESSAGE)]

    def _unpack(self, arrays: Mapping[str, Array]) -> list[EpisodeTrace]:
        return decode_traces(arrays, self._limits)

    def _mismatch(self, own: EpisodeTrace, other: EpisodeTrace) -> str:
        # Members see the same episode end: one of the two is wrong, and joint touch cannot be built from them.
        return "" if own.length == other.length else "length_differs"
