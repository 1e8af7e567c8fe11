"""Push-sum in networks with deaths, cuts, stragglers and learning, and from checkpoints."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from protocols.consensus import PushSum, SynchronousAveraging, disagreement
from protocols.consensus.averager import LIGHT
from protocols.conversation import Send
from tests.protocols.averaging_network import LAYOUT, AveragingNetwork, Ledger, ring
from tests.protocols.pushsum_nodes import begun, error, start


@pytest.mark.parametrize("seed", range(5))
def test_death_that_is_noticed_late_and_return(seed: int) -> None:
    network, _, spread = start(ring(8), 3, seed, loss=0.1, duplicate=0.1)
    begun(network)
    ledger = Ledger(network, spread)
    network.run(rounds=30)
    with ledger.change():
        network.kill("agent-3")
    network.run(until=network.now + 2.0)
    with ledger.change():
        network.tell_death("agent-3")
    network.run(until=network.now + 2.0)
    with ledger.change():
        network.start("agent-3", np.full(3, 50.0))
    while network.rounds["agent-3"] < 20:
        network.run(until=network.now + 0.01)
    returned = network.machines["agent-3"]
    assert returned.mass > LIGHT, "w_min to train, within 20 rounds"
    assert float(np.abs(network.x["agent-3"]).max()) < 10, "its model is theirs, not what it came with"
    network.run(until=network.now + 20.0)
    assert ledger.least_mass > 1e-3 and ledger.worst <= 1e-9
    assert disagreement(np.array([network.x[name] for name in network.machines])) < 1e-6


def test_a_cut_of_200_rounds() -> None:
    network, mean, spread = start(ring(8), 3, 1, loss=0.1)
    begun(network)
    ledger = Ledger(network, spread)
    network.run(rounds=5)
    halves = [f"agent-{i}" for i in range(4)], [f"agent-{i}" for i in range(4, 8)]
    network.cut = {(a, b) for one, other in (halves, halves[::-1]) for a in one for b in other}
    network.run(rounds=205)
    apart = error(network, mean)
    assert apart > 1e-3 * spread and ledger.least_mass > 1e-2, "the halves go on, each for itself"
    network.cut = set()
    network.run(rounds=400)
    assert error(network, mean) <= 1e-9 * spread


@pytest.mark.parametrize("mode", ["pushsum", "mh"])
def test_a_straggler_slows_nobody(mode: str) -> None:
    """One of eight takes ten times as long for a round: the others keep four fifths of their rate once the deadline has adapted."""
    rates = {}
    for factor in (1, 10):
        places = ring(8)
        random = np.random.default_rng(2)
        x = {name: random.normal(size=3) for name in places}
        pause = {name: 0.2 * (factor if name == "agent-5" else 1) for name in places}

        def make(name: str, incarnation: int, rejoin: bool, places: Any = places) -> PushSum | SynchronousAveraging:
            return PushSum(places[name], LAYOUT, 3) if mode == "pushsum" else SynchronousAveraging(places[name], LAYOUT, 3)

        network = AveragingNetwork(x, make, 2, pause=pause)
        network.run(until=40.0)
        before = dict(network.rounds)
        network.run(until=80.0)
        rates[factor] = {name: (network.rounds[name] - before[name]) / 40.0 for name in places if name != "agent-5"}
    for name, rate in rates[10].items():
        assert rate >= 0.8 * rates[1][name], f"{name} does {rate:.2f} rounds per second, and {rates[1][name]:.2f} without a straggler"


def test_learning_while_averaging_keeps_the_sum_of_all_that_was_learnt() -> None:
    network, mean, spread = start(ring(8), 3, 6, loss=0.2)
    learnt = np.zeros(3)
    random = np.random.default_rng(0)

    def learn(name: str) -> np.ndarray | float:
        machine = network.machines[name]
        if not 0 <= machine.round < 100:
            return 0.0
        step = random.normal(size=3)
        nonlocal learnt
        learnt = learnt + machine.mass * step
        return step

    network.learn = learn
    network.run(rounds=400)
    assert error(network, mean + learnt / 8) <= 1e-9 * spread


def test_a_restored_machine_continues_bit_for_bit() -> None:
    size = 6
    places = ring(4)
    random = np.random.default_rng(8)
    x = {name: random.normal(size=size) for name in places}
    machines = {name: PushSum(places[name], LAYOUT, size, incarnation=1) for name in places}
    copies: dict[str, PushSum] = {}
    flying: list[tuple[str, Send]] = []
    for number in range(40):
        if number == 20:
            for name, machine in machines.items():
                state = {key: np.array(value) for key, value in machine.state().items()}
                copies[name] = PushSum(places[name], LAYOUT, size, incarnation=2)
                copies[name].load_state(state)
                copies[name].peer_alive(next(iter(places[name].everybody)), 2, 0.0)
            twins = {name: vector.copy() for name, vector in x.items()}
        for group, vectors in ((machines, x), (copies, twins if copies else {})):
            for name, machine in group.items():
                machine.begin(number, vectors[name], float(number))
        for name, machine in machines.items():
            sent = machine.outgoing()
            flying += [(name, send) for send in sent]
            if copies:
                again = copies[name].outgoing()
                assert [send.arrays["offer"].tobytes() for send in sent] == [send.arrays["offer"].tobytes() for send in again]
                assert [send.message.weight for send in sent] == [send.message.weight for send in again]  # type: ignore[attr-defined]
        lost = [item for item in flying if random.random() < 0.3]
        for src, send in flying:
            if (src, send) not in lost:
                for group in (machines, copies):
                    if group:
                        message = msgspec.structs.replace(send.message, to=0)  # type: ignore[type-var]
                        group[send.dst].receive(src, message, send.arrays, number + 0.2)
        flying = []
        for group, vectors in ((machines, x), (copies, twins if copies else {})):
            for name, machine in group.items():
                machine.tick(number + 0.9 + 2.0)
                for event in machine.events():
                    vectors[name] = vectors[name] + event.delta
        if copies:
            assert all(x[name].tobytes() == twins[name].tobytes() for name in x)
            assert all(machines[name].mass == copies[name].mass for name in x)
