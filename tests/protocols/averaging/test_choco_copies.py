"""Compressed averaging: copies never differ unnoticed, whatever the network does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.averaging.averager import FixedNeighbourhood
from protocols.averaging.averaging_messages import Compressed, Replica, ReplicaRequest
from protocols.averaging.choco import digest
from protocols.averaging.compressors import Quantise, TopK, usual_step
from protocols.averaging.projection_sketch import disagreement
from tests.protocols.averaging.choco_groups import LAYOUT, Bag, Group, Recording, machine, pair, play, weights_of
from tests.protocols.network import Link

ACTIONS = st.one_of(
    st.tuples(st.just("begin"), st.sampled_from("abc")),
    st.tuples(st.just("arrive"), st.integers(0, 50)),
    st.tuples(st.just("again"), st.integers(0, 50)),
    st.tuples(st.just("lose"), st.integers(0, 50)),
    st.tuples(st.just("wait"), st.sampled_from([0.1, 0.3, 1.1])),
)


@given(actions=st.lists(ACTIONS, max_size=80))
@settings(deadline=None, max_examples=300)
def test_after_any_loss_and_a_quiet_time_all_copies_are_equal(actions: list[tuple[str, Any]]) -> None:
    bag = Bag()
    for kind, value in actions:
        match kind:
            case "begin":
                bag.begin(value)
            case "arrive":
                bag.arrive(value)
            case "again":
                bag.arrive(value, keep=True)
            case "lose":
                bag.lose(value)
            case "wait":
                bag.wait(value)
    bag.quiet()
    bag.check()


@pytest.mark.parametrize("block", range(2))
def test_any_network(block: int) -> None:
    """Copies that differ are never used: each round's move is that of the true replicas of those it names."""
    resyncs = missing = 0
    for seed in range(20 * block, 20 * block + 20):
        random = np.random.default_rng(seed)
        kind = str(random.choice(["ring", "star", "complete"]))
        names = [f"agent-{i}" for i in range(int(random.integers(3, 6)))]
        weights = weights_of(kind, names)
        link = Link.draw(random)
        compressor = TopK(0.2) if random.random() < 0.5 else Quantise(4)
        shown: dict[tuple[str, int], np.ndarray] = {}
        machines = {
            name: Recording(name, shown, FixedNeighbourhood(w), LAYOUT, 40, compressor, deadline=0.5) for name, w in weights.items()
        }
        group = Group(machines, 40, 15, link, seed)
        used: dict[tuple[str, int], tuple[str, ...]] = {}
        averaged = group.network.on_event

        def note(name: str, event: Any, used: Any = used, averaged: Any = averaged) -> None:
            used[name, event.round] = event.used
            averaged(name, event)

        group.network.on_event = note
        group.network.run(until=40.0)
        for (name, number), peers in used.items():
            own = shown[name, number].astype(np.float64)
            terms = [weights[name][peer] * (shown[peer, number] - own) for peer in peers]
            expected = usual_step(compressor) * np.sum(terms, axis=0) if terms else np.zeros(40)
            assert group.deltas[name, number] == pytest.approx(expected, abs=1e-12)
            missing += len(weights[name]) - len(peers)
        for name, node in machines.items():
            assert node.round == 14
            assert all(machines[peer].copy_of(name) == node.shown for peer in weights[name])
            resyncs += node.counters["resyncs"]
            assert not node.counters["parted"]
    assert resyncs > 100 and missing > 100


def test_delta_by_hand() -> None:
    a = machine({"b": 0.5}, 4, TopK(0.5), step=0.25)
    a.begin(0, np.array([1.0, -4.0, 3.0, 2.0]), 0.0)
    (send,) = a.outgoing()
    assert isinstance(send.message, Compressed) and send.message.change == 1
    assert send.arrays["index"].tolist() == [1, 2] and send.arrays["value"].tolist() == [-4, 3]
    assert a.error == pytest.approx(np.sqrt(5 / 30))
    theirs = np.array([8, 0, 0, 1], np.float32)
    message = Compressed(round=0, change=1, layout=LAYOUT, digest=digest(theirs))
    a.receive("b", message, {"index": np.array([0, 3], np.uint32), "value": np.array([8, 1], np.float32)}, 0.0)
    (event,) = a.events()
    assert event.delta.tolist() == [1.0, 0.5, -0.375, 0.125] and event.used == ("b",)


def test_a_changed_digest_is_found_and_healed() -> None:
    bag = pair()
    play(bag, 3)
    bag.begin("a")
    src, send = bag.flying.pop()
    wrong = {"index": send.arrays["index"], "value": send.arrays["value"] + np.float32(1)}
    bag.nodes["b"].receive(src, send.message, wrong, 0.0)
    assert bag.nodes["b"].counters["parted"] == 1
    bag.begin("b")
    bag.quiet()
    bag.check()
    assert bag.nodes["b"].counters["resyncs"] == 1
    play(bag, 2)
    assert bag.nodes["b"].counters["requests"] == 1, "one was enough"


