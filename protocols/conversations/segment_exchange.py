"""Pieces of an episode without goals, for others to learn from.

A segment is a run of neighbouring steps: observations (raw, flat), actions, rewards, and whether the last step terminated the episode.

Sent at most once: an agent that misses a segment learns from its own. A segment is valid only for the observations and actions of its
sender: the digest of its layout is sent with it, and segments of another layout are counted and dropped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

import msgspec
import numpy as np
from numpy.typing import NDArray

from protocols.conversations.conversation import Array, Conversation, Send, column, columns, frame, pack_rows, require
from protocols.runtime.errors import BadMessage
from protocols.spaces.layout import Layout
from protocols.wire.message_registry import register_conversation, route
from protocols.wire.messages import Digest, Message


class Segment(Message):
    """Agent -> neighbours, when an own episode is over: all of it, for them to learn from. AM1. `layout`: digest of observations and
    actions.

    Frames: `episode[n] i8`, `first[n] i4` (step), `lead[n] i4` (steps that are only history), `steps[n] i4` (lead included), and of all of
    them one after the other `observation[m + n, D] f4 or u1`, `action[m, A] i4 or f4`, `reward[m] f4` and `terminated[n] u1` (no value
    follows its last step).
    """

    layout: Digest


register_conversation(
    "experience",
    route("peer", "agent", "agent", Segment),
)


STEPS_PER_MESSAGE = 512
"""most steps in one message; longer segments are cut"""
_COLUMNS = {"episode": "i8", "first": "i4", "lead": "i4", "steps": "i4"}
MESSAGES_WAITING = 64
"""most messages to one peer that are sent at once and, by default, that wait to be sent; the oldest are dropped first"""


def layout_digest(layout: Layout) -> str:
    """What a member sees, does and may want, as a digest: fields with units, shape, actions, goals."""
    return sha256(msgspec.json.encode(layout, order="deterministic")).hexdigest()[:32]


@dataclass(frozen=True, eq=False)
class EpisodeSegment:
    """Steps `first` to `first + n - 1` of an episode, the `lead` first of them only as history of the others."""

    episode: int
    first: int
    lead: int
    observation: Array
    """`[n + 1, D]` raw"""
    action: Array
    """`[n, A]`"""
    reward: NDArray[np.float32]
    """`[n]`"""
    terminated: bool
    """no value follows the last step"""

    @property
    def steps(self) -> int:
        """n, the number of steps in the segment."""
        return len(self.action)


@dataclass(frozen=True)
class SegmentLimits:
    """What a segment may hold: observations `[D]` of that dtype, `actions[A]` choices of each discrete factor (else `width` continuous
    components), steps of episodes of at most `longest`."""

    size: int
    dtype: type[np.generic]
    actions: tuple[int, ...]
    width: int
    longest: int = 65536

    @property
    def action_dtype(self) -> type[np.generic]:
        """Of the actions."""
        return np.int32 if self.actions else np.float32


@dataclass(frozen=True)
class SegmentsReceived:
    """Segments of one message."""

    src: str
    segments: tuple[EpisodeSegment, ...]


def encode_segments(segments: Sequence[EpisodeSegment]) -> dict[str, Array]:
    """Frames of a `Segment` message; at least one segment, all of one environment."""
    return pack_rows([(one.episode, one.first, one.lead, one.steps) for one in segments], _COLUMNS) | {
        "observation": np.concatenate([one.observation for one in segments]),
        "action": np.concatenate([one.action for one in segments]),
        "reward": np.concatenate([one.reward for one in segments]),
        "terminated": np.array([one.terminated for one in segments], np.uint8),
    }


def decode_segments(arrays: Mapping[str, Array], limits: SegmentLimits) -> list[EpisodeSegment]:
    """Segments of the frames of a `Segment` message; `BadMessage` for whatever breaks the format or `limits`."""
    episode, first, lead, steps = columns(arrays, _COLUMNS)
    n = len(episode)
    require((episode >= 0) & (first >= 0), "a negative number")
    require((lead >= 0) & (steps > lead) & (steps <= STEPS_PER_MESSAGE), f"a segment without steps, or of more than {STEPS_PER_MESSAGE}")
    require(first.astype(np.int64) + steps <= limits.longest, f"a step beyond {limits.longest}")
    total = int(steps.sum(dtype=np.int64))
    if total > STEPS_PER_MESSAGE:
        raise BadMessage("E_FRAME", f"{total} steps in one message, more than {STEPS_PER_MESSAGE}")
    observation = frame(arrays, "observation", limits.dtype, (total + n, limits.size))
    action = frame(arrays, "action", limits.action_dtype, (total, len(limits.actions) or limits.width))
    if limits.actions:
        require((action >= 0) & (action < np.array(limits.actions)), "an action out of range")
    ends = np.cumsum(steps)[:-1]
    runs = zip(
        episode.tolist(), first.tolist(), lead.tolist(), np.split(observation, np.cumsum(steps + 1)[:-1]), np.split(action, ends),
        strict=n > 0,
    )  # fmt: skip
    reward = frame(arrays, "reward", np.float32, (total,))
    terminated = column(arrays, "terminated", "u1", n)
    require(np.isfinite(reward), "a reward that is no number")
    require(terminated <= 1, "an end that is neither 0 nor 1")
    earned = zip(runs, np.split(reward, ends), terminated.astype(bool).tolist(), strict=n > 0)
    return [EpisodeSegment(*run, *labels) for run, *labels in earned]


class SegmentExchange(Conversation[SegmentsReceived]):
    """Sends segments, and receives those of the others. `waiting`: most messages to one peer that wait to be sent."""

    message_types = (Segment,)

    def __init__(self, limits: SegmentLimits, digest: str, waiting: int = MESSAGES_WAITING) -> None:
        super().__init__()
        self._most = waiting
        self._limits = limits
        self._digest = digest
        self._waiting: dict[str, list[Send]] = {}

    def share_segments(self, segments: Sequence[EpisodeSegment], dst: str) -> None:
        """Send segments, cut and packed into messages of at most `STEPS_PER_MESSAGE` steps."""
        packs: list[list[EpisodeSegment]] = []
        room = 0
        for piece in (piece for segment in segments for piece in _cut(segment)):
            if piece.steps > room:
                packs.append([])
                room = STEPS_PER_MESSAGE
            packs[-1].append(piece)
            room -= piece.steps
        waiting = self._waiting.setdefault(dst, [])
        waiting += [Send(dst, Segment(layout=self._digest), encode_segments(pack)) for pack in packs]
        self.counters["dropped"] += max(0, len(waiting) - self._most)
        del waiting[: -self._most]

    def peer_dead(self, peer: str, now: float) -> None:
        """What was for it is dropped."""
        self._waiting.pop(peer, None)

    def outgoing(self) -> list[Send]:
        """Take what is to be sent now: to each peer no more than a transport takes at once."""
        for sends in self._waiting.values():
            self._sends += sends[:MESSAGES_WAITING]
            del sends[:MESSAGES_WAITING]
        return super().outgoing()

    def _receive(self, src: str, message: Message, arrays: Mapping[str, Array], now: float) -> None:
        if not isinstance(message, Segment):
            raise BadMessage("E_DECODE", f"{type(message).__name__} is no message of the segment exchange")
        if message.layout != self._digest:
            self.counters["layout_differs"] += 1
            return
        segments = decode_segments(arrays, self._limits)
        self._events.append(SegmentsReceived(src, tuple(segments)))


def _cut(segment: EpisodeSegment) -> list[EpisodeSegment]:
    """Pieces of at most `STEPS_PER_MESSAGE` steps, each with as much history as the whole."""
    pieces, start, lead = [], 0, segment.lead
    while start + lead < segment.steps:
        end = min(start + STEPS_PER_MESSAGE, segment.steps)
        pieces.append(
            EpisodeSegment(
                segment.episode, segment.first + start, lead, segment.observation[start : end + 1], segment.action[start:end],
                segment.reward[start:end], segment.terminated and end == segment.steps,
            )
        )  # fmt: skip
        start = end - lead
    return pieces
