"""Membership: silence, progress, incarnations, our own stalls; then random histories against what must always hold."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.conversations.membership.membership import Membership, MembershipChange, MembershipTimeouts, MemberState

TIMEOUTS = MembershipTimeouts(suspect=3.0, dead=10.0, stuck=60.0, joining=20.0, lag=1.0)


def joined(now: float = 0.0, timeouts: MembershipTimeouts = TIMEOUTS) -> Membership:
    membership = Membership(timeouts)
    membership.expect("a", "agent", 1, now)
    assert membership.hello("a", 1, "tcp://a", now)
    membership.changes()
    return membership


def tick_until(membership: Membership, begin: float, end: float, step: float = 0.5) -> float:
    now = begin
    while now < end:
        now = min(end, now + step)
        membership.tick(now)
    return now


def test_a_node_joins() -> None:
    membership = Membership(TIMEOUTS)
    membership.expect("a", "agent", 1, 0.0)
    assert membership["a"].state == MemberState.JOINING
    assert not membership.message_received("a", 1, 1.0), "nothing counts before hello"
    assert membership.hello("a", 1, "tcp://a", 2.0)
    assert membership.changes() == [
        MembershipChange("a", "agent", 1, None, MemberState.JOINING, "started"),
        MembershipChange("a", "agent", 1, MemberState.JOINING, MemberState.ALIVE, "joined"),
    ]
    (entry,) = membership.roster().entries
    assert (entry.name, entry.state, entry.endpoint, entry.inc) == ("a", "alive", "tcp://a", 1)
    version = membership.version
    assert membership.hello("a", 1, "tcp://a", 3.0), "it may send hello again"
    assert membership.version == version and membership.changes() == []
    assert membership.hello("a", 1, "tcp://b", 3.0) and membership.version > version, "a new endpoint is news"


def test_silence_is_suspected_then_final() -> None:
    membership = joined()
    tick_until(membership, 0.0, 2.9)
    assert membership["a"].state == MemberState.ALIVE
    tick_until(membership, 2.9, 3.0)
    assert membership["a"].state == MemberState.SUSPECT
    assert membership.message_received("a", 1, 3.1) and membership["a"].state == MemberState.ALIVE
    tick_until(membership, 3.1, 13.0)
    assert membership["a"].state == MemberState.SUSPECT
    tick_until(membership, 13.0, 13.2)
    assert membership["a"].state == MemberState.DEAD
    assert not membership.message_received("a", 1, 13.3) and not membership.hello("a", 1, "tcp://a", 13.3), "the verdict is final"
    assert not membership.ended("a", 1, True, "late")
    assert membership["a"].state == MemberState.DEAD


def test_who_never_says_hello_is_dead_after_its_own_time() -> None:
    membership = Membership(TIMEOUTS)
    membership.expect("a", "agent", 1, 0.0)
    tick_until(membership, 0.0, 19.5)
    assert membership["a"].state == MemberState.JOINING
    tick_until(membership, 19.5, 20.0)
    assert membership["a"].state == MemberState.DEAD


def test_the_dead_return_with_a_new_incarnation_only() -> None:
    membership = joined()
    assert membership.ended("a", 1, False, "killed by signal 9")
    with pytest.raises(ValueError, match="not newer"):
        membership.expect("a", "agent", 1, 1.0)
    membership.expect("a", "agent", 2, 1.0)
    assert not membership.hello("a", 1, "tcp://a", 1.0), "the old incarnation stays out"
    assert not membership.hello("a", 3, "tcp://a", 1.0), "so does one that was not started"
    assert membership.hello("a", 2, "tcp://a2", 1.0)
    assert not membership.ended("a", 1, False, "late news"), "late news of the old one change nothing"
    assert membership["a"].state == MemberState.ALIVE and membership["a"].incarnation == 2


def test_life_without_progress_is_stuck() -> None:
    membership = joined()
    now = 0.0
    while now < 59.5:
        now += 0.5
        membership.message_received("a", 1, now, (7, 0) if now >= 1 else (now,))
        membership.tick(now)
    assert membership["a"].state == MemberState.ALIVE
    while now < 61.0:
        now += 0.5
        membership.message_received("a", 1, now, (7, 0))
        membership.tick(now)
    assert membership["a"].state == MemberState.STUCK
    membership.message_received("a", 1, now, (7, 0))
    assert membership["a"].state == MemberState.STUCK, "heartbeats alone are no progress"
    membership.message_received("a", 1, now, (8, 0))
    assert membership["a"].state == MemberState.ALIVE


def test_a_stuck_node_that_falls_silent_dies_too() -> None:
    membership = joined(timeouts=MembershipTimeouts(stuck=1.0, lag=100))
    for now in (0.5, 1.0, 1.5):
        membership.message_received("a", 1, now, (1,))
        membership.tick(now)
    membership.message_received("a", 1, 2.0, (1,))
    membership.tick(2.0)
    assert membership["a"].state == MemberState.STUCK
    membership.tick(5.1)
    assert membership["a"].state == MemberState.SUSPECT
    membership.tick(12.1)
    assert membership["a"].state == MemberState.DEAD


def test_progress_is_not_judged_before_the_start_nor_with_zero() -> None:
    membership = joined()
    for now in range(100):
        membership.message_received("a", 1, now, (0,))
        membership.tick(now, judge_progress=False)
    assert membership["a"].state == MemberState.ALIVE
    membership.begin(100)
    membership.message_received("a", 1, 100.5, (0,))
    membership.tick(100.5)
    assert membership["a"].state == MemberState.ALIVE, "the clock of progress starts at the beginning"
    never = joined(timeouts=MembershipTimeouts(stuck=0.0, lag=1000))
    never.message_received("a", 1, 900.0, (0,))
    never.message_received("a", 1, 901.0, (0,))
    never.tick(901.0)
    assert never["a"].state == MemberState.ALIVE


def test_our_own_stall_is_nobodys_silence() -> None:
    membership = joined()
    membership.tick(0.5)
    membership.tick(30.0)  # no message was read for 29.5 s
    assert membership["a"].state == MemberState.ALIVE
    tick_until(membership, 30.0, 32.4)
    assert membership["a"].state == MemberState.ALIVE
    tick_until(membership, 32.4, 33.1)
    assert membership["a"].state == MemberState.SUSPECT, "the lag is given once, not for ever"


def test_lost_is_lost() -> None:
    membership = joined()
    membership.ended("a", 1, False, "killed")
    membership.lost("a", "too often")
    membership.changes()
    version = membership.version
    membership.lost("a", "again")
    assert membership.version == version and membership.changes() == []
    assert membership.roster().entries[0].state == "lost"


EVENT = st.one_of(
    st.tuples(st.just("tick"), st.floats(0.0, 6.0)),
    st.tuples(st.just("hello"), st.integers(1, 4)),
    st.tuples(st.just("life"), st.integers(1, 4)),
    st.tuples(st.just("progress"), st.integers(1, 4)),
    st.tuples(st.just("ended"), st.integers(1, 4)),
    st.tuples(st.just("restart"), st.just(0)),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(EVENT, max_size=60))
def test_random_histories(events: list[tuple[str, float]]) -> None:
    """Versions never fall and rise with every change; dead nodes stay dead; changes are complete; no early verdicts."""
    membership = Membership(TIMEOUTS)
    membership.expect("a", "agent", 1, 0.0)
    now, newest, last_life, previous_tick, stalled = 0.0, 1, 0.0, None, 0.0
    final: set[int] = set()
    told: MemberState | None = None
    version = 0
    for kind, value in events:
        member = membership["a"]
        if kind == "tick":
            now += float(value)
            if previous_tick is not None and now - previous_tick > TIMEOUTS.lag:
                stalled += now - previous_tick
            previous_tick = now
            membership.tick(now)
        elif kind == "hello":
            accepted = membership.hello("a", int(value), "tcp://a", now)
            assert accepted == (int(value) == newest and newest not in final)
            if accepted:
                last_life = now
        elif kind in ("life", "progress"):
            accepted = membership.message_received("a", int(value), now, (now,) if kind == "progress" else None)
            assert not (accepted and int(value) in final)
            if accepted:
                last_life = now
        elif kind == "ended":
            membership.ended("a", int(value), value % 2 == 0, "gone")
        else:
            newest += 1
            membership.expect("a", "agent", newest, now)
            last_life = now
        changes = membership.changes()
        assert membership.version >= version + len(changes)
        version = membership.version
        for change in changes:
            assert change.old == told
            told = change.new
            if change.new in (MemberState.DEAD, MemberState.LEFT):
                final.add(change.incarnation)
            if change.reason.startswith("silent"):
                limit = TIMEOUTS.suspect if change.new == MemberState.SUSPECT else TIMEOUTS.dead
                assert now - last_life >= limit - 1e-9
        member = membership["a"]
        assert told == member.state and member.incarnation == newest
        assert (newest in final) == (not member.state.living)
        if kind == "tick" and member.state.living and member.state != MemberState.JOINING:
            assert now - last_life < TIMEOUTS.dead + stalled + 1e-9, "a silent node can't live for ever"
