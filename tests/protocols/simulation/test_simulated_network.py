"""The simulated network itself: order, time, incarnations, losses, and equality by reference and over the codec."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import inf
from typing import Any

import numpy as np
import pytest

from protocols.averaging.averaging_messages import Average
from protocols.conversations.conversation import Array, Send
from protocols.conversations.stepping.stepping_messages import Join
from protocols.faults.link_effects.faulty_links import LinkOutcome
from protocols.simulation.simulated_network import Calendar, Network, Node, NodeScript, PerfectLinks, Take
from protocols.wire.messages import Message
from tests.protocols.simulation.drawn_links import DrawnLinks


class Echo(NodeScript):
    """Sends a number to others on request, stores what it receives, and requests a turn at times."""

    def __init__(self, wakes: Iterable[float] = ()) -> None:
        self.heard: list[tuple[float, str, int]] = []
        self.turns: list[float] = []
        self.wakes = list(wakes)

    def takes(self) -> Mapping[type[Message], Take]:
        return {Average: self.take}

    def take(self, src: str, message: Message, arrays: Mapping[str, Array], now: float) -> None:
        assert isinstance(message, Average)
        self.heard.append((now, src, message.round))

    def turn(self, now: float) -> None:
        self.turns.append(now)
        self.wakes = [time for time in self.wakes if time > now]

    def wake(self) -> float:
        return min(self.wakes, default=inf)

    def say(self, dst: str, number: int) -> None:
        vector = np.full(3, number, np.float32)
        self.network.send(self.node, Send(dst, Average(round=number, layout="x"), {"vector": vector}))


def pair(links: Any = None, wire: bool = False) -> tuple[Network, Echo, Echo]:
    network, a, b = Network(wire=wire), Echo(), Echo()
    network.add("a", a, links)
    network.add("b", b)
    network.run(0.0)
    return network, a, b


def test_calendar_hands_out_moments_in_order() -> None:
    calendar: Calendar[str] = Calendar()
    for time, item in ((2.0, "c"), (1.0, "a"), (2.0, "d"), (1.0, "b")):
        calendar.at(time).items.append(item)
    assert calendar.next() == 1.0
    time, bucket = calendar.take()
    calendar.at(1.0).items.append("again")
    assert (time, bucket.items) == (1.0, ["a", "b"])
    assert [calendar.take()[1].items for _ in range(2)] == [["again"], ["c", "d"]]
    assert calendar.next() == inf


def test_messages_arrive_in_order_after_the_delay() -> None:
    network, a, b = pair(PerfectLinks(0.25))
    for number in range(3):
        a.say("b", number)
    assert network.run(0.2) and network.now == 0.2 and not b.heard
    network.run(1.0)
    assert b.heard == [(0.25, "a", 0), (0.25, "a", 1), (0.25, "a", 2)]
    assert b.turns == [0.0, 0.25], "one turn for all that arrives at one moment"
    assert network.events == network.sent == 3


def test_a_node_has_a_turn_when_it_asked_for_one_and_no_more() -> None:
    network, script = Network(), Echo([0.5, 2.0])
    network.add("a", script)
    network.run(10.0)
    assert script.turns == [0.0, 0.5, 2.0]
    network.touch(network.nodes["a"])
    network.touch(network.nodes["a"])
    network.run(10.0)
    assert script.turns[3:] == [10.0]


def test_what_is_under_way_to_the_dead_is_lost_and_the_former_life_is_not_believed() -> None:
    network, a, b = pair(DrawnLinks(1, "a", delay=(1.0, 1.0)))
    a.say("b", 1)
    network.run(0.5)
    network.kill("b")
    new = Echo()
    network.add("b", new)
    network.run(3.0)
    assert not b.heard and not new.heard and network.counters == {"lost.dead": 1}
    a.say("b", 2)  # the new incarnation is not announced yet: its connection is to the old one
    network.run(5.0)
    assert not new.heard and network.counters["lost.dead"] == 2
    network.report_dead(network.nodes["a"], "b")
    a.say("b", 3)
    assert network.counters["lost.unknown"] == 1
    network.report_alive(network.nodes["a"], "b")
    a.say("b", 4)
    network.run(7.0)
    assert new.heard == [(6.0, "a", 4)]
    a.say("b", 5)
    network.run(7.5)
    successor = Echo()
    network.add("a", successor)
    network.run(7.6)
    successor.say("b", 6)
    network.run(20.0)
    assert [number for _, _, number in new.heard] == [4, 6], "the later incarnation arrived first, so 5 came too late"
    assert network.counters["lost.stale"] == 1


def test_nobody_takes_what_it_does_not_know() -> None:
    network = pair()[0]
    network.send(network.nodes["a"], Send("b", Join()))
    network.run(1.0)
    assert network.events == 0 and network.counters == {"lost.untaken": 1}


def test_who_chatters_for_ever_is_found_out() -> None:
    class Chatter(Echo):
        def turn(self, now: float) -> None:
            self.say("b", 1)

    network = Network()
    network.add("a", Chatter([]), PerfectLinks(0.0))
    network.add("b", Chatter([]), PerfectLinks(0.0))
    network.report_alive(network.nodes["b"], "a")
    network.nodes["b"].script.say = lambda dst, number: Echo.say(network.nodes["b"].script, "a", number)  # type: ignore[attr-defined,arg-type]
    assert not network.run(1.0, most=1000)


@pytest.mark.parametrize("wire", [False, True])
def test_loss_repetition_and_damage_are_those_of_the_links(wire: bool) -> None:
    network, a, b = pair(DrawnLinks(5, "a", delay=(0.01, 0.5), loss=0.2, duplicate=0.1, corrupt=0.05), wire)
    for number in range(2000):
        a.say("b", number)
    network.run(1.0)
    lost, twice = network.counters["lost.loss"], network.counters["duplicated"]
    damaged = network.counters["lost.damaged"] + network.counters["bad.E_FRAME"]
    assert 340 < lost < 460 and 120 < twice < 200 and 50 < damaged < 130
    assert network.events == 2000 - lost + twice - damaged
    assert [number for _, _, number in b.heard] != sorted(number for _, _, number in b.heard), "delays reorder"
    other, a2, b2 = pair(DrawnLinks(5, "a", delay=(0.01, 0.5), loss=0.2, duplicate=0.1, corrupt=0.05), not wire)
    for number in range(2000):
        a2.say("b", number)
    other.run(1.0)
    assert b2.heard == b.heard, "the same happens by reference and over the codec"
    assert abs(other.bytes / network.bytes - 1) < 1e-9


def test_bytes_are_those_of_the_wire() -> None:
    from protocols.wire.codec import encode

    network, a, _ = pair()
    a.say("b", 1)
    message = Average(round=1, layout="x", run="simulation", src="agent-0", dst="agent-0", inc=1, seq=1, ts=1.0)
    assert network.bytes == sum(len(part) for part in encode(message, {"vector": np.zeros(3, np.float32)})) - 4  # 12 are padded to 16


def test_draws_depend_on_the_message_alone() -> None:
    links = DrawnLinks(3, "a", loss=0.5)
    fates = {seq: links.link_outcome("b", "peer", "average", seq, 100, 0.0) for seq in range(1, 200)}
    again = DrawnLinks(3, "a", loss=0.5)
    assert all(again.link_outcome("b", "peer", "average", seq, 7, 9.0) == fates[seq] for seq in reversed(fates))
    other = DrawnLinks(4, "a", loss=0.5)
    assert sum(other.link_outcome("b", "peer", "average", seq, 100, 0.0) == link_outcome for seq, link_outcome in fates.items()) < 80
    healed = DrawnLinks(3, "a", loss=1.0, until=5.0)
    assert healed.link_outcome("b", "peer", "average", 1, 100, 4.9) == LinkOutcome((), cause="loss")
    assert len(healed.link_outcome("b", "peer", "average", 1, 100, 5.0).copies) == 1


def test_an_observer_hears_of_everything() -> None:
    network, a, _ = pair(DrawnLinks(5, "a", loss=0.5))
    seen: list[tuple[int, str]] = []
    network.observe = lambda route, message, arrays, cause: seen.append((route.seq, cause))
    for number in range(100):
        a.say("b", number)
    assert [seq for seq, _ in seen] == list(range(1, 101))
    assert {cause for _, cause in seen} == {"", "loss"}
    assert isinstance(network.nodes["a"], Node)
