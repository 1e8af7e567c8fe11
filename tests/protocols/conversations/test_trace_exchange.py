"""Trace exchange: rules one by one, then seeded networks with delay, loss, duplicates, reordering and death."""

from __future__ import annotations

import numpy as np
import pytest

from protocols.conversations.episode_exchange import (
    EpisodeExchanged,
    EpisodeTrace,
    Trace,
    TraceAck,
    TraceExchange,
    TraceLimits,
    encode_traces,
)
from protocols.conversations.proposals import Propose
from tests.protocols.network import Link, Network

LIMITS = TraceLimits(goals=6, features=3, longest=100)


def exchange(seed: int = 0, **options: int) -> TraceExchange:
    return TraceExchange(LIMITS, np.random.default_rng(seed), **options)


def trace(episode: int, goal: int = 0, length: int = 10) -> EpisodeTrace:
    return EpisodeTrace(episode, goal, 1, False, 0.5, length, length, ((0, 2, goal % 3),))


def acknowledgement(*episodes: int) -> dict[str, np.ndarray]:
    return {"episode": np.array(episodes, np.int64)}


def test_two_members_complete_each_other_in_one_message_for_many_episodes() -> None:
    a, b = exchange(), exchange()
    for episode in (1, 2, 3):
        a.finished(trace(episode, 1), ["b"], 0.0)
        b.finished(trace(episode, 2), ["a"], 0.0)
    (from_a,), (from_b,) = a.outgoing(), b.outgoing()
    assert from_a.dst == "b" and from_a.arrays["episode"].tolist() == [1, 2, 3]
    a.receive("b", from_b.message, from_b.arrays, 0.1)
    b.receive("a", from_a.message, from_a.arrays, 0.1)
    assert a.events() == [EpisodeExchanged(e, trace(e, 1), {"b": trace(e, 2)}) for e in (1, 2, 3)]
    assert b.events() == [EpisodeExchanged(e, trace(e, 2), {"a": trace(e, 1)}) for e in (1, 2, 3)]
    (ack,) = b.outgoing()
    assert isinstance(ack.message, TraceAck) and ack.arrays["episode"].tolist() == [1, 2, 3]
    a.receive("b", ack.message, ack.arrays, 0.2)
    a.outgoing()
    a.tick(60.0)
    assert not a.outgoing() and not a.events() and not a._active


def test_alone_it_is_complete_at_once() -> None:
    a = exchange()
    a.finished(trace(1), [], 0.0)
    assert a.events() == [EpisodeExchanged(1, trace(1), {})] and not a.outgoing()


def test_an_early_trace_is_kept_and_acknowledged_only_when_the_own_episode_ends() -> None:
    a = exchange()
    a.receive("b", Trace(), encode_traces([trace(1)]), 0.0)
    a.receive("x", Trace(), encode_traces([trace(1)]), 0.0)
    assert not a.outgoing() and not a.events()
    a.finished(trace(1, 3), ["b"], 0.5)
    assert a.events() == [EpisodeExchanged(1, trace(1, 3), {"b": trace(1)})]
    assert {(s.dst, type(s.message)) for s in a.outgoing()} == {("b", Trace), ("b", TraceAck)}
    assert a.counters["not_member"] == 1


def test_deadline_makes_incomplete_with_what_came_and_ends_repetition() -> None:
    a = exchange(deadline=5)
    a.finished(trace(1), ["b", "c"], 0.0)
    a.outgoing()
    a.receive("c", Trace(), encode_traces([trace(1, 4)]), 0.1)
    a.outgoing()
    repeated, now = 0, 0.0
    while not (events := a.events()):
        now = a.wake()
        a.tick(now)
        repeated += sum(isinstance(send.message, Trace) for send in a.outgoing())
    assert now == 5.0 and events == [EpisodeExchanged(1, trace(1), {"c": trace(1, 4)}, frozenset({"b"}))]
    assert repeated >= 6 and not a._active and not a.outgoing()
    a.receive("b", Trace(), encode_traces([trace(1, 2)]), 5.1)
    assert not a.events() and a.counters["late"] == 1
    assert [send.dst for send in a.outgoing()] == ["b"], "acknowledged, so that it stops"


def test_complete_but_unacknowledged_goes_on_repeating_to_those_who_miss_it() -> None:
    a = exchange()
    a.finished(trace(1), ["b", "c"], 0.0)
    for member in "bc":
        a.receive(member, Trace(), encode_traces([trace(1)]), 0.1)
    a.receive("c", TraceAck(), acknowledgement(1), 0.1)
    assert len(a.events()) == 1
    a.outgoing()
    a.tick(1.0)
    assert [(send.dst, type(send.message)) for send in a.outgoing()] == [("b", Trace)]


