"""What is let in: every rule of the guard by itself, with its code, its count, and nothing else changed."""

from __future__ import annotations

import copy
import logging
from collections import Counter
from dataclasses import asdict
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import BadMessage
from protocols.messages import (
    Act,
    Average,
    Channel,
    Command,
    Event,
    Heartbeat,
    Hello,
    Join,
    Message,
    Metrics,
    NodeEnded,
    Observation,
    Propose,
    Role,
    Roster,
    RosterEntry,
    Status,
    StopRequest,
)
from protocols.transport.guard import Guard, GuardOptions, Source, Speaker
from protocols.ways import WAYS, takes, without_way
from tests.protocols.bodies import TYPES, plainest

RUN = "run-1"


def entry(name: str, role: Role = "agent", inc: int = 1, state: Any = "alive") -> RosterEntry:
    return RosterEntry(name=name, role=role, state=state, inc=inc)


class Gate:
    """A guard with a clock and a way to put messages to it; `a` to `c` are three routes."""

    def __init__(self, role: Role | None = "agent", name: str = "agent-0", **options: Any) -> None:
        self.guard = Guard(RUN, name, role, Counter(), GuardOptions(**options))
        self.counters = self.guard.counters
        self.name = name
        self.now = 100.0
        self.numbers: Counter[tuple[str, int]] = Counter()

    def roster(self, *entries: RosterEntry, version: int = 1) -> Gate:
        self.guard.follow(version, entries)
        return self

    def put(self, channel: Channel, key: bytes | str, message: Message, src: str = "agent-1", inc: int = 1, **header: Any) -> str | None:
        self.numbers[src, inc] += 1
        fields = {"run": RUN, "src": src, "dst": self.name, "inc": inc, "seq": self.numbers[src, inc], **header}
        for name, value in fields.items():
            setattr(message, name, value)
        source = self.guard.source(channel, key, fixed=isinstance(key, str))
        return self.guard.judge(source, message, self.now) if self.guard.open(source, 100, self.now) else "closed"

    def state(self) -> Any:
        """All that a message could change, but for counters and the record of offences."""
        speakers = {
            key: (s.incarnation, s.role, s.owner and s.owner.key, s.highest, list(s.gaps)) for key, s in self.guard._speakers.items()
        }
        spoken = {key: (s.vouched, s.heard) for key, s in self.guard._sources.items() if s.speaker is not None}
        return copy.deepcopy((speakers, spoken, self.guard._incarnations, self.guard._epoch))


def ring() -> Gate:
    """agent-0, who knows the run, and has heard agent-1 over route a."""
    gate = Gate().roster(entry("agent-0"), entry("agent-1"), entry("agent-2"), entry("env-0", "env"))
    assert gate.put("peer", b"a", Propose()) is None
    gate.now += 0.1
    return gate


REFUSED: dict[str, tuple[str, Channel, bytes | str, Message, dict[str, Any]]] = {
    "another run": ("E_RUN", "peer", b"a", Propose(), {"run": "run-2"}),
    "for somebody else": ("E_UNKNOWN_NODE", "peer", b"a", Propose(), {"dst": "agent-2"}),
    "for nobody": ("E_UNKNOWN_NODE", "peer", b"a", Propose(), {"dst": ""}),
    "from nobody": ("E_UNKNOWN_NODE", "peer", b"b", Propose(), {"src": ""}),
    "from myself": ("E_UNKNOWN_NODE", "peer", b"b", Propose(), {"src": "agent-0"}),
    "a node that is not of this run": ("E_UNKNOWN_NODE", "peer", b"b", Propose(), {"src": "agent-7"}),
    "one who has spoken as another": ("E_AUTH", "peer", b"a", Propose(), {"src": "agent-2"}),
    "a name that is heard elsewhere": ("E_AUTH", "peer", b"b", Propose(), {"src": "agent-1"}),
    "an earlier life": ("E_STALE_INC", "peer", b"b", Propose(), {"src": "agent-1", "inc": 0}),
    "a life that nobody knows of": ("E_AHEAD", "peer", b"b", Propose(), {"src": "agent-1", "inc": 2}),
    "an action to an agent": ("E_AUTH", "peer", b"a", Act(tick=1), {}),
    "a command from a neighbour": ("E_AUTH", "peer", b"a", Command(id=1, op="stop"), {}),
    "a roster from a neighbour": ("E_AUTH", "peer", b"a", Roster(version=9, entries=[]), {}),
    "averaging by the environment": ("E_AUTH", "peer", b"b", Average(round=1, layout="x"), {"src": "env-0"}),
    "an observation by a neighbour": ("E_AUTH", "env", b"b", Observation(tick=1), {"src": "agent-2"}),
    "another at the run server's address": ("E_AUTH", "ctl", "run", Command(id=1, op="stop"), {"src": "agent-2"}),
    "a status to an agent": ("E_AUTH", "ctl", "run", Status(), {"src": "run"}),
}


