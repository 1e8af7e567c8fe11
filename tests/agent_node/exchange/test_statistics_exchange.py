"""Agents with additive models: when they publish, which totals they receive, restarts; over `PeerConversations` and over the simulated
network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from agent_node.contracts import ObservedTick, tensors
from agent_node.exchange.settings import StatisticsSettings
from agent_node.exchange.statistics_exchange import StatisticsExchange
from agent_node.session.agent_session import PeerConversations
from protocols.averaging.averager import FixedNeighbourhood
from protocols.conversations.membership.membership_messages import RosterEntry
from protocols.simulation.simulated_network import Network, NodeScript, Take
from protocols.statistics.ledger import Ledger
from protocols.transport import Identity, Transport
from protocols.wire.codec import decode, encode
from protocols.wire.messages import Message
from tests.protocols.simulation.drawn_links import DrawnLinks

SIZE = 6


def at(now: float) -> ObservedTick:
    """A tick without copies."""
    return ObservedTick(*(np.zeros(0) for _ in range(5)), now)


class CountingModel:
    """Sums of x and of 1 over what an agent has seen: the least that adds up."""

    basis_id = "moments"

    def __init__(self, seed: int) -> None:
        self.used: list[tuple[np.ndarray, bool]] = []
        self._random = np.random.default_rng(seed)
        self._sums = np.zeros(SIZE)
        self.transitions = 0

    def see(self, count: int) -> None:
        rows = self._random.normal(size=(count, SIZE - 1))
        self._sums += np.append(rows.sum(axis=0), float(count))
        self.transitions += count

    def statistics(self) -> np.ndarray:
        return self._sums.copy()

    def check(self, vector: np.ndarray) -> None:
        if vector[-1] < 0:
            raise ValueError("a count is not negative")

    def published(self) -> None:
        pass

    def use(self, total: np.ndarray, complete: bool) -> None:
        self.used.append((total.copy(), complete))


def ring(names: Sequence[str]) -> dict[str, FixedNeighbourhood]:
    n = len(names)
    return {
        name: FixedNeighbourhood(dict.fromkeys([names[i - 1], names[(i + 1) % n]], 1 / 3 if n > 2 else 0.5)) for i, name in enumerate(names)
    }


def exchange(
    settings: StatisticsSettings, model: CountingModel, name: str, names: Sequence[str], incarnation: int = 1
) -> StatisticsExchange:
    random = np.random.default_rng([int(name[-1]), incarnation])
    return StatisticsExchange(settings, model, name, names, ring(names)[name], random, incarnation)


class InProcess:
    """Agents' exchanges behind their `PeerConversations`; messages go through the codec and are carried by hand."""

    def __init__(self, count: int, settings: StatisticsSettings) -> None:
        self.names = [f"agent-{i}" for i in range(count)]
        self.settings = settings
        self.models = {name: CountingModel(i) for i, name in enumerate(self.names)}
        self.transports = {name: Transport(Identity("test", name)) for name in self.names}
        self.sides: dict[str, StatisticsExchange] = {}
        self.neighbours: dict[str, PeerConversations] = {}
        self.now = 0.0
        for name in self.names:
            self.start(name)

    def start(self, name: str, incarnation: int = 1, state: Mapping[str, Any] | None = None) -> None:
        side = exchange(self.settings, self.models[name], name, self.names, incarnation)
        if state is not None:
            side.load_state_dict(state)
        others = sorted(ring(self.names)[name].all_neighbours)
        neighbours = PeerConversations(self.transports[name], name, others)
        self.sides[name], self.neighbours[name] = side, neighbours
        for other in others:
            neighbours.peer_joined(other, 1, self.now)
        neighbours.add(side.machine, self.now)

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until:
            self.now += 0.05
            for name in list(self.sides):
                self.neighbours[name].tick(self.now)
                self.sides[name].observed(at(self.now))
            for _ in range(20):
                sends = [(name, send) for name in self.sides for send in self.neighbours[name].outgoing()]
                if not sends:
                    break
                for name, send in sends:
                    message, arrays = decode([bytes(part) for part in encode(send.message, send.arrays)])
                    if send.dst in self.sides:
                        self.neighbours[send.dst].receive(name, message, arrays, self.now)

    def sum(self) -> np.ndarray:
        return np.asarray(np.sum([model.statistics() for model in self.models.values()], axis=0))

    def close(self) -> None:
        for transport in self.transports.values():
            transport.close(0)


