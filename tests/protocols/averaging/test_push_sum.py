"""Push-sum: rules one by one, for one agent and its edges."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from protocols.averaging.averager import FixedNeighbourhood
from protocols.averaging.averaging_messages import Average, Share
from protocols.averaging.push_sum import COARSE_SUM, POOR, PushSum
from protocols.averaging.push_sum_edges import AGAIN, SILENT, OutgoingMass
from protocols.runtime.errors import InvariantError
from tests.protocols.averaging.averaging_network import LAYOUT
from tests.protocols.averaging.push_sum_nodes import node, offer, only, share, tell

# --- rules ------------------------------------------------------------------------------------------------------------------------


def test_a_round_by_hand() -> None:
    a = node("bc", window=4)
    a.begin(0, np.array([3.0, 6.0]), 0.0)
    sends = {send.dst: send for send in a.outgoing()}
    assert sorted(sends) == ["b", "c"]
    first = sends["b"].message
    assert isinstance(first, Share) and (first.round, first.number, first.base, first.ack) == (0, 1, 0, 0)
    assert first.weight == pytest.approx(1 / 3) and sends["b"].arrays["offer"].tolist() == [1.0, 2.0]
    assert a.mass == pytest.approx(1 / 3) and a.sum.tolist() == pytest.approx([1.0, 2.0])
    tell(a, "b", share(1, 0.5), offer(1.0, 0.0))
    assert a.open
    tell(a, "c", share(1, 1 / 6), offer(0.0, 0.0))
    (event,) = a.events()
    # (y, w) = (1, 2; 1/3) + (1, 0; 1/2) + (0, 0; 1/6) = (2, 2; 1)
    assert a.mass == pytest.approx(1.0) and event.delta == pytest.approx([2.0 - 3.0, 2.0 - 6.0])
    assert (event.round, event.used, event.missing) == (0, ("b", "c"), ()) and not a.open
    a.begin(1, np.array([2.0, 2.0]), 0.1)
    assert [send.message.ack for send in a.outgoing() if isinstance(send.message, Share)] == [1, 1]


def test_learning_moves_the_model_by_as_much_however_small_its_mass_is() -> None:
    a = node("bcd")
    for number in range(3):
        x = np.array([10.0 + number, -1.0])
        a.begin(number, x, float(number))
        a.tick(number + 5.0)
        assert a.events()[0].delta == pytest.approx([0.0, 0.0], abs=1e-12), "whatever is given away, y / w stays"
        assert a.mass == pytest.approx(0.25 ** (number + 1))
        assert a.sum / a.mass == pytest.approx(x)


def test_what_was_lost_is_in_the_next_offer() -> None:
    a = node()
    a.begin(0, np.zeros(2), 0.0)
    tell(a, "b", share(3, 0.875), offer(7.0, 0.0))
    assert a.mass == pytest.approx(0.5 + 0.875) and a.events()[0].delta == pytest.approx([7.0 / 1.375, 0.0])


def test_what_is_repeated_or_overtaken_changes_nothing() -> None:
    a = node()
    a.begin(0, np.zeros(2), 0.0)
    tell(a, "b", share(2, 0.75, round=1), offer(3.0, 0.0))
    assert a.events()[0].delta == pytest.approx([3.0 / 1.25, 0.0])
    mass, total = a.mass, a.sum.copy()
    a.begin(1, np.array([3.0 / 1.25, 0.0]), 0.1)
    for message, arrays in [(share(2, 0.75, round=1), offer(3.0, 0.0)), (share(1, 0.5), offer(2.0, 0.0))]:
        tell(a, "b", message, arrays)
    a.tick(10.0)
    assert a.counters["old"] == 2
    assert a.mass == pytest.approx(mass / 2) and a.sum == pytest.approx(total / 2), "only what was given away is missing"


def test_a_full_window_closes_the_edge_until_it_is_acknowledged() -> None:
    a = node(window=3)
    for number in range(6):
        a.begin(number, np.ones(2), float(number))
        message, array = only(a.outgoing())
        assert message.number == min(number + 1, 3)
        assert (array is not None) == (number < SILENT), "the newest offer is repeated, until nothing is received any more"
        a.tick(number + 5.0)
    assert a.mass == pytest.approx(0.5**3)
    tell(a, "b", share(0, 0.0, round=1, ack=2), now=9.0)
    a.begin(6, np.ones(2), 10.0)
    assert only(a.outgoing())[0].number == 4 and a.mass == pytest.approx(0.5**4)


def test_nothing_is_given_away_by_the_poor() -> None:
    many = [f"n{i}" for i in range(40)]
    a = PushSum(FixedNeighbourhood(dict.fromkeys(many, 0.01)), LAYOUT, 1)
    for number in range(6):
        a.begin(number, np.ones(1), float(number))
        a.tick(number + 5.0)
    assert POOR / 41 < a.mass == pytest.approx(1 / 41) and {
        send.message.number for send in a.outgoing() if isinstance(send.message, Share)
    } == {1}


def test_an_acknowledgement_over_an_unused_edge_is_no_offer() -> None:
    """The offer was lost, the graph does not use the edge for a round, and only acknowledged offers are sent: no broken message."""
    a = node("b")
    a.begin(0, np.array([3.0, 6.0]), 0.0)
    tell(a, "b", share(2, 0.5, ack=1))
    edge = a.edge("b")
    assert edge is not None and not edge.outgoing.pending and edge.incoming.offer is None
    tell(a, "b", share(2, 0.5, ack=1, round=1), offer(1.0, 1.0))
    assert not a.open and a.mass == 0.5 and edge.incoming.offer is not None, "it comes with the next repetition"
    a.begin(1, np.array([3.0, 6.0]), 0.1)
    a.close(0.2)
    assert a.mass == pytest.approx(0.5 / 2 + 0.5) and not a.counters


def test_mass_that_vanishes_stops_the_agent() -> None:
    a = node()
    a.begin(0, np.ones(2), 0.0)
    a.mass = 1e-10
    with pytest.raises(InvariantError, match="mass has fallen to 1e-10"):
        a.tick(5.0)


def test_offers_over_an_edge_that_the_graph_does_not_use_are_repeated_in_time() -> None:
    class Once:
        all_neighbours = ("b",)

        def receivers(self, round: int) -> tuple[str, ...]:
            return ("b",) if round == 0 else ()

        def senders(self, round: int) -> tuple[str, ...]:
            return ()

        def weights(self, round: int) -> dict[str, float]:
            return {}

    a = PushSum(Once(), LAYOUT, 1)
    said = []
    for number in range(2 * AGAIN + 1):
        a.begin(number, np.ones(1), float(number))
        said.append([send.message.number for send in a.outgoing() if isinstance(send.message, Share)])
    assert said == [[1], *[[]] * (AGAIN - 1), [1], *[[]] * (AGAIN - 1), [1]]
    tell(a, "b", share(1, 0.1, ack=1), offer(0.0))
    a.begin(9, np.ones(1), 9.0)
    a.begin(10, np.ones(1), 10.0)
    message, array = only(a.outgoing())
    assert message.ack == 1 and array is None, "what is new in it is only the acknowledgement, which is sent once"


@pytest.mark.parametrize(
    ("src", "message", "arrays", "counter"),
    [
        ("b", Average(round=0, layout=LAYOUT), {}, "bad.E_DECODE"),
        ("x", share(1, 0.5), offer(1, 1), "bad.E_UNKNOWN_NODE"),
        ("b", Share(round=0, layout="other", number=1, weight=0.5), offer(1, 1), "bad.E_FRAME"),
        ("b", share(4, 0.9), {"vector": np.ones(2)}, "bad.E_FRAME"),
        ("b", share(4, 0.9), offer(1, 1, 1), "bad.E_FRAME"),
        ("b", share(4, 0.9), {"offer": np.ones(2, np.int64)}, "bad.E_FRAME"),
        ("b", share(4, 0.9), offer(np.nan, 1), "bad.E_NONFINITE"),
        ("b", share(4, 0.9), offer(np.inf, -np.inf), "bad.E_NONFINITE"),
        ("b", share(4, 1e11), offer(1, 1), "bad.E_FRAME"),
        ("b", share(4, 0.1), offer(1, 1), "bad.E_FRAME"),  # less mass than there was
        ("b", share(500, 0.9), offer(1, 1), "bad.E_AHEAD"),
        ("b", share(4, 0.9, base=3), offer(1, 1), "bad.E_AHEAD"),
        ("b", share(4, 0.9, ack=9), offer(1, 1), "bad.E_AHEAD"),
        ("b", share(4, 0.9, round=2**62), offer(1, 1), "bad.E_AHEAD"),
    ],
)
def test_what_breaks_a_rule_is_counted_and_changes_nothing(src: str, message: Any, arrays: dict[str, np.ndarray], counter: str) -> None:
    a = node("bc")
    a.begin(0, np.ones(2), 0.0)
    for peer in "bc":
        tell(a, peer, share(2, 0.5, round=1, ack=1), offer(1.0, 1.0))
    a.events()
    before = a.state()
    a.receive(src, message, arrays, 0.5)
    after = a.state()
    assert a.counters == {counter: 1}
    assert before.keys() == after.keys() and all(np.array_equal(before[name], after[name]) for name in before)


def test_what_the_agent_itself_may_not_do() -> None:
    a = node()
    for x in (np.zeros(3), np.array([np.nan, 0.0])):
        with pytest.raises(ValueError, match="2 finite"):
            a.begin(0, x, 0.0)
    a.begin(1, np.zeros(2), 0.0)
    with pytest.raises(ValueError, match="begun already"):
        a.begin(1, np.zeros(2), 0.0)
    with pytest.raises(ValueError, match="is open"):
        a.state()
    with pytest.raises(ValueError, match="window"):
        node(window=0)
    with pytest.raises(ValueError, match="float16"):
        node(offers="float16")


def test_what_is_sent_does_not_change_with_the_agent() -> None:
    a, x = node(), np.ones(2)
    a.begin(0, x, 0.0)
    x += 1.0
    sent = a.outgoing()[0].arrays["offer"]
    a.begin(1, x, 1.0)
    assert sent.tolist() == [0.5, 0.5] and a.sum == pytest.approx([0.5, 0.5])


def test_a_sum_begins_anew_once_all_of_it_is_acknowledged() -> None:
    a, b = node(offers="float32"), PushSum(FixedNeighbourhood({"a": 0.1}), LAYOUT, 2, offers="float32")
    x = {"a": np.array([1.0, 0.0]), "b": np.array([0.0, 3.0])}
    bases = set()
    for number in range(3 * COARSE_SUM):
        for name, machine in (("a", a), ("b", b)):
            machine.begin(number, x[name], float(number))
        for src, machine, other in (("a", a, b), ("b", b, a)):
            for send in machine.outgoing():
                assert isinstance(send.message, Share)
                bases.add(send.message.base)
                other.receive(src, send.message, send.arrays, float(number))
        for name, machine in (("a", a), ("b", b)):
            for event in machine.events():
                x[name] = x[name] + event.delta
    assert len(bases) >= 3 and a.mass + b.mass == pytest.approx(2.0 - 0.0, abs=1.0)
    assert x["a"] == pytest.approx([0.5, 1.5], abs=1e-5) and x["b"] == pytest.approx([0.5, 1.5], abs=1e-5)
    assert not [name for name in (*a.counters, *b.counters) if name.startswith("bad")]


def test_a_sum_begins_anew_before_the_share_is_lost_in_its_digits() -> None:
    a = node()
    edge = a.edge("b")
    assert edge is not None
    a.begin(0, np.array([1e9, 0.0]), 0.0)
    for number in range(1, 70):
        tell(a, "b", share(number, float(number), round=number, ack=edge.outgoing.number), offer(0.0, 0.0))
        a.begin(number, np.array([1e-3, 0.0]), float(number))
    assert edge.outgoing.base == 64


# --- churn, cuts, stragglers, checkpoints -----------------------------------------------------------------------------------------


def test_a_foreign_state_is_refused() -> None:
    a = node("bc")
    state = a.state()
    for other, match in ((node("b"), "neighbours|with"), (node("bc", size=3), "3 numbers")):
        with pytest.raises(ValueError, match=match):
            other.load_state(state)
    with pytest.raises(ValueError, match="lacks"):
        a.load_state({name: value for name, value in state.items() if name != "mass"})


def test_what_the_halves_of_an_edge_do_by_themselves() -> None:
    outgoing = OutgoingMass()
    assert outgoing.untaken() == (None, 0.0)
    outgoing.give(np.array([1.0]), 0.25)
    outgoing.give(np.array([3.0]), 0.5)
    outgoing.acknowledge(1)
    total, weight = outgoing.untaken()
    assert total is not None and total.tolist() == [2.0] and weight == 0.25