@pytest.mark.parametrize(("code", "channel", "key", "message", "header"), REFUSED.values(), ids=REFUSED.keys())
def test_refused_with_its_code_and_nothing_is_changed(
    code: str, channel: Channel, key: bytes | str, message: Message, header: dict[str, Any]
) -> None:
    gate = ring()
    before, counted = gate.state(), Counter(gate.counters)
    assert gate.put(channel, key, copy.copy(message), **{"seq": 1000, **header}) == code
    assert gate.state() == before
    assert gate.counters - counted == {"rx.stale" if code == "E_STALE_INC" else f"rx.bad.{code}": 1}
    assert gate.put("peer", b"a", Propose(), seq=2) is None, "the honest one is heard as before"


def test_what_is_known_of_a_run_before_the_roster() -> None:
    gate = Gate()
    assert gate.put("peer", b"a", Propose(), src="agent-1") is None, "nothing is known yet"
    gate.guard.expect(["agent-1", "agent-2"])
    assert gate.put("peer", b"b", Propose(), src="agent-2") is None, "a neighbour is quicker than the roster"
    assert gate.put("peer", b"c", Propose(), src="agent-3") == "E_UNKNOWN_NODE"


def test_a_newer_life_is_heard_once_the_roster_has_it_and_the_older_never_again() -> None:
    gate = ring()
    gate.roster(entry("agent-1", inc=2), version=2)
    assert gate.put("peer", b"a", Propose(), inc=1) == "E_STALE_INC"
    assert gate.put("peer", b"b", Propose(), inc=2) is None
    gate.roster(entry("agent-1", inc=1), version=1)
    assert gate.put("peer", b"b", Propose(), inc=2) is None, "an older roster says nothing"
    gate.roster(entry("agent-1", inc=2, state="dead"), version=3)
    assert gate.put("peer", b"b", Propose(), inc=2) == "E_STALE_INC", "the verdict is final"
    assert gate.counters["rx.stale"] == 2


def test_without_a_roster_the_newest_life_counts_on_all_channels() -> None:
    gate = Gate(role=None)
    assert gate.put("peer", b"a", Propose(), inc=1) is None
    assert gate.put("env", b"b", Propose(), inc=2) is None
    assert gate.put("peer", b"a", Propose(), inc=1) == "E_STALE_INC"


def test_a_lie_about_lives_before_the_roster_is_undone_by_it() -> None:
    gate = Gate()
    gate.guard.expect(["agent-1"])
    assert gate.put("peer", b"a", Propose(), inc=99) is None
    gate.roster(entry("agent-1"))
    assert gate.put("peer", b"b", Propose(), inc=1) is None
    assert gate.put("peer", b"a", Propose(), inc=99) == "E_AHEAD"