@pytest.mark.parametrize("mode", ["ledger", "pushsum", "mh"])
@pytest.mark.parametrize("count", [2, 5])
def test_agents_hear_the_sum_over_all(mode: str, count: int) -> None:
    world = InProcess(count, StatisticsSettings(mode=mode, min_transitions=100, every="50ms"))  # type: ignore[arg-type]
    try:
        world.run(0.5)
        assert not any(side.machine.total().vector.any() for side in world.sides.values()), "no agent has data"
        for model in world.models.values():
            model.see(99)
        world.run(0.5)
        assert not any(side.metrics()["statistics.published"] for side in world.sides.values()), "too little that is new"
        for model in world.models.values():
            model.see(101)
        world.run(10.0)
        for name, side in world.sides.items():
            total = side.machine.total()
            used, complete = world.models[name].used[-1]
            assert complete and np.allclose(used, total.vector, rtol=0 if mode == "ledger" else 1e-6), "each rests on the newest sum"
            assert total.complete and total.origins == count and total.staleness == 0
            assert np.allclose(total.vector, world.sum(), atol=1e-12 if mode == "ledger" else 1e-3)
            assert side.metrics()["statistics.published"] == 1 and side.metrics()["statistics.unpublished"] == 0
        world.models["agent-0"].see(150)
        world.run(10.0)
        last = world.sides[f"agent-{count - 1}"].machine.total()
        assert last.complete and np.allclose(world.models[f"agent-{count - 1}"].used[-1][0], last.vector, rtol=1e-6)
        assert np.allclose(last.vector, world.sum(), atol=1e-12 if mode == "ledger" else 1e-3)
        if mode == "ledger":
            assert len({side.machine.total().vector.tobytes() for side in world.sides.values()}) == 1
            metrics = side.metrics()
            assert metrics["statistics.entries_taken"] == count and metrics["statistics.bytes_taken"] == 8 * SIZE * count
    finally:
        world.close()


def test_what_rounds_have_brought_is_handed_on_once() -> None:
    world = InProcess(3, StatisticsSettings(mode="mh", min_transitions=100, every="50ms", report_every=4, rounds=20, tolerance=1e-300))
    try:
        for model in world.models.values():
            model.see(100)
        world.run(3.0)
        for side in world.sides.values():
            # Three in a ring have the mean after one round; then nothing but rounding is left, and they agree to the last bit or go on.
            told = side.mixed()
            assert [mixed.round for mixed in told] == list(range(4, 4 * len(told) + 1, 4)) and told
            assert all(mixed.sketch.shape == (2, 32) for mixed in told) and side.mixed() == []
    finally:
        world.close()


@pytest.mark.parametrize("remembers", ["nothing", "an old checkpoint"])
def test_a_restarted_agent_goes_on_from_what_it_has_published(remembers: str) -> None:
    world = InProcess(3, StatisticsSettings(min_transitions=100, every="50ms"))
    try:
        for model in world.models.values():
            model.see(100)
        world.run(1.0)
        state, sums, seen = (
            world.sides["agent-1"].state_dict(),
            world.models["agent-1"].statistics(),
            world.models["agent-1"].transitions,
        )
        world.models["agent-1"].see(200)
        world.run(1.0)
        before = world.sum()
        del world.sides["agent-1"]
        world.run(1.0)
        reborn = CountingModel(77)
        if remembers == "an old checkpoint":
            reborn._sums, reborn.transitions = sums, seen
        world.models["agent-1"] = reborn
        world.start("agent-1", 2, state if remembers == "an old checkpoint" else None)
        for other in ("agent-0", "agent-2"):
            world.neighbours[other].peer_joined("agent-1", 2, world.now)
        world.run(1.0)
        assert np.allclose(world.sides["agent-1"].own(), before - sum(world.models[f"agent-{i}"].statistics() for i in (0, 2)))
        for side in world.sides.values():
            assert np.allclose(side.machine.total().vector, before), "nothing that was published is lost"
        count, told = reborn.statistics(), world.sides["agent-1"].metrics()["statistics.published"]
        reborn.see(99)
        world.run(1.0)
        assert world.sides["agent-1"].metrics()["statistics.published"] == told, "99 more than published before are too few"
        reborn.see(21)
        world.run(1.0)
        for side in world.sides.values():
            assert np.allclose(side.machine.total().vector, before + reborn.statistics() - count)
    finally:
        world.close()


def test_a_state_of_another_model_is_refused() -> None:
    names = ["agent-0", "agent-1"]
    side = exchange(StatisticsSettings(), CountingModel(0), "agent-0", names)
    with pytest.raises(ValueError, match="no statistics of 6 numbers"):
        side.load_state_dict(tensors({"recovered": np.zeros(3)}))


# --- the simulated network ----------------------------------------------------------------------------------------------------------


