"""Traces: intervals and bits are inverse, the wire format is exact, and what breaks it is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from protocols.conversations.episode_exchange import (
    EpisodeTrace,
    Trace,
    TraceLimits,
    decode_traces,
    encode_traces,
    intervals,
    touches,
)
from protocols.runtime.errors import BadMessage
from protocols.wire.codec import decode, encode

LIMITS = TraceLimits(goals=6, features=3, longest=100)
BITS = arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12), elements=st.integers(0, 1))


def test_intervals_of_an_example() -> None:
    achieved = np.array([[1, 0], [1, 0], [0, 1], [1, 1]], np.uint8)
    assert intervals(achieved) == [(0, 2, 0), (3, 4, 0), (2, 4, 1)]


@given(BITS)
def test_touches_inverts_intervals(achieved: np.ndarray) -> None:
    runs = intervals(achieved)
    assert np.array_equal(touches(runs, len(achieved) - 1, achieved.shape[1]), achieved)
    assert intervals(touches(runs, len(achieved) - 1, achieved.shape[1])) == runs


@pytest.mark.parametrize("bad", [(-1, 2, 0), (2, 2, 0), (3, 2, 0), (0, 12, 0), (0, 1, 3), (0, 1, -1)])
def test_an_interval_that_does_not_fit_is_refused(bad: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        touches([bad], 10, 3)


@st.composite
def episode_traces(draw: st.DrawFn) -> EpisodeTrace:
    length = draw(st.integers(0, LIMITS.longest))
    seed = draw(st.integers(0, 2**32))
    achieved = (np.random.default_rng(seed).random((length + 1, 3)) < draw(st.floats(0, 1))).astype(np.uint8)
    return EpisodeTrace(
        episode=draw(st.integers(0, 2**63 - 1)),
        goal=draw(st.integers(0, 5)),
        message=draw(st.integers(-1, 2**31 - 1)),
        leader=draw(st.booleans()),
        reward=draw(st.floats(width=32, allow_nan=False, allow_infinity=False)),
        stop=draw(st.integers(0, length)),
        length=length,
        touched=tuple(intervals(achieved)),
    )


TRACES = st.lists(episode_traces(), max_size=5, unique_by=lambda trace: trace.episode)


@given(TRACES)
def test_traces_survive_the_wire(traces: list[EpisodeTrace]) -> None:
    message, frames = decode(encode(Trace(), encode_traces(traces)))
    assert isinstance(message, Trace)
    assert decode_traces(frames, LIMITS) == traces


GOOD = EpisodeTrace(7, 2, 3, True, 0.5, 4, 10, ((0, 2, 0), (3, 11, 0), (1, 2, 2)))


@pytest.mark.parametrize(
    "change",
    [
        {"episode": -1},
        {"goal": 6},
        {"goal": -1},
        {"message": -2},
        {"stop": 11},
        {"stop": -1},
        {"length": 101, "stop": 0},
        {"length": -1, "stop": 0, "touched": ()},
        {"reward": float("nan")},
        {"touched": ((3, 3, 0),)},
        {"touched": ((4, 3, 0),)},
        {"touched": ((-1, 3, 0),)},
        {"touched": ((0, 12, 0),)},
        {"touched": ((0, 1, 3),)},
        {"touched": ((0, 1, -1),)},
        {"touched": ((0, 5, 1), (4, 6, 1))},
        {"touched": ((0, 5, 1), (0, 5, 1))},
        {"touched": ((0, 5, 1), (5, 6, 1))},
    ],
    ids=str,
)
def test_a_trace_that_breaks_a_rule_is_refused(change: dict[str, object]) -> None:
    assert decode_traces(encode_traces([GOOD]), LIMITS) == [replace(GOOD, touched=tuple(sorted(GOOD.touched, key=lambda t: (t[2], t[0]))))]
    with pytest.raises(BadMessage, match="E_FRAME"):
        decode_traces(encode_traces([replace(GOOD, episode=8), replace(GOOD, **change)]), LIMITS)  # type: ignore[arg-type]


def test_frames_that_break_a_rule_are_refused() -> None:
    frames = encode_traces([GOOD])
    touch = frames["touch"]
    broken = [
        {**frames, "role": np.array([2], np.uint8)},
        {
            **frames,
            "episode": np.array([7, 7]),
            **{n: np.repeat(frames[n], 2) for n in ("goal", "message", "role", "reward", "stop", "length")},
        },
        {**frames, "goal": np.array([1, 2], np.int32)},
        {**frames, "reward": frames["reward"].astype(np.float64)},
        {**frames, "touch": touch.astype(np.int64)},
        {**frames, "touch": touch[:, :3]},
        {**frames, "touch": touch.reshape(-1)},
        {**frames, "touch": touch + np.array([1, 0, 0, 0], np.int32)},
        {**frames, "touch": touch - np.array([1, 0, 0, 0], np.int32)},
        *({name: frame for name, frame in frames.items() if name != left_out} for left_out in frames),
    ]
    for bad in broken:
        with pytest.raises(BadMessage, match="E_FRAME"):
            decode_traces(bad, LIMITS)


def test_no_traces_are_no_traces() -> None:
    assert decode_traces(encode_traces([]), LIMITS) == []