def test_a_name_moves_to_another_connection_when_the_old_one_is_silent() -> None:
    gate = ring()
    assert gate.put("peer", b"b", Propose()) == "E_AUTH"
    gate.now += 1.0
    assert gate.put("peer", b"b", Propose()) is None
    assert gate.put("peer", b"a", Propose()) == "E_AUTH", "one mouth at a time"


def test_the_token_decides_who_speaks_for_a_node() -> None:
    gate = Gate("run", "run").roster(entry("agent-1"), entry("agent-2"))
    gate.guard.require("secret")
    assert gate.put("ctl", b"thief", Event(severity="info", code="finished")) is None, "nobody else has spoken yet"
    assert gate.put("ctl", b"a", Hello(role="agent", token="secret")) is None
    assert gate.put("ctl", b"thief", Event(severity="info", code="finished")) == "E_AUTH"
    assert gate.put("ctl", b"thief", Hello(role="agent", token="guess")) == "E_AUTH"
    gate.now += 5.0
    assert gate.put("ctl", b"thief", Heartbeat()) is None, "the node stood still for long"
    assert gate.put("ctl", b"a", Heartbeat()) is None, "but it has shown the token"
    assert gate.put("ctl", b"thief", Heartbeat()) == "E_AUTH"
    assert gate.put("ctl", b"a", NodeEnded(node="agent-2", incarnation=1, code=0)) == "E_AUTH", "an agent ends nobody"
    assert gate.put("ctl", b"a", StopRequest()) == "E_AUTH", "nor the run"
    gate.guard.expect(["local"])
    assert gate.put("ctl", b"h", Hello(role="host", token="secret"), src="local") is None
    assert gate.put("ctl", b"h", NodeEnded(node="agent-2", incarnation=1, code=0), src="local") is None


def test_command_lines_may_come_again_under_the_same_name() -> None:
    gate = Gate("run", "run").roster(entry("agent-1"))
    gate.guard.require("secret")
    for key in (b"a", b"b"):
        assert gate.put("ctl", key, Hello(role="client", token="secret"), src="client-1", seq=1) is None
        assert gate.put("ctl", key, StopRequest(), src="client-1", seq=2) is None
        assert gate.put("ctl", key, StopRequest(), src="client-1", seq=2) == "dup"
        assert gate.put("ctl", key, Heartbeat(), src="client-1", seq=3) == "E_AUTH", "a client is no node"


def test_telemetry_has_no_routes_and_no_quarantine() -> None:
    gate = Gate("run", "run").roster(entry("agent-1"))
    metrics = Metrics(step=1, episode=1, names=[])
    source = gate.guard.source("tele", "agent-1")
    for _ in range(50):
        gate.guard.refuse(source, BadMessage("E_DECODE", "rubbish"), gate.now)
    for number, code in ((1, None), (1, "dup"), (2**62, None), (3, None), (2, None), (2, "dup")):
        metrics.run, metrics.src, metrics.dst, metrics.inc, metrics.seq = RUN, "agent-1", "run", 1, number
        assert gate.guard.judge(source, metrics, gate.now) == code


# --- each number once -----------------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 40), max_size=80))
def test_each_number_counts_once_in_whatever_order(numbers: list[int]) -> None:
    speaker, seen = Speaker("agent-1", 1), set()
    for number in numbers:
        assert speaker.fresh(number) == (number not in seen)
        seen.add(number)
    assert speaker.highest == max(seen, default=0)
    missing = {n for first, last in speaker.gaps for n in range(first, last + 1)}
    assert missing == set(range(1, speaker.highest)) - seen


def test_jumps_and_gaps_take_no_memory() -> None:
    speaker = Speaker("agent-1", 1)
    for i in range(1, 5000):
        assert speaker.fresh(i * 2**40)
    assert len(speaker.gaps) <= 1024
    assert speaker.fresh(5000 * 2**40 - 7) and speaker.fresh(5000 * 2**40) and not speaker.fresh(1)
    late = Speaker("agent-1", 1)
    assert late.fresh(500) and late.fresh(499) and late.fresh(1) and not late.fresh(1), "a receiver that came later"
    assert not Speaker("agent-1", 1).fresh(0)


