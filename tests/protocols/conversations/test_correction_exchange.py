"""Corrections: the wire format is exact, what breaks it is refused, and members exchange them as they do traces."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from protocols.conversations.correction_exchange import (
    STEPS_PER_MESSAGE,
    CorrectionExchange,
    EpisodeCorrection,
    decode_corrections,
    encode_corrections,
)
from protocols.conversations.episode_exchange import Correction, EpisodeExchanged, Trace
from protocols.runtime.errors import BadMessage
from protocols.wire.codec import decode, encode
from tests.protocols.network import Link, Network

GOALS = 6
RATIOS = arrays(np.float16, st.integers(1, 50), elements=st.floats(0, 2, width=16))
CORRECTION = st.builds(EpisodeCorrection, st.integers(0, 2**63 - 1), st.integers(0, GOALS - 1), RATIOS)
CORRECTIONS = st.lists(CORRECTION, max_size=5, unique_by=lambda one: one.episode)


def correction(episode: int, goal: int = 3, steps: int = 4, ratio: float = 0.5) -> EpisodeCorrection:
    return EpisodeCorrection(episode, goal, np.full(steps, ratio, np.float16))


def values(corrections: Iterable[EpisodeCorrection]) -> list[tuple[int, int, list[float]]]:
    return [(one.episode, one.goal, one.ratios.tolist()) for one in corrections]


@given(CORRECTIONS)
def test_corrections_survive_the_wire(corrections: list[EpisodeCorrection]) -> None:
    message, frames = decode(encode(Correction(), encode_corrections(corrections)))
    assert isinstance(message, Correction)
    assert values(decode_corrections(frames, GOALS)) == values(corrections)


@pytest.mark.parametrize(
    "change",
    [{"episode": -1}, {"goal": 6}, {"goal": -1}, {"ratios": np.array([2.1], np.float16)}, {"ratios": np.array([-0.1], np.float16)},
     {"ratios": np.zeros(0, np.float16)}, {"ratios": np.array([np.nan], np.float16)}, {"ratios": np.zeros(70_000, np.float16)}],
    ids=str,
)  # fmt: skip
def test_a_correction_that_breaks_a_rule_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(BadMessage, match="E_FRAME"):
        decode_corrections(encode_corrections([correction(8), replace(correction(7), **change)]), GOALS)  # type: ignore[arg-type]


def test_frames_that_break_a_rule_are_refused() -> None:
    frames = encode_corrections([correction(7), correction(8)])
    broken = [
        *({name: frame for name, frame in frames.items() if name != left_out} for left_out in frames),
        {**frames, "ratio": frames["ratio"].astype(np.float32)},
        {**frames, "ratio": frames["ratio"][:-1]},
        {**frames, "steps": np.array([2**31 - 1, 9], np.int32)},
        {**frames, "goal": frames["goal"][:1]},
    ]
    for bad in broken:
        with pytest.raises(BadMessage, match="E_FRAME"):
            decode_corrections(bad, GOALS)


def exchange(seed: int = 0, **options: float) -> CorrectionExchange:
    return CorrectionExchange(GOALS, np.random.default_rng(seed), **options)  # type: ignore[arg-type]


def test_members_who_chose_another_goal_are_not_believed() -> None:
    a = exchange()
    a.finished(correction(1, goal=3), ["b"], 0.0)
    a.outgoing()
    a.receive("b", Correction(), encode_corrections([correction(1, goal=4)]), 0.1)
    assert not a.events() and not a.outgoing() and a.counters["goal_differs"] == 1
    a.receive("b", Correction(), encode_corrections([correction(1, goal=3, steps=9)]), 0.2)
    (event,) = a.events()
    assert isinstance(event, EpisodeExchanged) and event.episode == 1 and not event.missing
    assert values([event.own, event.others["b"]]) == values([correction(1), correction(1, steps=9)]), "its own part may be longer"


def test_messages_are_bounded_and_hold_as_many_episodes_as_fit() -> None:
    a = exchange()
    for episode in range(10):
        a.finished(correction(episode, steps=STEPS_PER_MESSAGE // 4), ["b"], 0.0)
    sends = a.outgoing()
    assert [len(send.arrays["episode"]) for send in sends] == [4, 4, 2]
    assert max(len(send.arrays["ratio"]) for send in sends) <= STEPS_PER_MESSAGE


def test_a_trace_is_no_correction() -> None:
    a = exchange()
    a.receive("b", Trace(), encode_corrections([correction(1)]), 0.1)
    assert a.counters["bad.E_DECODE"] == 1


@pytest.mark.parametrize("seed", range(20))
def test_any_network(seed: int) -> None:
    random = np.random.default_rng(seed)
    link = Link.draw(random)
    nodes = {name: exchange(i) for i, name in enumerate("ab")}
    network = Network(nodes, link, random)
    for episode in range(20):
        for name, ratio in (("a", 0.5), ("b", 1.5)):
            own, other = correction(episode, ratio=ratio), "b" if name == "a" else "a"
            network.at(float(random.uniform(0, 2)), lambda n=name, c=own, o=other: nodes[n].finished(c, [o], network.now))
    network.run(until=12.0)
    for name, ratio in (("a", 1.5), ("b", 0.5)):
        events = [event for _, event in network.heard[name]]
        assert sorted(event.episode for event in events) == list(range(20)) and not nodes[name]._active
        for event in events:
            if link.loss == 0:
                assert not event.missing
            assert all((one.ratios == np.float16(ratio)).all() for one in event.others.values())
