"""The ledger: restarts, partitions, withdrawal."""

from __future__ import annotations

import numpy as np
import pytest

from protocols.statistics.ledger_messages import LedgerEntry, LedgerPull
from protocols.statistics.statistics_consensus import EarlierStatisticsFound
from tests.protocols.statistics.ledgers import RING, assert_equal, deliver, ledger, payload, settle


def test_a_life_without_memory_takes_up_what_its_former_one_said() -> None:
    ledgers = {name: ledger(name) for name in RING}
    for i, one in enumerate(ledgers.values()):
        one.publish(payload(i), i, 0.0)
    ledgers["a"].publish(payload(10), 100, 0.0)
    now = settle(ledgers, 0.0)
    before = assert_equal(ledgers)
    dead = ledgers.pop("a")
    assert dead.versions["a"][:2] == (1, 2)
    for name in RING["a"]:
        ledgers[name].peer_dead("a", now)
    ledgers["c"].publish(payload(20), 5, now)
    now = settle(ledgers, now)
    assert ledgers["b"].total().origins == 4, "what the dead have seen stays"
    reborn = ledger("a", incarnation=2)
    ledgers["a"] = reborn
    for name in RING["a"]:
        ledgers[name].peer_alive("a", 2, now)
    now = settle(ledgers, now)
    former = [event for event in reborn.events() if isinstance(event, EarlierStatisticsFound)]
    assert len(former) == 1 and former[0].payload.tobytes() == payload(10).tobytes()
    assert_equal(ledgers)
    reborn.publish(former[0].payload + payload(30), 1, now)
    now = settle(ledgers, now)
    after = assert_equal(ledgers)
    assert ledgers["c"].versions["a"][:2] == (2, 1)
    assert np.allclose(after - before, payload(20) - payload(2) + payload(30), rtol=1e-9, atol=1e-3)


def test_who_published_before_it_heard_of_its_former_life_still_learns_of_it() -> None:
    a, b = ledger("a"), ledger("b")
    a.publish(payload(1), 50, 0.0)
    deliver({"a": a, "b": b})
    reborn = ledger("a", incarnation=2)
    b.peer_alive("a", 2, 1.0)
    reborn.publish(payload(2), 1, 1.0)
    b.tick(1.0)
    for send in b.outgoing():  # its digest is on the way while the new incarnation publishes
        if send.dst == "a":
            reborn.receive("b", send.message, send.arrays, 1.0)
    (pull,) = [send for send in reborn.outgoing() if isinstance(send.message, LedgerPull)]
    b.receive("a", pull.message, {}, 1.0)
    for send in b.outgoing():
        if send.dst == "a":
            reborn.receive("b", send.message, send.arrays, 1.0)
    former = [event for event in reborn.events() if isinstance(event, EarlierStatisticsFound)]
    assert [event.payload.tobytes() for event in former] == [payload(1).tobytes()]
    assert reborn.versions["a"][:2] == (2, 1), "its publications in this incarnation are above that"


def test_a_process_that_counts_no_lives_never_publishes_below_what_others_hold() -> None:
    a, b = ledger("a"), ledger("b")
    for i in range(5):
        a.publish(payload(i), i, 0.0)
    deliver({"a": a, "b": b})
    again = ledger("a")
    again.publish(payload(7), 1, 1.0)
    b.peer_alive("a", 1, 1.0)
    settle({"a": again, "b": b}, 1.0)
    assert_equal({"a": again, "b": b})
    assert b.entry("a").payload.tobytes() == payload(7).tobytes() and b.versions["a"].number > 5  # type: ignore[union-attr]
    assert again.counters["overtaken"] == 1


