"""Traces: after an episode each member sends the others the goal that it pursued and the features that it touched.

A trace is small: instead of the bits `achieved[T + 1, L]` (row 0 is the state at the start, row t the one after step t) it has the
intervals in which each feature was touched. From all traces each member computes what was touched jointly. `TraceExchange` sends the own
traces and collects those of the other members (repetition, acknowledgement and deadlines: `episode_exchange`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from protocols.conversations.conversation import Array, column, episodes
from protocols.conversations.hindsight.episode_exchange import EpisodeExchange
from protocols.conversations.hindsight.hindsight_messages import Trace, TraceAck
from protocols.runtime.errors import BadMessage

Bits = NDArray[np.uint8]
TRACES_PER_MESSAGE = 1024
Interval = tuple[int, int, int]
"""first row, last row + 1, feature"""


def intervals(achieved: Bits) -> list[Interval]:
    """Runs of ones in the columns of `achieved[T + 1, L]` as (first row, last row + 1, feature), by feature and time."""
    padded = np.zeros((achieved.shape[1], achieved.shape[0] + 2), np.int8)
    padded[:, 1:-1] = (achieved != 0).T
    change = np.diff(padded, axis=1)
    feature, first = np.nonzero(change == 1)
    _, last = np.nonzero(change == -1)
    return list(zip(first.tolist(), last.tolist(), feature.tolist(), strict=True))


def touches(touched: Iterable[Interval], length: int, features: int) -> Bits:
    """The inverse: bits `[length + 1, features]` with ones in the intervals. `ValueError` for an interval that does not fit."""
    achieved = np.zeros((length + 1, features), np.uint8)
    for first, last, feature in touched:
        if not (0 <= first < last <= length + 1 and 0 <= feature < features):
            raise ValueError(f"interval {(first, last, feature)} does not fit into {length + 1} rows of {features} features")
        achieved[first:last, feature] = 1
    return achieved


def joint(own: Bits, others: Sequence[Bits]) -> Bits:
    """c(t) = OR_j h_j(t): what is touched by any member, `[T + 1, L]`, from the own bits and those of the other members."""
    together = own.astype(bool)
    for other in others:
        if other.shape != own.shape:
            raise ValueError(f"bits of shape {other.shape} do not belong to an episode of shape {own.shape}")
        together = together | other.astype(bool)
    return together.astype(np.uint8)


@dataclass(frozen=True)
class EpisodeTrace:
    """The trace of one member of an episode."""

    episode: int
    goal: int
    """the goal it pursued"""
    message: int
    """the integer of the negotiation, -1 without"""
    leader: bool
    """its role"""
    reward: float
    """what it earned at its end"""
    stop: int
    """its own last step"""
    length: int
    """steps of the episode, T"""
    touched: tuple[Interval, ...] = ()
    """`intervals` of its own body, the time after its own end included"""


def encode_traces(traces: Sequence[EpisodeTrace]) -> dict[str, Array]:
    """Frames of a `Trace` message for these traces, in their order."""
    rows = [(row, *interval) for row, trace in enumerate(traces) for interval in trace.touched]
    return {
        "episode": np.array([t.episode for t in traces], np.int64),
        "goal": np.array([t.goal for t in traces], np.int32),
        "message": np.array([t.message for t in traces], np.int32),
        "role": np.array([t.leader for t in traces], np.uint8),
        "reward": np.array([t.reward for t in traces], np.float32),
        "stop": np.array([t.stop for t in traces], np.int32),
        "length": np.array([t.length for t in traces], np.int32),
        "touch": np.array(rows, np.int32).reshape(len(rows), 4),
    }


@dataclass(frozen=True)
class TraceLimits:
    """What a trace may hold: goals in [0, goals), features in [0, features), episodes of at most `longest` steps."""

    goals: int
    features: int
    longest: int = 65536


def decode_traces(arrays: Mapping[str, Array], limits: TraceLimits) -> list[EpisodeTrace]:
    """Traces of the frames of a `Trace` message. Raises `BadMessage` for whatever breaks the format or `limits`: intervals must be
    within their episode and those of one feature must neither overlap nor touch."""
    numbers = episodes(arrays)
    n = len(numbers)
    names = {"goal": "i4", "message": "i4", "role": "u1", "reward": "f4", "stop": "i4", "length": "i4"}
    goal, message, role, reward, stop, length = (column(arrays, name, dtype, n) for name, dtype in names.items())
    touch = arrays.get("touch")
    if touch is None or touch.dtype != np.dtype("i4") or touch.ndim != 2 or touch.shape[1] != 4:
        raise BadMessage("E_FRAME", "touch is not [m, 4] of i4")
    _require((goal >= 0) & (goal < limits.goals), f"a goal outside of [0, {limits.goals})")
    _require(message >= -1, "a message below -1")
    _require(role <= 1, "a role that is neither 0 nor 1")
    _require(np.isfinite(reward), "a reward that is not finite")
    _require((length >= 0) & (length <= limits.longest), f"a length outside of [0, {limits.longest}]")
    _require((stop >= 0) & (stop <= length), "a last step outside of its episode")
    rows, first, last, feature = touch.T.astype(np.int64)
    _require((rows >= 0) & (rows < n), f"an interval of a row outside of [0, {n})")
    _require((first >= 0) & (first < last), "an interval that ends before it begins")
    _require(last <= length[rows] + 1, "an interval outside of its episode")
    _require((feature >= 0) & (feature < limits.features), f"a feature outside of [0, {limits.features})")
    order = np.lexsort((first, feature, rows))
    rows, first, last, feature = rows[order], first[order], last[order], feature[order]
    same = (rows[1:] == rows[:-1]) & (feature[1:] == feature[:-1])
    _require(~same | (first[1:] > last[:-1]), "intervals of one feature that overlap or touch")
    touched: list[list[Interval]] = [[] for _ in range(n)]
    for row, *interval in zip(rows.tolist(), first.tolist(), last.tolist(), feature.tolist(), strict=True):
        touched[row].append((interval[0], interval[1], interval[2]))
    fields = zip(
        numbers.tolist(), goal.tolist(), message.tolist(), role.tolist(), reward.tolist(), stop.tolist(), length.tolist(), strict=True
    )
    return [EpisodeTrace(e, g, m, bool(r), w, s, t, tuple(touched[row])) for row, (e, g, m, r, w, s, t) in enumerate(fields)]


def _require(holds: NDArray[np.bool_], broken: str) -> None:
    if not holds.all():
        raise BadMessage("E_FRAME", broken)


class TraceExchange(EpisodeExchange[EpisodeTrace]):
    """Traces of all finished episodes of one agent. `deadline` and `limit` as in `EpisodeExchange`."""

    name = "trace"
    message_types = (Trace, TraceAck)
    message_type = Trace
    acknowledgement_type = TraceAck

    def __init__(self, limits: TraceLimits, random: np.random.Generator, deadline: float = 5.0, limit: int = 4096) -> None:
        super().__init__(random, deadline, limit)
        self._limits = limits

    def _pack(self, traces: Sequence[EpisodeTrace]) -> list[dict[str, Array]]:
        return [encode_traces(traces[start : start + TRACES_PER_MESSAGE]) for start in range(0, len(traces), TRACES_PER_MESSAGE)]

    def _unpack(self, arrays: Mapping[str, Array]) -> list[EpisodeTrace]:
        return decode_traces(arrays, self._limits)

    def _mismatch(self, own: EpisodeTrace, other: EpisodeTrace) -> str:
        # Members see the same episode end: one of the two is wrong, and joint touch cannot be built from them.
        return "" if own.length == other.length else "length_differs"