def test_nobody_waits_for_the_dead() -> None:
    a = exchange()
    a.finished(trace(1), ["b", "c"], 0.0)
    a.finished(trace(2), ["c"], 0.0)
    a.finished(trace(3), ["c", "d"], 0.0)
    a.receive("b", Trace(), encode_traces([trace(1)]), 0.1)
    a.peer_dead("b", 0.2)
    assert not a.events(), "its trace is there"
    a.peer_dead("c", 0.2)
    assert [(event.missing, event.episode) for event in a.events()] == [({"c"}, 1), ({"c"}, 2)]
    a.receive("d", Trace(), encode_traces([trace(3)]), 0.3)
    assert a.events() == [EpisodeExchanged(3, trace(3), {"d": trace(3)}, frozenset({"c"}))]
    a.receive("d", TraceAck(), acknowledgement(3), 0.3)
    a.tick(3.0)
    assert not a._active and all(not isinstance(send.message, Trace) or send.dst == "b" for send in a.outgoing())


def test_first_trace_wins_and_duplicates_are_acknowledged() -> None:
    a = exchange()
    a.finished(trace(1), ["b"], 0.0)
    a.outgoing()
    a.receive("b", Trace(), encode_traces([trace(1, 1)]), 0.1)
    a.outgoing()
    a.receive("b", Trace(), encode_traces([trace(1, 5)]), 0.1)
    assert a.events() == [EpisodeExchanged(1, trace(1), {"b": trace(1, 1)})] and a.counters["duplicate"] == 1
    assert [send.arrays["episode"].tolist() for send in a.outgoing()] == [[1]]


def test_a_trace_of_another_length_is_not_taken() -> None:
    a = exchange()
    a.finished(trace(1, length=10), ["b"], 0.0)
    a.outgoing()
    a.receive("b", Trace(), encode_traces([trace(1, length=11)]), 0.1)
    assert not a.events() and not a.outgoing() and a.counters["length_differs"] == 1


def test_memory_is_bounded() -> None:
    a = exchange(limit=10)
    for episode in range(30):
        a.finished(trace(episode), ["b"], 0.0)
        a.receive("c", Trace(), encode_traces([trace(100 + episode)]), 0.0)
    assert len(a._exchanges) == len(a._active) == len(a._early["c"]) == 10
    assert [event.episode for event in a.events()] == list(range(20))
    assert a.outgoing()[0].arrays["episode"].tolist() == list(range(20, 30))
    a.tick(20.0)
    assert not a._early and a.counters["early_expired"] == 10


def test_malformed_and_foreign_messages_change_nothing() -> None:
    a = exchange()
    a.finished(trace(1), ["b"], 0.0)
    bad = encode_traces([trace(1)])
    a.receive("b", Trace(), {**bad, "goal": np.array([6], np.int32)}, 0.1)
    a.receive("b", TraceAck(), {}, 0.1)
    a.receive("b", Propose(), {}, 0.1)
    assert a.counters == {"bad.E_FRAME": 2, "bad.E_DECODE": 1} and not a.events()


def play(seed: int) -> tuple[Network[TraceExchange], dict[int, list[str]], Link, str | None]:
    random = np.random.default_rng(seed)
    names = ["a", "b", "c", "d"]
    link = Link.draw(random)
    nodes = {name: TraceExchange(LIMITS, np.random.default_rng((seed, i)), deadline=5.0) for i, name in enumerate(names)}
    network = Network(nodes, link, random)
    dead = str(random.choice(names)) if random.random() < 0.2 else None
    members: dict[int, list[str]] = {}
    for episode in range(12):
        members[episode] = chosen = random.permutation(names)[: random.integers(1, 5)].tolist()
        end = float(random.uniform(0, 2))
        for member in chosen:
            others = [other for other in chosen if other != member]
            own = trace(episode, names.index(member))
            network.at(end + float(random.uniform(0, 0.3)), lambda m=member, t=own, o=others: nodes[m].finished(t, o, network.now))
    if dead is not None:
        when = float(random.uniform(0, 2))
        network.at(when, lambda: network.kill(dead))
        network.at(when + 0.3, lambda: [nodes[name].peer_dead(dead, network.now) for name in names if name != dead])
    network.run(until=12.0)
    return network, members, link, dead


@pytest.mark.parametrize("block", range(3))
def test_any_network(block: int) -> None:
    complete = 0
    for seed in range(block * 60, block * 60 + 60):
        network, members, link, dead = play(seed)
        for name in set(network.nodes) - {dead}:
            events = [event for _, event in network.heard[name]]
            mine = [episode for episode, chosen in members.items() if name in chosen]
            assert sorted(event.episode for event in events) == mine, "one event for each own episode"
            assert not network.nodes[name]._active, "nothing is repeated for ever"
            for event in events:
                others = set(members[event.episode]) - {name}
                missing = event.missing
                assert set(event.others) == others - missing
                assert all(their == trace(event.episode, "abcd".index(other)) for other, their in event.others.items())
                if link.loss == 0:
                    assert missing <= {dead}, "without loss only the dead are missing"
                complete += not missing
    assert complete > 1500


def test_the_same_seed_plays_the_same_way() -> None:
    assert play(3)[0].heard == play(3)[0].heard