# --- too much, too bad ----------------------------------------------------------------------------------------------------------------


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
    gate.guard.expect_damage()
    source = gate.guard.source("peer", b"a")
    for _ in range(100):
        gate.now += 0.01
        gate.guard.unreadable(source, BadMessage("E_DECODE", "damaged"), gate.now)
        gate.guard.unreadable(source, BadMessage("E_FRAME", "damaged"), gate.now)
        assert gate.put("peer", b"a", Propose()) is None
    assert gate.counters["rx.bad.E_DECODE"] == gate.counters["rx.bad.E_FRAME"] == 100 and not gate.counters["rx.quarantines"]
    for _ in range(10):
        gate.put("peer", b"a", Propose(), run="other")
    assert gate.counters["rx.quarantines"] == 1, "what is a message was meant so by whoever sent it"


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
    assert gate.counters["rx.quarantines"] == 1, "whoever speaks beside the owner of the name is somebody else"


@pytest.mark.parametrize("late", [1, 50, 2000])
def test_messages_that_were_overtaken_before_any_was_heard_count(late: int) -> None:
    """Long delays at the very start: the first to come is seldom the first that was sent."""
    gate = ring()
    assert gate.put("peer", b"b", Propose(), src="agent-2", seq=late + 1) is None
    order = np.random.default_rng(0).permutation(late) + 1
    assert all(gate.put("peer", b"b", Propose(), src="agent-2", seq=int(number)) is None for number in order)
    assert all(gate.put("peer", b"b", Propose(), src="agent-2", seq=number) == "dup" for number in range(1, late + 2))


def test_a_healthy_run_under_long_delays_loses_nothing() -> None:
    """300 messages a second with a lognormal delay of 2 s in the mean, a tenth of them twice: each is let in once, nobody is punished."""
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
    gate.guard.require("secret")
    assert gate.put("ctl", b"a", Hello(role="agent", token="secret")) is None
    for i in range(6000):
        gate.put("ctl", i.to_bytes(4, "big"), StopRequest(), src=f"client-{i}")
        gate.guard.refuse(gate.guard.source("peer", i.to_bytes(4, "big")), BadMessage("E_DECODE", ""), gate.now)
    guard = gate.guard
    assert len(guard._sources) <= 4096 and len(guard._speakers) <= 4097 and len(guard._incarnations) <= 4097
    assert ("ctl", b"a") in guard._sources and gate.put("ctl", b"a", Heartbeat()) is None


# --- ways -----------------------------------------------------------------------------------------------------------------------------


def test_every_message_has_its_way() -> None:
    assert not without_way(), f"protocols/ways.py must say who sends, and who takes: {sorted(without_way())}"


@pytest.mark.parametrize("role", get_args(Role))
@pytest.mark.parametrize("channel", get_args(Channel))
def test_everything_else_is_refused(role: Role, channel: Channel) -> None:
    """Every type from every role on every channel: taken exactly where the table says so."""
    for sender in get_args(Role):
        for kind in TYPES:
            gate = Gate(role, "me").roster(entry("other", sender))
            gate.guard.require("secret")
            message = plainest(kind)
            code = gate.put(channel, b"a", message, src="other")
            allowed = any(w.channel == channel and sender in w.senders and role in w.receivers and kind in w.types for w in WAYS)
            assert code == (None if allowed else "E_AUTH"), (kind, sender)
    assert set(takes(role, channel)) == {kind for way in WAYS if way.channel == channel and role in way.receivers for kind in way.types}


def test_options_are_plain_numbers() -> None:
    assert all(isinstance(value, (int, float)) and value > 0 for value in asdict(GuardOptions()).values())
    assert Source("peer", b"a", False).quarantine == 0.0
    assert Join not in takes("agent", "peer")
