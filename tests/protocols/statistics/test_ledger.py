"""The ledger: whatever the network does, equal ledgers and totals that are equal bit for bit; refusals; traffic."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.conversations.conversation import Send
from protocols.statistics.ledger import MOST_ORIGINS, Ledger
from protocols.statistics.ledger_messages import LedgerDigest, LedgerEntry, LedgerPull
from protocols.statistics.ledger_state import LedgerVersion, make_entry
from protocols.statistics.statistics_consensus import IncompatibleStatistics, NewerEpoch
from protocols.wire.codec import encode
from tests.protocols.network import Link, Network
from tests.protocols.statistics.ledgers import RING, SIZE, assert_equal, deliver, ledger, payload, settle


def test_four_in_a_ring_know_everything_after_two_hops_and_then_keep_quiet() -> None:
    ledgers = {name: ledger(name) for name in RING}
    for i, one in enumerate(ledgers.values()):
        assert one.total().origins == 0 and not one.total().vector.any()
        one.publish(payload(i), 10 * (i + 1), 0.0)
    now = settle(ledgers, 0.0)
    total = assert_equal(ledgers)
    expected = np.zeros(SIZE)
    for i in range(4):
        expected += payload(i)
    assert total.tobytes() == expected.tobytes()
    entries = deliver(ledgers, now + 0.1)
    assert not entries, "they agree, and it is not yet time to send it again"
    kinds = [type(send.message) for _, send in deliver(ledgers, now + 20.0)]
    assert kinds and set(kinds) == {LedgerDigest}


@pytest.mark.parametrize("seed", range(6))
def test_equal_under_loss_delay_and_repetition(seed: int) -> None:
    random = np.random.default_rng(seed)
    ledgers = {name: ledger(name) for name in RING}
    network = Network(ledgers, Link((0.01, 0.5), 0.3, 0.2), random)
    for time in range(10):
        for i, (name, one) in enumerate(ledgers.items()):
            network.at(
                time * 0.4 + 0.1 * i, lambda one=one, name=name, time=time, i=i: one.publish(payload(10 * i + time), time, network.now)
            )
    network.run(60.0)
    assert_equal(ledgers)
    assert [entry.number for entry in ledgers["a"].versions.values()] == [10] * 4
    assert network.sent < 3000


Doing = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.integers(0, 3), st.integers(0, 10**6)),
        st.tuples(st.just("deliver"), st.integers(0, 10**6), st.just(0)),
        st.tuples(st.just("repeat"), st.integers(0, 10**6), st.just(0)),
        st.tuples(st.just("lose"), st.integers(0, 10**6), st.just(0)),
        st.tuples(st.just("tick"), st.integers(0, 3), st.just(0)),
        st.tuples(st.just("restart"), st.integers(0, 3), st.just(0)),
        st.tuples(st.just("forget"), st.integers(0, 3), st.integers(0, 3)),
    ),
    max_size=60,
)


@settings(max_examples=100, deadline=None)
@given(doing=Doing)
def test_any_order_loss_repetition_restart_and_withdrawal_ends_in_equal_ledgers(doing: list[tuple[str, int, int]]) -> None:
    names = sorted(RING)
    ledgers = {name: ledger(name) for name in names}
    lives = dict.fromkeys(names, 1)
    flying: list[tuple[str, int, Send]] = []
    now = 0.0
    for verb, which, number in doing:
        now += 0.2
        if verb == "publish":
            ledgers[names[which]].publish(payload(number), number, now)
        elif verb == "tick":
            ledgers[names[which]].tick(now)
        elif verb == "forget":
            ledgers[names[which]].forget(names[number], now)
        elif verb == "restart":
            name = names[which]
            lives[name] += 1
            ledgers[name] = ledger(name, incarnation=lives[name])
            for other in RING[name]:
                ledgers[other].peer_alive(name, lives[name], now)
        elif flying:
            src, life, send = flying[which % len(flying)] if verb == "repeat" else flying.pop(which % len(flying))
            if verb != "lose" and life == lives[src]:  # messages of a former incarnation are dropped by the transport
                ledgers[send.dst].receive(src, send.message, send.arrays, now)
        for name, one in ledgers.items():
            flying += [(name, lives[name], send) for send in one.outgoing()]
            for entry in map(one.entry, names):
                assert entry is None or not entry.payload.flags.writeable
    for _ in range(20):
        now += 1.0
        deliver(ledgers, now)
    assert_equal(ledgers)


@settings(max_examples=100, deadline=None)
@given(data=st.data(), numbers=st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(0, 3)), min_size=1, max_size=12))
def test_merging_is_idempotent_and_commutative(data: st.DataObject, numbers: list[tuple[int, int, int]]) -> None:
    """Entries of three origins in any order, any number of times, with payloads that contradict each other under one number too."""
    entries = [make_entry("basis", 0, "bcd"[seed % 3], incarnation, count, payload(seed)) for incarnation, count, seed in numbers]
    once, often = ledger("a"), ledger("a")
    order = data.draw(st.permutations(entries))
    for one, given_ in ((once, entries), (often, [*order, *data.draw(st.lists(st.sampled_from(entries), max_size=8))])):
        for entry in given_:
            version = entry.version
            message = LedgerEntry(
                basis="basis", epoch=0, origin=entry.origin, incarnation=version.incarnation, count=version.number, seal=version.seal
            )  # fmt: skip
            one.receive("b", message, {"payload": entry.payload}, 0.0)
    assert once.versions == often.versions and once.total().vector.tobytes() == often.total().vector.tobytes()
    newest = {origin: max(e.version for e in entries if e.origin == origin) for origin in {e.origin for e in entries}}
    assert once.versions == dict(sorted(newest.items()))


# --- what is refused --------------------------------------------------------------------------------------------------------------


def entry_message(
    origin: str, values: np.ndarray, count: int = 1, incarnation: int = 1, basis: str = "basis", epoch: int = 0
) -> tuple[Any, Any]:
    entry = make_entry(basis, epoch, origin, incarnation, count, values)
    seal = entry.version.seal
    return LedgerEntry(basis=basis, epoch=epoch, origin=origin, incarnation=incarnation, count=count, seal=seal), {"payload": entry.payload}


def test_another_basis_is_refused_aloud_and_counted() -> None:
    one, other = ledger("a"), ledger("b", basis="another")
    other.publish(payload(1), 1, 0.0)
    for _ in range(3):
        deliver({"a": one, "b": other}, 10.0 * _)
    assert one.counters["foreign_basis"] >= 3 and not one.versions
    foreign = [event for event in one.events() if isinstance(event, IncompatibleStatistics)]
    assert [event.src for event in foreign] == ["b"], "reported once"
    one.receive("b", *entry_message("b", payload(1), basis="another"), 0.0)
    assert not one.versions


def test_epochs() -> None:
    one, other = ledger("a"), ledger("b")
    one.publish(payload(1), 1, 0.0)
    deliver({"a": one, "b": other})
    assert other.total().origins == 1
    one.begin_epoch(1, 1.0)
    assert not one.versions and one.published == 0
    one.publish(payload(2), 2, 1.0)
    deliver({"a": one, "b": other}, 1.0)
    assert other.counters["epoch_ahead"] and NewerEpoch(1) in other.events() and other.total().vector.tobytes() == payload(1).tobytes()
    other.begin_epoch(1, 2.0)
    one.receive("b", *entry_message("b", payload(9), epoch=0), 2.0)
    assert one.counters["epoch_past"] and one.total().vector.tobytes() == payload(2).tobytes()
    now = settle({"a": one, "b": other}, 2.0)
    assert_equal({"a": one, "b": other})
    with pytest.raises(ValueError, match="not above"):
        other.begin_epoch(1, now)


def test_what_breaks_a_rule_is_refused_and_changes_nothing() -> None:
    one = ledger("a")
    good, frames = entry_message("b", payload(1))
    broken: list[tuple[str, Any, dict[str, Any]]] = [
        ("E_FRAME", good, {}),
        ("E_FRAME", good, {"payload": np.ones(SIZE + 1)}),
        ("E_FRAME", good, {"payload": np.ones(SIZE, np.float32)}),
        ("E_FRAME", good, {"payload": payload(2)}),
        ("E_NONFINITE", good, {"payload": np.full(SIZE, np.nan)}),
        ("E_UNKNOWN_NODE", entry_message("z", payload(1))[0], frames),
        ("E_FRAME", LedgerDigest(basis="basis", epoch=0, origins=["b"]), {}),
        ("E_FRAME", LedgerDigest(basis="basis", epoch=0, origins=["b", "b"]), {"version": np.ones((2, 3), np.int64)}),
        ("E_FRAME", LedgerDigest(basis="basis", epoch=0, origins=["b"]), {"version": -np.ones((1, 3), np.int64)}),
        ("E_UNKNOWN_NODE", LedgerDigest(basis="basis", epoch=0, origins=["z"]), {"version": np.ones((1, 3), np.int64)}),
    ]  # fmt: skip
    for code, message, arrays in broken:
        before = one.counters[f"bad.{code}"]
        one.receive("b", message, arrays, 0.0)
        assert one.counters[f"bad.{code}"] == before + 1, (code, message)
    one.receive("c", good, frames, 0.0)
    assert one.counters["bad.E_UNKNOWN_NODE"] == 3, "c is no neighbour of a"
    assert not one.versions
    one.receive("b", good, frames, 0.0)
    assert list(one.versions) == ["b"]
    with pytest.raises(ValueError, match="finite"):
        one.publish(np.full(SIZE, np.inf), 1, 0.0)
    with pytest.raises(ValueError, match="128 origins"):
        Ledger("a", [str(i) for i in range(MOST_ORIGINS + 1)], [], "basis", SIZE, np.random.default_rng(0))


def test_an_entry_that_can_not_be_statistics_is_not_merged_its_sender_is_counted_and_it_is_not_asked_for_again() -> None:
    def validate(origin: str, vector: np.ndarray) -> str:
        return "" if vector[0] >= 0 else "a count is negative"

    one = ledger("a", validate=validate)
    bad, good = -np.ones(SIZE), np.ones(SIZE)
    message, frames = entry_message("b", bad)
    version = np.array([[message.incarnation, message.count, message.seal]], np.int64)
    for time in range(3):
        one.receive("b", LedgerDigest(basis="basis", epoch=0, origins=["b"]), {"version": version}, float(time))
        pulls = [send for send in one.outgoing() if isinstance(send.message, LedgerPull)]
        assert len(pulls) == (time == 0)
        if pulls:
            one.receive("b", message, frames, float(time))
    assert one.counters["invalid"] == 1 and not one.versions
    assert any(isinstance(event, IncompatibleStatistics) and "negative" in event.reason for event in one.events())
    one.receive("d", *entry_message("b", good, 2), 3.0)
    assert one.total().vector.tobytes() == good.tobytes(), "the origin's next version is as good as any"
    with pytest.raises(ValueError, match="negative"):
        one.publish(bad, 1, 0.0)


# --- traffic and waiting ----------------------------------------------------------------------------------------------------------


def test_a_deaf_neighbour_is_asked_less_and_less_often_then_another_and_none_for_ever() -> None:
    one = ledger("a", every=0.5, deadline=30.0)
    message, _ = entry_message("c", payload(1))
    version = np.array([[message.incarnation, message.count, message.seal]], np.int64)
    claim = LedgerDigest(basis="basis", epoch=0, origins=["c"]), {"version": version}
    one.receive("b", *claim, 0.0)
    asked: list[tuple[float, str]] = []
    now = 0.0
    while now < 200.0:
        for send in one.outgoing():
            if isinstance(send.message, LedgerPull):
                asked.append((now, send.dst))
        if 10.0 < now < 10.5:
            one.receive("d", *claim, now)
        now = max(now + 1e-3, one.wake())
        one.tick(now)
    assert 5 < len(asked) < 60 and {dst for _, dst in asked} == {"b", "d"}
    assert asked[-1][0] < 70.0 and one.counters["unanswered"] == 2, "after the deadline it waits for a new claim"
    assert one.total().staleness == 0


def test_a_request_that_the_network_repeats_is_answered_once() -> None:
    a, b = ledger("a"), ledger("b")
    a.publish(payload(1), 1, 0.0)
    pull = LedgerPull(basis="basis", epoch=0, request=1, origins=["a", "a"])
    for _ in range(3):
        a.receive("b", pull, {}, 0.0)
    assert sum(isinstance(send.message, LedgerEntry) for send in a.outgoing()) == 1
    assert a.counters["duplicate.pull"] == 2
    assert b.total().staleness == 0


def test_one_refresh_of_five_agents_costs_what_the_book_says() -> None:
    """N = 5, m = 256 in a ring. Each agent's payload is [upper(G), b, q, n] = 256 * 257 / 2 + 512 + 2 + 2 numbers: 267 kB. In a refresh
    every agent takes the four others' payloads once, whatever the graph; the averaging of the published system cost 1.6 GB."""
    m, outputs, n = 256, 2, 5
    size = m * (m + 1) // 2 + m * outputs + outputs + 2
    names = [f"agent-{i}" for i in range(n)]
    random = np.random.default_rng(0)
    ledgers = {
        name: Ledger(name, names, [names[i - 1], names[(i + 1) % n]], "basis", size, np.random.default_rng(i))
        for i, name in enumerate(names)
    }
    deliver(ledgers, 0.0)
    for one in ledgers.values():
        one.publish(random.normal(size=size), 250, 1.0)
    taken, sent, now = dict.fromkeys(names, 0), dict.fromkeys(names, 0), 1.0
    for _ in range(10):
        now += 0.25
        for src, send in deliver(ledgers, now):
            bytes_ = sum(len(memoryview(part).cast("B")) for part in encode(send.message, send.arrays))
            sent[src] += bytes_
            taken[send.dst] += bytes_
    assert len({tuple(one.versions.items()) for one in ledgers.values()}) == 1
    assert 8 * size == 267_296
    for name in names:
        assert 4 * 8 * size < taken[name] < 4 * 8 * size + 20_000, "each origin's payload once, and little else"
        assert sent[name] + taken[name] < 16e6
    assert sum(sent.values()) == sum(taken.values())


def test_versions_that_are_missing() -> None:
    held = LedgerVersion(1, 4, 9)
    assert held.missing(LedgerVersion(1, 7)) == 3 and held.missing(LedgerVersion(1, 4, 8)) == 0 and held.missing(LedgerVersion(2, 2)) == 2
    assert held.missing(LedgerVersion(1, 4, 10)) == 1 and held.missing(LedgerVersion(0, 99)) == 0