class Agent(NodeScript):
    """Sees 50 transitions a second until `until`, and talks of them."""

    def __init__(
        self, name: str, names: Sequence[str], settings: StatisticsSettings, model: CountingModel, incarnation: int, until: float
    ) -> None:
        self.model, self.until = model, until
        self.side = exchange(settings, model, name, names, incarnation)
        self.conversations = (self.side.machine,)
        self._next = 0.0

    def takes(self) -> Mapping[type[Message], Take]:
        return dict.fromkeys(self.side.machine.message_types, self.side.machine.receive)

    def turn(self, now: float) -> None:
        if self._next <= now < self.until:
            self.model.see(5)
            self._next = now + 0.1
        self.side.observed(at(now))

    def wake(self) -> float:
        return self._next if self._next < self.until else float("inf")


@pytest.mark.parametrize("mode", ["ledger", "pushsum"])
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2, 3))])
def test_crash_return_and_partition_on_bad_links(mode: str, seed: int) -> None:
    """Five agents on links that lose 30 %, repeat 10 % and take up to 200 ms, bytes on the wire; one dies for 5 s, and the ring is cut in
    two for 5 s. Once all is over, all hold the same sum over everything that was published."""
    names = [f"agent-{i}" for i in range(5)]
    settings = StatisticsSettings(mode=mode, min_transitions=50, every="100ms")  # type: ignore[arg-type]
    network = Network(wire=True)
    models = {name: CountingModel(10 * seed + i) for i, name in enumerate(names)}
    scripts: dict[str, Agent] = {}
    halves = {name: i < 3 for i, name in enumerate(names)}
    cut = [False]

    class Cuttable(DrawnLinks):
        def link_outcome(self, dst: str, *rest: Any) -> Any:
            outcome = super().link_outcome(dst, *rest)
            return outcome._replace(copies=()) if cut[0] and halves[dst] != halves[self._src] else outcome

    def start(name: str, incarnation: int) -> None:
        scripts[name] = Agent(name, names, settings, models[name], incarnation, 25.0)
        network.add(name, scripts[name], Cuttable(seed, name, (0.001, 0.2), 0.3, 0.1))

    for name in names:
        start(name, 1)
    network.run(6.0)
    dead, lost = "agent-3", models["agent-3"]
    network.kill(dead)
    network.run(7.0)
    machines = [scripts[other].side.machine for other in names if other != dead]
    held = [machine.entry(dead) for machine in machines if isinstance(machine, Ledger)]
    told = max((entry.payload[-1] for entry in held if entry is not None), default=0.0)
    for other in ("agent-2", "agent-4"):
        network.report_dead(network.nodes[other], dead)
    network.run(11.0)
    models[dead] = CountingModel(500 + seed)
    start(dead, 2)
    for other in ("agent-2", "agent-4"):
        network.report_alive(network.nodes[other], dead)
        network.report_alive(network.nodes[dead], other)
    network.run(14.0)
    cut[0] = True
    network.run(19.0)
    cut[0] = False
    network.run(60.0, most=400_000)
    sides = {name: script.side for name, script in scripts.items()}
    expected = np.sum([side.own() for side in sides.values()], axis=0)
    for name, side in sides.items():
        assert side.machine.total().complete and side.machine.total().origins == 5, (name, side.machine.total())
        assert np.allclose(side.machine.total().vector, expected, atol=1e-9 if mode == "ledger" else 1e-2)
    if mode == "ledger":
        assert len({side.machine.total().vector.tobytes() for side in sides.values()}) == 1
        assert sides[dead].own()[-1] == models[dead].transitions + told and 0 < told <= lost.transitions
    else:
        assert len({side.machine.epoch for side in sides.values()}) == 1 and sides[dead].machine.epoch >= 1  # type: ignore[attr-defined]


def test_roster_entries_reach_the_machine() -> None:
    """A neighbour that the roster calls dead is asked nothing any more, until it calls it alive."""
    world = InProcess(2, StatisticsSettings(min_transitions=1, every="50ms"))
    try:
        entry = RosterEntry(name="agent-1", role="agent", state="alive", endpoint="ipc://nowhere", inc=1)
        neighbours = world.neighbours["agent-0"]
        neighbours.follow({"agent-1": entry}, world.now)
        world.models["agent-0"].see(5)
        neighbours.follow({"agent-1": RosterEntry(name="agent-1", role="agent", state="dead", inc=1)}, world.now)
        world.run(1.0)
        assert not world.sides["agent-1"].machine.total().vector.any()
        neighbours.peer_joined("agent-1", 1, world.now)
        world.run(1.0)
        assert np.allclose(world.sides["agent-1"].machine.total().vector, world.sum())
    finally:
        world.close()