def test_overtaking_needs_no_request() -> None:
    bag = pair()
    for _ in range(2):
        bag.nodes["a"].begin(bag.nodes["a"].round + 1, bag.x["a"], 0.0)
    bag.collect()
    first, second = (index for index, (_, send) in enumerate(bag.flying) if isinstance(send.message, Compressed))
    bag.arrive(second)
    bag.arrive(first)
    node = bag.nodes["b"]
    assert node.copy_of("a") == bag.nodes["a"].shown and not node.counters["requests"]


def test_a_request_is_repeated_until_it_is_answered() -> None:
    bag = pair(deadline=1.0)
    play(bag, 1)
    bag.begin("a")
    bag.flying.clear()
    bag.begin("b")
    bag.flying.clear()
    bag.wait(1.0)
    for _ in range(3):
        assert {type(send.message) for _, send in bag.flying} == {ReplicaRequest}
        bag.flying.clear()
        bag.wait(0.25)
    bag.quiet()
    bag.check()
    assert [node.counters["requests"] for node in bag.nodes.values()] == [1, 1]


def test_a_change_for_which_nobody_waits_is_not_lost_unseen() -> None:
    bag = pair()
    play(bag, 1)
    bag.begin("b")
    bag.wait(1.0)  # b ends its round without a, asks, and receives that its copy is right
    bag.quiet()
    assert bag.nodes["b"].counters["confirmed"] == 1
    bag.begin("a")
    bag.flying = [(src, send) for src, send in bag.flying if not isinstance(send.message, Compressed)]
    bag.quiet()
    bag.check()


def test_a_right_copy_is_confirmed_without_the_vector() -> None:
    bag = pair()
    play(bag, 2)
    bag.nodes["b"].peer_dead("a", 0.0)
    bag.nodes["b"].peer_alive("a", 2, 0.0)
    bag.collect()
    bag.arrive(0)
    (_, answer) = bag.flying[0]
    assert isinstance(answer.message, Replica) and not answer.arrays
    bag.quiet()
    assert bag.nodes["b"].counters["confirmed"] == 1 and bag.nodes["a"].counters["bytes.replicas"] == 0


def test_who_restarts_from_an_older_state_is_followed() -> None:
    bag = pair()
    play(bag, 3)
    kept = bag.nodes["a"].state()
    play(bag, 4)
    for state in (kept, None):  # from a checkpoint, and from nothing
        fresh = machine({"b": 0.5}, 8, TopK(0.5))
        if state is not None:
            fresh.load_state(state)
        bag.nodes["a"] = fresh
        fresh.peer_alive("b", 1, bag.now)
        play(bag, 1)
        bag.quiet()
        play(bag, 3)
        bag.quiet()
        bag.check()
        gap = disagreement(np.array(list(bag.x.values())))
        play(bag, 8)
        assert disagreement(np.array(list(bag.x.values()))) < gap


def test_it_goes_on_bit_for_bit_from_a_checkpoint() -> None:
    def group() -> Bag:
        bag = Bag()
        for name in bag.nodes:
            bag.nodes[name] = machine(weights_of("complete", ["a", "b", "c"])[name], 12, Quantise(2), seed=7, deadline=1.0)
        return bag

    one = group()
    play(one, 6)
    one.begin("b")
    while one.flying:
        one.arrive(0)  # a and c have b's change of the next round, b has closed nothing
    two = group()
    two.x = {name: x.copy() for name, x in one.x.items()}
    for name in ("a", "c"):
        two.nodes[name].load_state(one.nodes[name].state())
    two.nodes["b"] = one.nodes["b"]
    ends = []
    for bag in (two, one):
        states = {name: node.state() for name, node in bag.nodes.items()}
        ends.append(states)
    assert all((ends[0]["a"][key] == ends[1]["a"][key]).all() for key in ends[1]["a"]) and ends[0]["a"].keys() == ends[1]["a"].keys()

    one, two = group(), group()
    play(one, 6)
    two.x = {name: x.copy() for name, x in one.x.items()}
    for name, node in one.nodes.items():
        two.nodes[name].load_state(node.state())
    play(one, 5)
    play(two, 5)
    for name in "abc":
        assert (one.x[name] == two.x[name]).all() and one.nodes[name].shown == two.nodes[name].shown
    two.check()


def test_what_overtook_is_in_a_checkpoint() -> None:
    bag = pair()
    for _ in range(2):
        bag.nodes["a"].begin(bag.nodes["a"].round + 1, bag.x["a"], 0.0)
    bag.collect()
    changes = [(src, send) for src, send in bag.flying if isinstance(send.message, Compressed)]
    bag.nodes["b"].receive("a", changes[1][1].message, changes[1][1].arrays, 0.0)
    fresh = machine({"a": 0.5}, 8, TopK(0.5))
    fresh.load_state(bag.nodes["b"].state())
    fresh.receive("a", changes[0][1].message, changes[0][1].arrays, 0.0)
    assert fresh.copy_of("a") == bag.nodes["a"].shown
