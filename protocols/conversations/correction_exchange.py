"""Ratios of the probability of a member's actions under another goal, sent once the goal is known with which all relabel an episode.

An episode is relearnt for a goal that the partner did not pursue. What the partner did is corrected for by the importance of each of its
steps, rho_j(t) = clip(pi_j(a_j | o_j, g') / pi_j(a_j | o_j, g_j), 0, 2). One number a step travels, and no observation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from protocols.conversations.conversation import Array, columns, episodes, frame, pack_rows, require
from protocols.conversations.episode_exchange import Correction, CorrectionAck, EpisodeExchange, EpisodePayload
from protocols.runtime.errors import BadMessage

LARGEST_RATIO = 2.0
_COLUMNS = {"episode": "i8", "goal": "i4", "steps": "i4"}
STEPS_PER_MESSAGE = 65536
"""most steps in one message, unless a single episode has more"""


@dataclass(frozen=True, eq=False)
class EpisodeCorrection(EpisodePayload):
    """What one member contributes to the relabelling of an episode: the common goal, and its ratios of action probabilities."""

    goal: int
    """with which all members relabel it"""
    ratios: NDArray[np.float16]
    """`[T]`, its own steps; each in 0 ... `LARGEST_RATIO`. Half precision: their noise is far larger"""


def encode_corrections(corrections: Sequence[EpisodeCorrection]) -> dict[str, Array]:
    """Frames of a `Correction` message for these corrections, in their order."""
    frames = pack_rows([(one.episode, one.goal, len(one.ratios)) for one in corrections], _COLUMNS)
    return frames | {"ratio": np.concatenate([np.zeros(0, np.float16), *(one.ratios for one in corrections)], dtype=np.float16)}


def decode_corrections(arrays: Mapping[str, Array], goals: int, longest: int = 65536) -> list[EpisodeCorrection]:
    """Corrections of the frames of a `Correction` message. `BadMessage` for whatever breaks the format, a goal outside of [0, goals), an
    episode of more than `longest` steps, or a ratio outside of [0, `LARGEST_RATIO`]."""
    numbers = episodes(arrays)
    _, goal, steps = columns(arrays, _COLUMNS)
    ratio = frame(arrays, "ratio", "f2", (None,))
    require((goal >= 0) & (goal < goals), f"a goal outside of [0, {goals})")
    if ((steps < 1) | (steps > longest)).any() or int(steps.sum(dtype=np.int64)) != len(ratio):
        raise BadMessage("E_FRAME", f"{len(ratio)} ratios are not those of the steps, or an episode has not 1 to {longest} of them")
    require((ratio >= 0) & (ratio <= LARGEST_RATIO), f"a ratio outside of [0, {LARGEST_RATIO:g}]")
    parts = np.split(ratio, np.cumsum(steps, dtype=np.int64)[:-1])
    return [EpisodeCorrection(e, g, part) for e, g, part in zip(numbers.tolist(), goal.tolist(), parts, strict=len(numbers) > 0)]


class CorrectionExchange(EpisodeExchange[EpisodeCorrection]):
    """Corrections of one agent's episodes. `finished` is called when all traces of an episode are there."""

    name = "correction"
    message_types = (Correction, CorrectionAck)
    message_type = Correction
    acknowledgement_type = CorrectionAck

    def __init__(self, goals: int, random: np.random.Generator, deadline: float = 5.0, limit: int = 4096) -> None:
        super().__init__(random, deadline, limit)
        self._goals = goals

    def _pack(self, payloads: Mapping[int, EpisodeCorrection]) -> list[dict[str, Array]]:
        packs: list[list[EpisodeCorrection]] = []
        steps = STEPS_PER_MESSAGE
        for one in payloads.values():
            steps += len(one.ratios)
            if steps > STEPS_PER_MESSAGE:
                packs.append([])
                steps = len(one.ratios)
            packs[-1].append(one)
        return [encode_corrections(pack) for pack in packs]

    def _unpack(self, src: str, arrays: Mapping[str, Array]) -> list[EpisodeCorrection]:
        return decode_corrections(arrays, self._goals)

    def _mismatch(self, own: EpisodeCorrection, other: EpisodeCorrection) -> str:
        # Both choose by the same rule from the same traces; a member that differs has other traces, and corrects for another goal.
        return "" if own.goal == other.goal else "goal_differs"
