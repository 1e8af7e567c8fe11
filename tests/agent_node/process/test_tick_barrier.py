"""Talk tick by tick: what arrives when does not depend on when it came."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_node.process.tick_barrier import TickBarrier
from protocols.conversations.conversation import Send
from protocols.conversations.lockstep_messages import Marker
from protocols.conversations.proposals import ProposeAck
from protocols.runtime.errors import ResourceError
from protocols.wire.messages import Message

TICK = 0.01


class Wire:
    """Takes what a lockstep hands over; `full` takes nothing."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, Message, int, int]] = []
        self.full = False

    def try_send(self, channel: str, name: str, message: Any, arrays: Any) -> bool:
        if not self.full:
            copy = type(message)(count=message.count) if isinstance(message, Marker) else type(message)()
            copy.sent, copy.at = message.sent, message.at
            self.sent.append((name, copy, message.sent, message.at))
        return not self.full


class Fates:
    """Link outcomes by number of the message."""

    def __init__(self, fates: list[tuple[float, ...]]) -> None:
        self.fates = fates

    def copies(self, dst: str, kind: str, seq: int, size: int, now: float) -> Collection[float]:
        return self.fates[seq % 65536]


def said(fates: list[tuple[float, ...]], tick: int = 5) -> Wire:
    lockstep, wire = TickBarrier(TICK, Fates(fates)), Wire()  # type: ignore[arg-type]
    lockstep.peer_joined("b", 0)
    lockstep.send_due([Send("b", ProposeAck(), {"n": np.array([i])}) for i in range(len(fates))], tick)
    lockstep.flush(wire)  # type: ignore[arg-type]
    return wire


def test_delays_are_counted_in_ticks_and_a_marker_says_how_many_came_before_it() -> None:
    wire = said([(0.0,), (0.01,), (0.0101,), (0.035,), (), (0.0, 0.05)])
    assert [at for _, message, _, at in wire.sent if not isinstance(message, Marker)] == [6, 6, 7, 9, 6, 10]
    marker = wire.sent[-1][1]
    assert isinstance(marker, Marker) and marker.count == 6 and marker.sent == 5


def test_nobody_hears_of_absent_partners_and_what_is_not_taken_waits() -> None:
    lockstep, wire = TickBarrier(TICK), Wire()
    lockstep.peer_joined("b", 0)
    wire.full = True
    lockstep.send_due([Send("b", ProposeAck()), Send("stranger", ProposeAck())], 1)
    lockstep.flush(wire)  # type: ignore[arg-type]
    assert not wire.sent and lockstep.waiting() == ["b"]
    wire.full = False
    lockstep.flush(wire)  # type: ignore[arg-type]
    assert [name for name, *_ in wire.sent] == ["b", "b"] and not lockstep.waiting()


def arrivals(sender: str, messages: list[tuple[int, int]], last: int) -> list[tuple[str, Message]]:
    """Messages of a sender with these (sent, at) and its markers up to tick `last`, in its order."""
    found: list[tuple[str, Message]] = []
    for tick in range(last + 1):
        mine = [at for sent, at in messages if sent == tick]
        found += [(sender, ProposeAck(sent=tick, at=at)) for at in mine]
        found.append((sender, Marker(sent=tick, count=len(mine))))
    return found


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(1, 3)), max_size=8),
    st.lists(st.tuples(st.integers(0, 4), st.integers(1, 3)), max_size=8),
    st.randoms(use_true_random=False),
)
def test_what_is_heard_at_a_tick_does_not_depend_on_the_interleaving(a: Any, b: Any, random: Any) -> None:
    def heard(order: list[str]) -> list[list[tuple[str, int, int]]]:
        lockstep = TickBarrier(TICK)
        queues = {name: arrivals(name, [(s, s + d) for s, d in given], 8) for name, given in (("a", a), ("b", b))}
        for name in queues:
            lockstep.peer_joined(name, 0)
        ticks: list[list[tuple[str, int, int]]] = []
        for name in [*order, *["a"] * 99, *["b"] * 99]:
            if queues[name]:
                lockstep.receive(*queues[name].pop(0), {})
            while len(ticks) < 8 and not lockstep.missing(len(ticks)):
                tick = len(ticks) + 1
                ticks.append([(src, message.sent, message.at) for src, message, _ in lockstep.take(tick)])
        return ticks

    order = ["a"] * 10 + ["b"] * 10
    random.shuffle(order)
    once = heard(order)
    assert once == heard(sorted(order)) == heard(sorted(order, reverse=True))
    assert sum(map(len, once)) == len(a) + len(b)
    assert all(at <= tick + 1 for tick, messages in enumerate(once) for _, _, at in messages)


def test_a_dead_partner_is_not_waited_for_and_its_earlier_life_counts_for_nothing() -> None:
    lockstep = TickBarrier(TICK)
    lockstep.peer_joined("b", 0)
    lockstep.receive("b", ProposeAck(sent=1, at=9), {})
    lockstep.receive("b", Marker(sent=1, count=1), {})
    assert lockstep.missing(2) == ["b"]
    lockstep.peer_left("b")
    assert not lockstep.missing(2) and not lockstep.take(9)
    lockstep.receive("b", ProposeAck(sent=2, at=30), {})  # on its way when it died
    lockstep.receive("b", ProposeAck(sent=20, at=21), {})  # of its next incarnation, before this one is notified of it
    lockstep.receive("b", Marker(sent=20, count=1), {})
    lockstep.peer_joined("b", 20)
    assert not lockstep.missing(19) and not lockstep.missing(20) and lockstep.missing(21) == ["b"]
    assert [message.sent for _, message, _ in lockstep.take(21)] == [20]
    assert not lockstep.take(40)


def test_a_message_that_the_connection_has_lost_is_noticed() -> None:
    lockstep = TickBarrier(TICK)
    lockstep.peer_joined("b", 0)
    lockstep.receive("b", Marker(sent=0, count=2), {})
    lockstep.receive("b", ProposeAck(sent=0, at=1), {})
    with pytest.raises(ResourceError, match="sent 2 messages at tick 0, and 1 arrived"):
        lockstep.take(1)
