"""What is let in: every rule of the guard by itself, with its code, its count, and nothing else changed."""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import asdict
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.averaging.averaging_messages import Average
from protocols.conversations.client_requests.client_messages import Status, StopRequest
from protocols.conversations.control.control_messages import Command, Event, Heartbeat, Metrics
from protocols.conversations.membership.membership_messages import Hello, Roster
from protocols.conversations.node_processes.node_process_messages import NodeEnded
from protocols.conversations.proposals import Propose
from protocols.conversations.stepping.stepping_messages import Act, Join, Observation
from protocols.runtime.errors import BadMessage
from protocols.wire.guard_sources import GuardOptions, MessageSender, MessageSource
from protocols.wire.message_registry import accepted, routes
from protocols.wire.messages import Channel, Message, Role
from tests.protocols.wire.bodies import TYPES, plainest
from tests.protocols.wire.wire_gate import RUN, Gate, entry, ring

REFUSED: dict[str, tuple[str, Channel, bytes | str, Message, dict[str, Any]]] = {
    "another run": ("E_RUN", "peer", b"a", Propose(), {"run": "run-2"}),
    "for another node": ("E_UNKNOWN_NODE", "peer", b"a", Propose(), {"dst": "agent-2"}),
    "without receiver": ("E_UNKNOWN_NODE", "peer", b"a", Propose(), {"dst": ""}),
    "without sender": ("E_UNKNOWN_NODE", "peer", b"b", Propose(), {"src": ""}),
    "from myself": ("E_UNKNOWN_NODE", "peer", b"b", Propose(), {"src": "agent-0"}),
    "a node that is not of this run": ("E_UNKNOWN_NODE", "peer", b"b", Propose(), {"src": "agent-7"}),
    "a second name over one connection": ("E_AUTH", "peer", b"a", Propose(), {"src": "agent-2"}),
    "a name of another connection": ("E_AUTH", "peer", b"b", Propose(), {"src": "agent-1"}),
    "an earlier incarnation": ("E_STALE_INC", "peer", b"b", Propose(), {"src": "agent-1", "inc": 0}),
    "an unknown incarnation": ("E_AHEAD", "peer", b"b", Propose(), {"src": "agent-1", "inc": 2}),
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
    assert gate.put("peer", b"a", Propose(), seq=2) is None, "the honest one is received as before"


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
    assert gate.put("peer", b"b", Propose(), inc=2) is None, "an older roster has no effect"
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
    gate.guard.token = "secret"
    assert gate.put("ctl", b"thief", Event(severity="info", code="finished")) is None, "no other connection has sent yet"
    assert gate.put("ctl", b"a", Hello(role="agent", token="secret")) is None
    assert gate.put("ctl", b"thief", Event(severity="info", code="finished")) == "E_AUTH"
    assert gate.put("ctl", b"thief", Hello(role="agent", token="guess")) == "E_AUTH"
    gate.now += 5.0
    assert gate.put("ctl", b"thief", Heartbeat()) is None, "the node stood still for long"
    assert gate.put("ctl", b"a", Heartbeat()) is None, "but it has shown the token"
    assert gate.put("ctl", b"thief", Heartbeat()) == "E_AUTH"
    assert gate.put("ctl", b"a", NodeEnded(node="agent-2", incarnation=1, code=0)) == "E_AUTH", "an agent ends no node"
    assert gate.put("ctl", b"a", StopRequest()) == "E_AUTH", "nor the run"
    gate.guard.expect(["local"])
    assert gate.put("ctl", b"h", Hello(role="host", token="secret"), src="local") is None
    assert gate.put("ctl", b"h", NodeEnded(node="agent-2", incarnation=1, code=0), src="local") is None


def test_command_lines_may_come_again_under_the_same_name() -> None:
    gate = Gate("run", "run").roster(entry("agent-1"))
    gate.guard.token = "secret"
    for key in (b"a", b"b"):
        assert gate.put("ctl", key, Hello(role="client", token="secret"), src="client-1", seq=1) is None
        assert gate.put("ctl", key, StopRequest(), src="client-1", seq=2) is None
        assert gate.put("ctl", key, StopRequest(), src="client-1", seq=2) == "dup"
        assert gate.put("ctl", key, Heartbeat(), src="client-1", seq=3) == "E_AUTH", "a client is no node"


def test_telemetry_has_no_routes_and_no_quarantine() -> None:
    gate = Gate("run", "run").roster(entry("agent-1"))
    metrics = Metrics(step=1, episode=1, names=[], stamp=0.0)
    source = gate.guard.source("tele", "agent-1")
    for _ in range(50):
        gate.guard.refuse(source, BadMessage("E_DECODE", "rubbish"), gate.now)
    for number, code in ((1, None), (1, "dup"), (2**62, None), (3, None), (2, None), (2, "dup")):
        metrics.run, metrics.src, metrics.dst, metrics.inc, metrics.seq = RUN, "agent-1", "run", 1, number
        assert gate.guard.judge(source, metrics, gate.now) == code


# --- each number once -------------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 40), max_size=80))
def test_each_number_counts_once_in_whatever_order(numbers: list[int]) -> None:
    speaker, seen = MessageSender("agent-1", 1), set()
    for number in numbers:
        assert speaker.fresh(number) == (number not in seen)
        seen.add(number)
    assert speaker.highest == max(seen, default=0)
    missing = {n for first, last in speaker.gaps for n in range(first, last + 1)}
    assert missing == set(range(1, speaker.highest)) - seen


def test_jumps_and_gaps_take_no_memory() -> None:
    speaker = MessageSender("agent-1", 1)
    for i in range(1, 5000):
        assert speaker.fresh(i * 2**40)
    assert len(speaker.gaps) <= 1024
    assert speaker.fresh(5000 * 2**40 - 7) and speaker.fresh(5000 * 2**40) and not speaker.fresh(1)
    late = MessageSender("agent-1", 1)
    assert late.fresh(500) and late.fresh(499) and late.fresh(1) and not late.fresh(1), "a receiver that came later"
    assert not MessageSender("agent-1", 1).fresh(0)


# --- routes -----------------------------------------------------------------------------------------------------------------------


def test_every_message_has_its_way() -> None:
    missing = {kind.__name__ for kind in set(TYPES) - {kind for way in routes() for kind in way.types}}
    assert not missing, f"no route for: {sorted(missing)}"


@pytest.mark.parametrize("role", get_args(Role))
@pytest.mark.parametrize("channel", get_args(Channel))
def test_everything_else_is_refused(role: Role, channel: Channel) -> None:
    """Every type from every role on every channel: accepted exactly where the table allows it."""
    for sender in get_args(Role):
        for kind in TYPES:
            gate = Gate(role, "me").roster(entry("other", sender))
            gate.guard.token = "secret"
            message = plainest(kind)
            code = gate.put(channel, b"a", message, src="other")
            allowed = any(w.channel == channel and sender in w.senders and role in w.receivers and kind in w.types for w in routes())
            assert code == (None if allowed else "E_AUTH"), (kind, sender)
    assert set(accepted(role, channel)) == {
        kind for way in routes() if way.channel == channel and role in way.receivers for kind in way.types
    }


def test_options_are_plain_numbers() -> None:
    assert all(isinstance(value, (int, float)) and value > 0 for value in asdict(GuardOptions()).values())
    assert MessageSource("peer", b"a", False).quarantine == 0.0
    assert Join not in accepted("agent", "peer")


def test_messages_that_have_not_arrived_are_counted_by_the_gaps() -> None:
    gate = ring()

    def missing_after(*sequences: int) -> int:
        for sequence in sequences:
            gate.put("peer", b"c", Propose(), src="agent-2", seq=sequence)
        return gate.guard.missing["peer", "agent-2"]

    assert missing_after(7) == 0, "this process was not there for the first six"
    assert missing_after(8, 12) == 3
    assert missing_after(10, 10, 12) == 2, "late, and twice"
    assert missing_after(3) == 2, "one of those before the first"
    assert missing_after(13, 14) == 2
    assert missing_after(9, 11) == 0
