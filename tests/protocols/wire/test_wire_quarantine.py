"""The guard of a socket: too much, too bad, and which peers are still served."""

from __future__ import annotations

import logging
from collections import Counter

import numpy as np
import pytest

from protocols.conversations.client_requests.client_messages import StopRequest
from protocols.conversations.control.control_messages import Heartbeat
from protocols.conversations.membership.membership_messages import Hello
from protocols.conversations.proposals import Propose
from protocols.conversations.stepping.stepping_messages import Observation
from protocols.runtime.errors import BadMessage
from tests.protocols.wire.wire_gate import Gate, entry, ring


def test_more_than_the_rate_is_dropped_and_counted_but_is_no_offence() -> None:
    gate = Gate(messages=10.0, burst=2.0).roster(entry("agent-1"))
    results = [gate.put("peer", b"a", Propose()) for _ in range(50)]
    assert results.count(None) == 20 and results.count("closed") == 30
    assert gate.counters == {"rx.bad.E_RATE": 30}
    gate.now += 0.5
    assert [gate.put("peer", b"a", Propose()) for _ in range(10)].count(None) == 5
    assert gate.put("env", "env-0", Observation(tick=1), src="env-0") is None, "others are not concerned"
    small = Gate(bytes=1000.0, burst=1.0).roster(entry("agent-1"))
    assert [small.put("peer", b"a", Propose()) for _ in range(20)].count(None) == 10


def test_a_healthy_rate_is_never_met() -> None:
    """2,000 messages of 100 kB a second for a minute, then all that a queue of 20,000 holds."""
    gate = Gate().roster(entry("agent-1"))
    source = gate.guard.source("peer", b"a")
    for _ in range(120_000):
        gate.now += 1 / 2000
        assert gate.guard.open(source, 100_000, gate.now)
    assert all(gate.guard.open(source, 200, gate.now) for _ in range(20_000))


def test_ten_bad_messages_in_ten_seconds_are_enough() -> None:
    gate = ring()

    def bad(count: int, key: bytes = b"x") -> list[str | None]:
        return [gate.put("peer", key, Propose(), run="other") for _ in range(count)]

    assert bad(9) == ["E_RUN"] * 9
    gate.now += 11
    assert bad(9) == ["E_RUN"] * 9, "nine in ten seconds"
    gate.now += 1
    assert bad(3) == ["E_RUN", "closed", "closed"], "the tenth"
    assert gate.put("peer", b"a", Propose()) is None, "the route of an honest one is open"
    assert (gate.counters["rx.quarantines"], gate.counters["rx.quarantined"]) == (1, 2)
    expected = 60.0
    for doubled in (120.0, 240.0, 480.0, 600.0, 600.0):
        gate.now += expected - 0.1
        assert bad(1) == ["closed"]
        gate.now += 0.2
        assert bad(10) == ["E_RUN"] * 10 and bad(1) == ["closed"]
        expected = doubled


def test_a_link_that_corrupts_one_message_in_a_thousand_is_no_enemy() -> None:
    gate = ring()
    source = gate.guard.source("peer", b"a")
    for i in range(20_000):
        gate.now += 0.0005
        if i % 100 == 0:
            assert gate.guard.open(source, 100, gate.now)
            gate.guard.refuse(source, BadMessage("E_DECODE", "corrupted"), gate.now)
        else:
            assert gate.put("peer", b"a", Propose()) is None
    assert gate.counters["rx.bad.E_DECODE"] == 200 and not gate.counters["rx.quarantines"]


def test_where_the_run_damages_messages_their_senders_are_not_punished() -> None:
    gate = ring()
    gate.guard.damage_expected = True
    source = gate.guard.source("peer", b"a")
    for _ in range(100):
        gate.now += 0.01
        gate.guard.unreadable(source, BadMessage("E_DECODE", "damaged"), gate.now)
        gate.guard.unreadable(source, BadMessage("E_FRAME", "damaged"), gate.now)
        assert gate.put("peer", b"a", Propose()) is None
    assert gate.counters["rx.bad.E_DECODE"] == gate.counters["rx.bad.E_FRAME"] == 100 and not gate.counters["rx.quarantines"]
    for _ in range(10):
        gate.put("peer", b"a", Propose(), run="other")
    assert gate.counters["rx.quarantines"] == 1, "a valid message counts for its sender"