def test_from_a_checkpoint_it_goes_on() -> None:
    ledgers = {name: ledger(name) for name in RING}
    for i, one in enumerate(ledgers.values()):
        one.publish(payload(i), 11 * i, 0.0)
    now = settle(ledgers, 0.0)
    state = {name: np.array(value) for name, value in ledgers["b"].state().items()}
    total = assert_equal(ledgers)
    for life in (1, 2):
        restored = ledger("b", incarnation=life)
        restored.load_state(state)
        assert restored.versions == ledgers["a"].versions and restored.total().vector.tobytes() == total.tobytes()
        assert restored.published == 11 and restored.unpublished(20) == 9
        sent = deliver({**ledgers, "b": restored}, now + 20.0 * life)
        assert not [send for _, send in sent if isinstance(send.message, (LedgerPull, LedgerEntry))]
        assert not [event for event in restored.events() if isinstance(event, EarlierStatisticsFound)], (
            "no other agent has more of it than itself"
        )
        restored.publish(payload(40), 30, now + 20.0 * life)
        assert restored.versions["b"][:2] == ((1, 2) if life == 1 else (2, 1))
    with pytest.raises(ValueError, match="lacks"):
        ledger("b").load_state({})
    state["payload/c"][0] += 1.0
    with pytest.raises(ValueError, match="damaged"):
        ledger("b").load_state(state)


def test_a_checkpoint_older_than_what_others_hold() -> None:
    a, b = ledger("a"), ledger("b")
    a.publish(payload(1), 10, 0.0)
    state = a.state()
    a.publish(payload(2), 20, 0.0)
    deliver({"a": a, "b": b})
    restored = ledger("a", incarnation=2)
    restored.load_state(state)
    b.peer_alive("a", 2, 5.0)
    deliver({"a": restored, "b": b}, 5.0)
    former = [event for event in restored.events() if isinstance(event, EarlierStatisticsFound)]
    assert [event.payload.tobytes() for event in former] == [payload(2).tobytes()]


def test_a_partition_heals_by_itself() -> None:
    ledgers = {name: ledger(name) for name in RING}
    halves = [{name: ledgers[name] for name in half} for half in ("ab", "cd")]
    now = 0.0
    for i, one in enumerate(ledgers.values()):
        one.publish(payload(i), 1, now)
    for half in halves:
        now = settle(half, now)
        assert assert_equal(half) is not None and next(iter(half.values())).total().origins == 2
    assert ledgers["a"].versions != ledgers["c"].versions
    settle(ledgers, now)
    assert_equal(ledgers)
    assert ledgers["a"].total().origins == 4


def test_forgetting_is_told_to_all_and_the_living_speak_up_again() -> None:
    ledgers = {name: ledger(name) for name in RING}
    for i, one in enumerate(ledgers.values()):
        one.publish(payload(i), 1, 0.0)
    now = settle(ledgers, 0.0)
    gone = ledgers.pop("d")
    for name in "ac":
        ledgers[name].peer_dead("d", now)
    ledgers["a"].forget("d", now)
    now = settle(ledgers, now)
    assert_equal(ledgers)
    assert ledgers["b"].total().origins == 3
    assert ledgers["b"].total().vector.tobytes() == (payload(0) + payload(1) + payload(2)).tobytes()
    ledgers["d"] = gone  # it was only cut off
    for name in "ac":
        ledgers[name].peer_alive("d", 1, now)
    settle(ledgers, now)
    assert_equal(ledgers)
    assert ledgers["b"].total().origins == 4 and gone.counters["overtaken"] == 1


def test_who_takes_its_data_along_withdraws_it() -> None:
    ledgers = {name: ledger(name) for name in RING}
    for i, one in enumerate(ledgers.values()):
        one.publish(payload(i), 1, 0.0)
    now = settle(ledgers, 0.0)
    ledgers["d"].forget("d", now)
    now = settle(ledgers, now)
    assert_equal(ledgers)
    assert ledgers["b"].total().origins == 3 and ledgers["d"].counters["overtaken"] == 0
    assert not deliver(ledgers, now + 0.1), "missing entries are not requested again and again"
