"""Joint experience: the wire format is exact, what breaks it is refused, and members complete the same episodes over any network."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.conversations.episode_exchange import EpisodeExchanged
from protocols.conversations.joint_experience import (
    STEPS_PER_MESSAGE,
    EpisodeSteps,
    JointExperience,
    MemberSteps,
    PolicySnapshot,
    decode_pieces,
    encode_pieces,
    pieces_of,
)
from protocols.conversations.segment_exchange import SegmentLimits
from protocols.wire.codec import decode, encode
from tests.protocols.network import Link, Network

LIMITS = {
    "a": SegmentLimits(3, np.float32, (5,), 1),
    "b": SegmentLimits(2, np.float32, (), 2),
    "c": SegmentLimits(4, np.uint8, (2, 3), 2),
}


def steps(name: str, episode: int, number: int = 4, terminated: bool = False) -> EpisodeSteps:
    """Of that member in that episode: random, and always the same."""
    limits, random = LIMITS[name], np.random.default_rng((ord(name), episode))
    observation = random.integers(0, 255, (number + 1, limits.size)).astype(limits.dtype)
    if limits.actions:
        action = random.integers(0, limits.actions, (number, len(limits.actions))).astype(np.int32)
    else:
        action = random.normal(size=(number, limits.width)).astype(np.float32)
    return EpisodeSteps(episode, observation, action, random.normal(size=number).astype(np.float32), terminated)


def equal(one: EpisodeSteps, other: EpisodeSteps) -> bool:
    arrays = all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("observation", "action", "reward"))
    return arrays and (one.episode, one.terminated) == (other.episode, other.terminated)


def member(name: str, seed: int = 0, **options: Any) -> JointExperience:
    return JointExperience({other: limits for other, limits in LIMITS.items() if other != name}, np.random.default_rng(seed), **options)


def arrive(machine: JointExperience, src: str, *episodes: EpisodeSteps, now: float = 0.1) -> None:
    for one in episodes:
        for piece in pieces_of(one):
            machine.receive(src, MemberSteps(), encode_pieces([piece]), now)


@given(st.sampled_from("abc"), st.lists(st.integers(1, 40), min_size=1, max_size=5), st.booleans())
def test_steps_survive_the_wire(name: str, lengths: list[int], terminated: bool) -> None:
    given_steps = [steps(name, episode, number, terminated) for episode, number in enumerate(lengths)]
    message, frames = decode(encode(MemberSteps(), encode_pieces([piece for one in given_steps for piece in pieces_of(one)])))
    assert isinstance(message, MemberSteps)
    found = [piece.steps for piece in decode_pieces(frames, LIMITS[name])]
    assert len(found) == len(given_steps) and all(map(equal, found, given_steps))


def test_steps_that_break_a_rule_are_refused_and_change_nothing() -> None:
    good = steps("b", 1)
    broken = [
        replace(good, episode=-1),
        replace(good, reward=np.array([0, np.nan, 0, 0], np.float32)),
        replace(good, observation=np.full((5, 2), np.inf, np.float32)),
        replace(good, observation=good.observation[:-1]),
        replace(good, observation=np.zeros((5, 3), np.float32)),
        replace(good, observation=good.observation.astype(np.float64)),
        replace(good, action=np.zeros((4, 1), np.float32)),
        replace(good, action=np.full((4, 2), np.nan, np.float32)),
        replace(steps("a", 1), action=np.full((4, 1), 5, np.int32)),
    ]
    machine = member("a")
    machine.finished(steps("a", 1), ["b", "c"], 0.0)
    machine.outgoing()
    for one in broken:
        arrive(machine, "b", one)
    frames = encode_pieces(pieces_of(good))
    for name in frames:
        machine.receive("b", MemberSteps(), {key: frame for key, frame in frames.items() if key != name}, 0.1)
    for change in ({"first": 1}, {"steps": 3}, {"total": 3}, {"total": 0}, {"total": 2**31 - 1}, {"terminated": 2}):
        changed = {name: np.array([value], frames[name].dtype) for name, value in change.items()}
        machine.receive("b", MemberSteps(), frames | changed, 0.1)
    assert machine.counters == {"bad.E_FRAME": len(broken) + len(frames) + 6}
    assert not machine.outgoing() and not machine.events()
    arrive(machine, "b", good)
    arrive(machine, "c", steps("c", 1, 2))
    (event,) = machine.events()
    assert not event.missing and equal(event.others["b"], good)


@pytest.mark.parametrize("number", [4, STEPS_PER_MESSAGE + 4])
def test_rewards_out_of_range_are_refused_and_change_nothing(number: int) -> None:
    machine, good = member("a", reward_range=(-10.0, 10.0)), steps("b", 1, number)
    machine.finished(steps("a", 1), ["b"], 0.0)
    machine.outgoing()
    for wrong in (10.5, -1e6):
        reward = good.reward.copy()
        reward[-1] = wrong
        arrive(machine, "b", replace(good, reward=reward))
    assert machine.counters["reward_out_of_range"] == 2 and not machine.outgoing() and not machine.events()
    arrive(machine, "b", good)
    (event,) = machine.events()
    assert not event.missing and equal(event.others["b"], good)


def test_only_members_of_the_team_are_listened_to() -> None:
    machine = member("a")
    machine.receive("d", MemberSteps(), encode_pieces(pieces_of(steps("b", 1))), 0.0)
    machine.receive("d", PolicySnapshot(version=1), {"parameters": np.zeros(3, np.float32)}, 0.0)
    assert machine.counters == {"bad.E_UNKNOWN_NODE": 2} and not machine.outgoing() and not machine.snapshots()


def test_steps_of_an_episode_that_the_agent_does_not_play_are_dropped_after_a_while() -> None:
    machine = member("a", deadline=1.0)
    arrive(machine, "b", steps("b", 99))
    assert not machine.outgoing(), "nothing is acknowledged and then dropped"
    machine.tick(10.0)
    assert machine.counters["early_expired"] == 1 and not machine.events()


def test_duplicates_are_acknowledged_and_change_nothing() -> None:
    machine = member("a")
    machine.finished(steps("a", 1), ["b", "c"], 0.0)
    for _ in range(2):
        arrive(machine, "b", steps("b", 1))
    arrive(machine, "c", steps("c", 1))
    (event,) = machine.events()
    assert equal(event.others["b"], steps("b", 1)) and equal(event.own, steps("a", 1))
    machine.outgoing()
    arrive(machine, "c", replace(steps("c", 1), reward=np.ones(4, np.float32)), now=0.2)
    assert not machine.events() and machine.counters["duplicate"] == 2
    assert [type(send.message).__name__ for send in machine.outgoing()] == ["MemberStepsAck"]


def test_long_episodes_travel_in_pieces_of_which_each_may_be_lost_or_repeated() -> None:
    machine, long = member("a"), steps("b", 1, 3 * STEPS_PER_MESSAGE + 7, terminated=True)
    machine.finished(steps("a", 1), ["b"], 0.0)
    machine.outgoing()
    pieces = pieces_of(long)
    assert [piece.steps.steps for piece in pieces] == [512, 512, 512, 7]
    for place in (3, 0, 0, 2, 3):
        machine.receive("b", MemberSteps(), encode_pieces([pieces[place]]), 0.1)
    assert not machine.events() and not machine.outgoing()
    machine.receive("b", MemberSteps(), encode_pieces([replace(pieces[1], total=long.steps + 1)]), 0.1)
    machine.receive("b", MemberSteps(), encode_pieces([replace(pieces[1], steps=replace(pieces[1].steps, terminated=False))]), 0.1)
    assert machine.counters["length_differs"] == 2
    machine.receive("b", MemberSteps(), encode_pieces([pieces[1]]), 0.1)
    (event,) = machine.events()
    assert equal(event.others["b"], long)


def test_an_episode_with_a_dead_member_is_dropped_at_once() -> None:
    machine = member("a")
    machine.finished(steps("a", 1), ["b", "c"], 0.0)
    arrive(machine, "b", steps("b", 1))
    machine.peer_dead("c", 0.2)
    machine.finished(steps("a", 2), ["b", "c"], 0.3)
    assert [(event.episode, event.missing) for event in machine.events()] == [(1, {"c"}), (2, {"b", "c"})]
    assert not [send for send in machine.outgoing() if isinstance(send.message, MemberSteps)]
    machine.tick(60.0)
    assert machine.wake() == np.inf and not machine.outgoing()
    machine.peer_alive("c", 2, 60.0)
    machine.finished(steps("a", 3), ["b", "c"], 60.1)
    arrive(machine, "b", steps("b", 3))
    arrive(machine, "c", steps("c", 3))
    assert [(event.episode, event.missing) for event in machine.events()] == [(3, set())]


def test_an_episode_is_incomplete_after_the_deadline() -> None:
    machine = member("a", deadline=1.0)
    machine.finished(steps("a", 1), ["b", "c"], 0.0)
    arrive(machine, "b", steps("b", 1))
    machine.tick(1.0)
    assert [(event.episode, event.missing) for event in machine.events()] == [(1, {"c"})]
    arrive(machine, "c", steps("c", 1), now=1.1)
    assert not machine.events() and machine.counters["late"] == 1


def test_what_is_over_keeps_no_steps() -> None:
    machine = member("a")
    machine.finished(steps("a", 1), ["b", "c"], 0.0)
    arrive(machine, "b", steps("b", 1))
    machine.peer_dead("c", 0.1)
    exchange = machine._exchanges[1]
    assert not machine._active and not exchange.payload.steps and not any(one.steps for one in exchange.others.values())


def test_the_newest_snapshot_is_repeated_until_it_is_acknowledged() -> None:
    a, b = member("a"), member("b")
    a.peer_dead("c", 0.0)
    a.share_snapshot(0, np.arange(3, dtype=np.float32), 0.0)
    (first,) = a.outgoing()
    assert first.dst == "b"
    a.tick(a.wake())
    (again,) = a.outgoing()
    a.share_snapshot(50, np.ones(3, np.float32), 5.0)
    (newer,) = a.outgoing()
    for send in (newer, first, again, newer):
        b.receive("a", send.message, send.arrays, 5.1)
    assert {name: found.tolist() for name, found in b.snapshots().items()} == {"a": [1, 1, 1]} and not b.snapshots()
    assert b.counters["old_snapshot"] == 3
    for send in b.outgoing():
        a.receive("b", send.message, send.arrays, 5.2)
    assert a.wake() == np.inf
    a.peer_alive("c", 2, 6.0)
    assert [send.dst for send in a.outgoing()] == ["c"], "a member that comes (back) needs it"
    for bad in (np.zeros(0, np.float32), np.array([np.nan], np.float32), np.zeros((2, 2), np.float32)):
        b.receive("a", PolicySnapshot(version=99), {"parameters": bad}, 7.0)
        with pytest.raises(ValueError, match="snapshot"):
            a.share_snapshot(99, bad, 7.0)
    assert b.counters["bad.E_FRAME"] == 3 and not b.snapshots()


@pytest.mark.parametrize("seed", range(15))
def test_any_network(seed: int) -> None:
    random = np.random.default_rng(seed)
    link = Link.draw(random)
    nodes = {name: member(name, i, deadline=6.0) for i, name in enumerate("abc")}
    network = Network(nodes, link, random)
    lengths = {(name, episode): int(random.integers(1, 700)) for name in nodes for episode in range(10)}
    for (name, episode), number in lengths.items():
        own, others = steps(name, episode, number), [other for other in nodes if other != name]
        network.at(float(random.uniform(0, 2)), lambda n=name, s=own, o=others: nodes[n].finished(s, o, network.now))
    for version in range(3):
        vector = np.full(4, version, np.float32)
        network.at(version, lambda v=version, s=vector: [nodes[name].share_snapshot(v, s, network.now) for name in nodes])
    network.run(until=12.0)
    for name, node in nodes.items():
        events: list[EpisodeExchanged[EpisodeSteps]] = [event for _, event in network.heard[name]]
        assert sorted(event.episode for event in events) == list(range(10)) and not node._active
        for event in events:
            assert link.loss > 0 or not event.missing
            assert all(equal(one, steps(src, event.episode, lengths[src, event.episode])) for src, one in event.others.items())
        assert all(found.tolist() == [2] * 4 for found in node.snapshots().values()) and node.wake() > 100


@given(st.lists(st.tuples(st.sampled_from("bc"), st.integers(0, 2), st.integers(0, 2)), max_size=30))
def test_any_order_of_pieces_gives_the_same_steps(order: list[tuple[str, int, int]]) -> None:
    machine, number = member("a"), 2 * STEPS_PER_MESSAGE + 3
    for episode in range(3):
        machine.finished(steps("a", episode), ["b", "c"], 0.0)
    every = [(src, episode, place) for src in "bc" for episode in range(3) for place in range(3)]
    for src, episode, place in [*order, *every]:
        machine.receive(src, MemberSteps(), encode_pieces([pieces_of(steps(src, episode, number))[place]]), 0.1)
    events = {event.episode: event for event in machine.events()}
    assert events.keys() == {0, 1, 2}
    for episode, event in events.items():
        assert not event.missing and all(equal(one, steps(src, episode, number)) for src, one in event.others.items())
