"""Push-sum: the neighbours die and return, or the agent itself does, rule by rule."""

from __future__ import annotations

import numpy as np
import pytest

from protocols.averaging.averager import LIGHT
from protocols.averaging.averaging_messages import Share
from protocols.averaging.isolation_policy import ISOLATION_LIMIT
from tests.protocols.averaging.push_sum_nodes import node, offer, share, tell


def test_what_the_dead_did_not_acknowledge_returns() -> None:
    a = node("bc")
    for number in range(3):
        a.begin(number, np.array([9.0, 0.0]), float(number))
        a.tick(number + 5.0)
    tell(a, "b", share(0, 0.0, ack=1))
    a.events()
    mass, untaken = a.mass, 1 / 9 + 1 / 27
    a.peer_dead("b", 9.0)
    assert a.mass == pytest.approx(mass + untaken) and a.sum == pytest.approx([9.0 * a.mass, 0.0])
    assert a.edge("b") is None
    a.begin(3, np.array([9.0, 0.0]), 10.0)
    assert [send.dst for send in a.outgoing()[-1:]] == ["c"]
    a.peer_dead("c", 11.0)
    (event,) = a.events()[-1:]
    assert event.missing == ("b", "c") and event.delta == pytest.approx([0.0, 0.0], abs=1e-12)


def test_who_returns_begins_with_nothing_and_its_predecessor_is_not_heard() -> None:
    a = node(incarnation=3)
    a.peer_alive("b", 1, 0.0)
    a.begin(0, np.ones(2), 0.0)
    tell(a, "b", share(1, 0.5, inc=1, to=3), offer(1.0, 1.0))
    a.peer_alive("b", 2, 1.0)
    edge = a.edge("b")
    assert edge is not None and edge.outgoing.number == edge.incoming.number == 0
    assert a.mass == pytest.approx(1.5), "what it gave stays here, what was given to it is back"
    for inc, to in ((1, 3), (2, 2)):
        tell(a, "b", share(2, 0.75, round=5, inc=inc, to=to), offer(9.0, 9.0))
    assert a.counters["stale"] == 2 and edge.incoming.offer_number == 0
    a.peer_dead("b", 2.0)
    tell(a, "b", share(1, 0.25, inc=2, to=3), offer(1.0, 1.0))
    assert a.counters["stale"] == 3
    a.peer_alive("b", 2, 3.0)
    tell(a, "b", share(1, 0.25, inc=2, to=3), offer(1.0, 1.0))
    assert a.edge("b") is not None and a.counters["stale"] == 3


def test_who_returns_takes_its_model_from_the_first_share() -> None:
    a = node("bc", rejoin=True)
    a.begin(0, np.array([100.0, 100.0]), 0.0)
    assert a.mass == 0.0 < LIGHT and all(not send.arrays for send in a.outgoing()), "it has nothing to give"
    tell(a, "b", share(1, 1 / 3, round=40), offer(1.0, 2.0))
    assert a.newest_round == 40, "it takes up the count of its neighbours"
    a.tick(2.0)
    (event,) = a.events()
    assert [100.0, 100.0] + event.delta == pytest.approx([3.0, 6.0]) and a.mass == pytest.approx(1 / 3)
    a.begin(40, np.array([3.0, 6.0]), 2.1)
    assert a.newest_round == 40 and [send.message.number for send in a.outgoing() if isinstance(send.message, Share)] == [1, 1]


def test_if_all_have_lost_their_mass_somebody_begins() -> None:
    a = node(rejoin=True)
    for number in range(ISOLATION_LIMIT):
        assert a.mass == 0.0
        a.begin(number, np.array([5.0, 6.0]), 3.0 * number)
        tell(a, "b", share(0, 0.0, round=number), now=3.0 * number)
        a.tick(3.0 * number + 2.0)
    assert a.mass == 1.0 and a.sum.tolist() == [5.0, 6.0]
    alone = node("", rejoin=True)
    for number in range(2 * ISOLATION_LIMIT):
        alone.begin(number, np.zeros(2), float(number))
    assert alone.mass == 0.0, "without neighbours there is nothing to wait for, nor to hurry"


def test_who_returns_among_slow_neighbours_waits_for_their_mass() -> None:
    """b has lost its own too and sends in every round; c averages rarely, and has mass: no agent must invent another."""
    a = node("bc", rejoin=True)
    for number in range(5 * ISOLATION_LIMIT):
        a.begin(number, np.array([5.0, 6.0]), 3.0 * number)
        tell(a, "b", share(0, 0.0, round=number), now=3.0 * number)
        a.tick(3.0 * number + 2.0)
        assert a.mass == 0.0 and not a.open
    a.begin(5 * ISOLATION_LIMIT, np.array([5.0, 6.0]), 500.0)
    tell(a, "c", share(1, 0.5, round=1), offer(1.0, 1.0), 500.1)
    a.tick(502.0)
    assert a.mass == 0.5
    b = node("bc", rejoin=True)
    for number in range(ISOLATION_LIMIT):
        b.begin(number, np.array([5.0, 6.0]), 3.0 * number)
        if number == 1:
            b.peer_dead("c", 3.0)
        tell(b, "b", share(0, 0.0, round=number), now=3.0 * number)
        b.tick(3.0 * number + 2.0)
    assert b.mass == 0.0, "the first round still waited for c"