def test_without_such_a_run_bytes_that_are_no_message_are_an_offence() -> None:
    gate = ring()
    for _ in range(10):
        gate.guard.unreadable(gate.guard.source("peer", b"a"), BadMessage("E_DECODE", "junk"), gate.now)
    assert gate.counters["rx.quarantines"] == 1


def test_who_lost_its_connection_is_heard_again_after_a_second_however_much_it_says() -> None:
    gate = ring()
    for _ in range(80):
        gate.now += 0.01
        assert gate.put("peer", b"b", Propose()) == "E_AUTH"
    gate.now += 0.2
    assert gate.put("peer", b"b", Propose()) is None
    gate.now += 0.1
    for _ in range(11):
        assert gate.put("peer", b"c", Propose()) == "E_AUTH"
        assert gate.put("peer", b"b", Propose()) is None
        gate.now += 0.01
    assert gate.counters["rx.quarantines"] == 0
    assert gate.put("peer", b"c", Propose()) == "E_AUTH"
    assert gate.counters["rx.quarantines"] == 1, "another connection with the name of the owner is another source"


@pytest.mark.parametrize("late", [1, 50, 2000])
def test_messages_that_were_overtaken_before_any_was_heard_count(late: int) -> None:
    """Long delays at the very start: the first to come is seldom the first that was sent."""
    gate = ring()
    assert gate.put("peer", b"b", Propose(), src="agent-2", seq=late + 1) is None
    order = np.random.default_rng(0).permutation(late) + 1
    assert all(gate.put("peer", b"b", Propose(), src="agent-2", seq=int(number)) is None for number in order)
    assert all(gate.put("peer", b"b", Propose(), src="agent-2", seq=number) == "dup" for number in range(1, late + 2))


def test_a_healthy_run_under_long_delays_loses_nothing() -> None:
    """300 messages a second with a lognormal delay of 2 s in the mean, a tenth of them twice: each is accepted once, no quarantine."""
    random = np.random.default_rng(1)
    gate = ring()
    coming: list[tuple[float, int]] = []
    for number in range(1, 6001):
        for _ in range(1 + int(random.random() < 0.1)):
            coming.append((number / 300 + float(random.lognormal(np.log(2.0) - 0.5, 1.0)), number))
    start = gate.now
    verdicts: Counter[str | None] = Counter()
    for when, number in sorted(coming):
        gate.now = start + when
        verdicts[gate.put("peer", b"b", Propose(), src="agent-2", seq=number)] += 1
    assert verdicts == {None: 6000, "dup": len(coming) - 6000} and not gate.counters["rx.quarantines"]


def test_who_lies_in_what_only_a_conversation_understands_is_not_heard_either() -> None:
    gate = ring()
    for _ in range(10):
        gate.guard.blame("peer", "agent-1", BadMessage("E_FRAME", "wrong shape"), gate.now)
    assert gate.put("peer", b"a", Propose()) == "closed"
    assert gate.counters["rx.bad.E_FRAME"] == 10


def test_stale_and_early_nodes_are_not_punished() -> None:
    gate = ring()
    for _ in range(30):
        assert gate.put("peer", b"b", Propose(), inc=0) == "E_STALE_INC"
        assert gate.put("peer", b"c", Propose(), inc=2) == "E_AHEAD"
    assert not gate.counters["rx.quarantines"]


def test_a_flood_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate(bad=10**9).roster(entry("agent-1"))
    with caplog.at_level(logging.WARNING):
        for _ in range(10_000):
            gate.now += 0.001
            gate.put("peer", b"x", Propose(), run="other")
    assert 2 <= len(caplog.records) <= 3
    assert "4999 more" in caplog.text


def test_memory_is_bounded_under_ever_new_connections_and_names() -> None:
    gate = Gate("run", "run").roster(entry("agent-1"))
    gate.guard.token = "secret"
    assert gate.put("ctl", b"a", Hello(role="agent", token="secret")) is None
    for i in range(6000):
        gate.put("ctl", i.to_bytes(4, "big"), StopRequest(), src=f"client-{i}")
        gate.guard.refuse(gate.guard.source("peer", i.to_bytes(4, "big")), BadMessage("E_DECODE", ""), gate.now)
    guard = gate.guard
    assert len(guard._sources) <= 4096 and len(guard._speakers) <= 4097 and len(guard._incarnations) <= 4097
    assert ("ctl", b"a") in guard._sources and gate.put("ctl", b"a", Heartbeat()) is None
