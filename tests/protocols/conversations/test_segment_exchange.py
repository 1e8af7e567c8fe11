"""Segments: the wire format is exact and bounded, and what breaks it, or means something else, is not taken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.conversations.episode_exchange import Trace
from protocols.conversations.segment_exchange import (
    MESSAGES_WAITING,
    STEPS_PER_MESSAGE,
    EpisodeSegment,
    Segment,
    SegmentExchange,
    SegmentLimits,
    SegmentsReceived,
    decode_segments,
    encode_segments,
    layout_digest,
)
from protocols.runtime.errors import BadMessage
from protocols.spaces.layout import FeatureSetsInfo, Layout
from protocols.wire.codec import decode, encode

CONTINUOUS = SegmentLimits(size=3, dtype=np.float32, actions=(), width=2)
LIMITS = SegmentLimits(size=4, dtype=np.float32, actions=(3, 2), width=2, longest=5000)


def segment(episode: int = 7, first: int = 3, steps: int = 5, lead: int = 1, terminated: bool = True, seed: int = 0) -> EpisodeSegment:
    random = np.random.default_rng(seed)
    return EpisodeSegment(
        episode, first, lead, random.standard_normal((steps + 1, 4)).astype(np.float32),
        np.stack([random.integers(0, n, steps) for n in (3, 2)], axis=1).astype(np.int32),
        random.standard_normal(steps).astype(np.float32), terminated,
    )  # fmt: skip


def continuous(episode: int = 7, first: int = 3, steps: int = 5, lead: int = 1, terminated: bool = True, seed: int = 0) -> EpisodeSegment:
    random = np.random.default_rng(seed)
    observation, action, reward = (random.standard_normal(shape).astype(np.float32) for shape in ((steps + 1, 3), (steps, 2), steps))
    return EpisodeSegment(episode, first, lead, observation, action, reward, terminated)


def same(one: EpisodeSegment, other: EpisodeSegment) -> bool:
    names = ("episode", "first", "lead", "observation", "action", "reward", "terminated")
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)


VALUES = (st.integers(0, 2**63 - 1), st.integers(0, 4000), st.integers(3, 80), st.integers(0, 2), st.booleans(), st.integers(0, 99))


@pytest.mark.parametrize(("limits", "make"), [(LIMITS, segment), (CONTINUOUS, continuous)], ids=["discrete", "continuous"])
@given(data=st.data())
def test_segments_survive_the_wire(limits: SegmentLimits, make: Callable[..., EpisodeSegment], data: st.DataObject) -> None:
    segments = data.draw(st.lists(st.builds(make, *VALUES), min_size=1, max_size=6))
    message, frames = decode(encode(Segment(layout="a"), encode_segments(segments)))
    assert isinstance(message, Segment)
    found = decode_segments(frames, limits)
    assert len(found) == len(segments) and all(map(same, found, segments))


@pytest.mark.parametrize(
    "change",
    [
        {"episode": -1},
        {"first": -1},
        {"first": 4996},
        {"lead": -1},
        {"lead": 5},
        {"action": np.full((5, 2), 2, np.int32)},
        {"action": np.full((5, 2), -1, np.int32)},
        {"observation": np.zeros((6, 3), np.float32)},
        {"observation": np.zeros((6, 4), np.float64)},
    ],
    ids=str,
)
def test_a_segment_that_breaks_a_rule_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(BadMessage, match="E_FRAME"):
        decode_segments(encode_segments([replace(segment(), **change)]), LIMITS)  # type: ignore[arg-type]


def test_frames_that_break_a_rule_are_refused() -> None:
    frames = encode_segments([segment(), segment(8)])
    bad_reward = frames["reward"].copy()
    bad_reward[3] = np.nan
    broken = [
        *({name: frame for name, frame in frames.items() if name != left_out} for left_out in frames),
        {**frames, "observation": frames["observation"][:-1]},
        {**frames, "steps": np.array([5, 6], np.int32)},
        {**frames, "steps": np.array([2**31 - 1, 5], np.int32)},
        {**frames, "action": frames["action"].astype(np.float32)},
        {**frames, "reward": bad_reward},
        {**frames, "reward": frames["reward"][:-1]},
        {**frames, "terminated": np.array([0, 2], np.uint8)},
        {**frames, "terminated": np.zeros(3, np.uint8)},
        encode_segments([continuous()]),
        encode_segments([segment(number, steps=300) for number in range(2)]),
    ]
    for bad in broken:
        with pytest.raises(BadMessage, match="E_FRAME"):
            decode_segments(bad, LIMITS)


def pair(digests: tuple[str, str] = ("x", "x")) -> tuple[SegmentExchange, SegmentExchange]:
    return SegmentExchange(LIMITS, digests[0]), SegmentExchange(LIMITS, digests[1])


def test_long_segments_are_cut_with_their_history_and_messages_are_bounded() -> None:
    a, b = pair()
    told = [segment(1, 0, 1200, 2), *(segment(number, 4, 100, 1) for number in range(2, 12))]
    a.share_segments(told, "b")
    sends = a.outgoing()
    heard: dict[tuple[int, int], np.ndarray] = {}
    for send in sends:
        message, frames = decode(encode(send.message, send.arrays))
        assert len(frames["action"]) <= STEPS_PER_MESSAGE
        b.receive("a", message, frames, 0.0)
    for event in b.events():
        assert event.src == "a"
        for one in event.segments:
            for t in range(one.lead, one.steps):
                assert (one.episode, one.first + t) not in heard, "no step twice"
                heard[one.episode, one.first + t] = one.observation[t]
    assert len(heard) == 1198 + 10 * 99
    np.testing.assert_array_equal(heard[1, 700], told[0].observation[700])
    assert not a.outgoing()


def test_what_another_layout_means_is_counted_and_left() -> None:
    a, b = pair(("x", "y"))
    a.share_segments([segment()], "b")
    (send,) = a.outgoing()
    b.receive("a", send.message, send.arrays, 0.0)
    assert not b.events() and b.counters["layout_differs"] == 1
    a.receive("b", Trace(), send.arrays, 0.0)
    a.receive("b", Segment(layout="x"), {}, 0.0)
    assert a.counters["bad.E_DECODE"] == 1 and a.counters["bad.E_FRAME"] == 1


def test_a_layout_differs_by_anything_that_gives_its_numbers_a_meaning() -> None:
    layouts = [
        Layout(shape=[4], actions=[3, 2], goals=FeatureSetsInfo(features=3, largest=2, premium=2.0, scheme="consistent", smallest=1)),
        Layout(shape=[4], actions=[3, 2], goals=FeatureSetsInfo(features=3, largest=2, premium=2.0, scheme="original", smallest=1)),
        Layout(shape=[4], actions=[2, 3]),
        Layout(shape=[5], actions=[3, 2]),
    ]
    assert len({layout_digest(layout) for layout in layouts}) == 4
    assert layout_digest(Layout(shape=[4], actions=[2, 3])) == layout_digest(layouts[2])


def test_what_waits_is_bounded_and_nothing_waits_for_the_dead() -> None:
    a, _ = pair()
    for number in range(MESSAGES_WAITING + 6):
        a.share_segments([segment(number)], "b")
    a.share_segments([segment()], "c")
    a.peer_dead("c", 0.0)
    sends = a.outgoing()
    assert [send.arrays["episode"][0] for send in sends] == list(range(6, MESSAGES_WAITING + 6)) and a.counters["dropped"] == 6


def test_what_waits_goes_out_as_a_transport_takes_it() -> None:
    a = SegmentExchange(CONTINUOUS, "x", waiting=100)
    a.share_segments([continuous(0, 0, 120 * STEPS_PER_MESSAGE, 0)], "b")
    first, second, third = a.outgoing(), a.outgoing(), a.outgoing()
    assert (len(first), len(second), len(third)) == (MESSAGES_WAITING, 100 - MESSAGES_WAITING, 0) and a.counters["dropped"] == 20
    ends = [int(send.arrays["terminated"][0]) for send in first + second]
    assert ends == [0] * 99 + [1], "only the last piece ends where the episode did"
    assert second[-1].arrays["first"][0] == 119 * STEPS_PER_MESSAGE


def test_an_arrival_says_what_its_message_said() -> None:
    a, b = pair()
    a.share_segments([segment()], "b")
    (send,) = a.outgoing()
    b.receive("a", send.message, send.arrays, 0.0)
    (event,) = b.events()
    assert isinstance(event, SegmentsReceived) and same(event.segments[0], segment())
