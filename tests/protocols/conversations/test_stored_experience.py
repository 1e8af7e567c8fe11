"""Stored episodes reach all members, in order and at a bounded rate, over any network, and a member that comes back states what it has."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from protocols.conversations.conversation import Send
from protocols.conversations.episode_exchange import EpisodeExchanged
from protocols.conversations.joint_experience import EpisodeSteps, MemberSteps, MemberStepsAck, encode_pieces, pieces_of
from protocols.conversations.stored_experience import WINDOW, StoredExperience
from tests.protocols.conversations.test_joint_experience import LIMITS, equal, steps
from tests.protocols.network import Link, Network

NUMBERS = [3 * number + 1 for number in range(30)]


def stored(name: str, number: int = 4) -> list[EpisodeSteps]:
    return [steps(name, episode, number) for episode in NUMBERS]


def member(name: str, own: list[EpisodeSteps], complete: int = 0, **options: Any) -> StoredExperience:
    others = {other: limits for other, limits in LIMITS.items() if other != name}
    return StoredExperience(others, np.random.default_rng(ord(name)), own, complete, **options)


def meet(nodes: dict[str, StoredExperience], now: float = 0.0) -> None:
    for name, node in nodes.items():
        for other in nodes:
            if other != name:
                node.peer_alive(other, 1, now)


def numbers_in(send: Send) -> list[int]:
    return [int(number) for number in send.arrays["episode"]] if isinstance(send.message, MemberSteps | MemberStepsAck) else []


def part(machine: StoredExperience, src: str, *episodes: EpisodeSteps, now: float = 0.1) -> None:
    for one in episodes:
        machine.receive(src, MemberSteps(), encode_pieces(pieces_of(one)), now)


@pytest.mark.parametrize("seed", range(10))
def test_any_network(seed: int) -> None:
    random = np.random.default_rng(seed)
    lengths = {(name, number): int(random.integers(1, 700)) for name in LIMITS for number in NUMBERS}
    own = {name: [steps(name, number, lengths[name, number]) for number in NUMBERS] for name in LIMITS}
    nodes = {name: member(name, own[name]) for name in LIMITS}
    network = Network(nodes, Link.draw(random), random)
    network.at(0.0, lambda: meet(nodes))
    network.run(until=120.0)
    for name, node in nodes.items():
        events: list[EpisodeExchanged[EpisodeSteps]] = [event for _, event in network.heard[name]]
        assert [event.episode for event in events] == NUMBERS and node.wake() == np.inf
        for event in events:
            assert not event.missing and set(event.others) == LIMITS.keys() - {name}
            assert all(equal(one, steps(src, event.episode, lengths[src, event.episode])) for src, one in event.others.items())


def acknowledge(machine: StoredExperience, src: str, complete: int, *places: int, now: float = 0.1) -> None:
    arrays = {"episode": np.array([NUMBERS[place] for place in places], np.int64), "complete": np.array([complete])}
    machine.receive(src, MemberStepsAck(), arrays, now)


def offered(machine: StoredExperience) -> list[int]:
    """Places of the episodes that it sends now."""
    sends = [send for send in machine.outgoing() if isinstance(send.message, MemberSteps)]
    return sorted({NUMBERS.index(number) for send in sends for number in numbers_in(send)})


def test_no_more_is_on_its_way_than_the_window() -> None:
    machine = member("a", stored("a", 500))
    machine.peer_alive("b", 1, 0.0)
    assert offered(machine) == [0], "one, until b states how many episodes it has"
    acknowledge(machine, "b", 10)
    assert offered(machine) == [10, 11, 12, 13]
    acknowledge(machine, "b", 10, 10, 11)
    acknowledge(machine, "b", 9)
    assert not machine.outgoing(), "parts that have arrived make no room before they are complete"
    acknowledge(machine, "b", 11)
    assert offered(machine) == [14]
    acknowledge(machine, "b", 31)
    assert machine.counters == {"bad.E_FRAME": 1}
    machine.peer_dead("b", 0.3)
    assert machine.wake() == np.inf and not machine.outgoing()
    acknowledge(machine, "b", 15)
    assert machine.counters["stray_acknowledgement"] == 1


def test_only_what_has_not_arrived_is_repeated_and_the_first_that_is_not_complete() -> None:
    machine = member("a", stored("a", 500))
    for peer in "bc":
        machine.peer_alive(peer, 1, 0.0)
        acknowledge(machine, peer, 1)
    machine.outgoing()
    acknowledge(machine, "c", 30)
    acknowledge(machine, "b", 1, 1, 2, 4)
    machine.tick(10.0)
    assert offered(machine) == [1, 3]
    acknowledge(machine, "b", 4, 3, now=10.1)
    assert offered(machine) == [5, 6, 7]
    acknowledge(machine, "b", 4, 5, 6, 7, now=10.2)
    machine.tick(20.0)
    assert offered(machine) == [4], "so that b states again what is complete"
    machine.peer_dead("c", 21.0)
    machine.tick(30.0)
    assert not machine.outgoing() and machine.wake() == np.inf, "nothing becomes complete without c"


def test_episodes_longer_than_the_window_go_one_by_one() -> None:
    machine = member("a", [steps("a", number, WINDOW + 100) for number in NUMBERS[:3]])
    machine.peer_alive("b", 1, 0.0)
    machine.outgoing()
    acknowledge(machine, "b", 1)
    assert offered(machine) == [1]


def test_events_come_in_order_and_acknowledgements_state_how_many_are_complete() -> None:
    machine = member("a", stored("a"))
    machine.peer_alive("b", 1, 0.0)
    machine.peer_alive("c", 1, 0.0)
    machine.outgoing()

    def said() -> dict[str, tuple[list[int], int]]:
        return {send.dst: (numbers_in(send), int(send.arrays["complete"][0])) for send in machine.outgoing()}

    part(machine, "b", *stored("b")[:5])
    part(machine, "c", *stored("c")[1:4])
    assert not machine.events() and said() == {"b": (NUMBERS[:5], 0), "c": (NUMBERS[1:4], 0)}
    part(machine, "c", stored("c")[0])
    assert [event.episode for event in machine.events()] == NUMBERS[:4]
    assert said() == {"b": ([NUMBERS[3]], 4), "c": ([NUMBERS[0], NUMBERS[3]], 4)}
    part(machine, "b", stored("b")[0])
    assert said() == {"b": ([NUMBERS[0]], 4)}, "the acknowledgement was lost"
    part(machine, "b", replace(stored("b")[0], episode=NUMBERS[0] + 1))
    assert machine.counters == {"duplicate": 1, "unknown_episode": 1} and not machine.outgoing()


def test_rewards_out_of_range_are_refused_and_hold_up_what_follows() -> None:
    machine = member("a", stored("a"), reward_range=(-10.0, 10.0))
    part(machine, "c", *stored("c")[:3])
    part(machine, "b", replace(stored("b")[0], reward=np.full(4, 11, np.float32)), *stored("b")[1:3])
    assert machine.counters["reward_out_of_range"] == 1 and not machine.events()
    part(machine, "b", stored("b")[0])
    assert [event.episode for event in machine.events()] == NUMBERS[:3]


@pytest.mark.parametrize("kept", [0, 7, 30])
def test_a_member_that_comes_back_states_how_many_episodes_it_has(kept: int) -> None:
    """While it is dead the others wait; what it had not kept is sent again, and nothing else but one episode of each."""
    random = np.random.default_rng(kept)
    nodes = {name: member(name, stored(name, 300)) for name in LIMITS}
    network = Network(nodes, Link((0.001, 0.02), loss=0.2), random)
    network.at(0.0, lambda: meet(nodes))
    crash = 100.0 if kept == 30 else 0.2

    def die() -> None:
        network.kill("c")
        for name in ("a", "b"):
            nodes[name].peer_dead("c", network.now)

    network.at(crash, die)
    network.run(until=crash + 30.0)
    before = nodes["a"].complete
    assert (before == 30) == (kept == 30) and nodes["a"].wake() == np.inf, "nothing is repeated to a dead member"
    has = {name: min(kept, before) if name == "c" else node.complete for name, node in nodes.items()}
    again = {name: member(name, stored(name, 300), complete) for name, complete in has.items()}
    second = Network(again, Link((0.001, 0.02), loss=0.2), random)
    second.at(0.0, lambda: meet(again))
    second.run(until=100.0)
    for name, node in again.items():
        assert [event.episode for _, event in second.heard[name]] == NUMBERS[has[name] :] and node.wake() == np.inf
    if kept == 30:
        assert second.sent <= 60, "statements, and the first episodes until these arrive"
