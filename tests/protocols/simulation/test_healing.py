"""Safety while everything goes wrong, then liveness: once a connected core of agents is left in peace, it agrees and plays on."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import networkx as nx
import numpy as np
import pytest

from protocols.averaging.averager import FixedNeighbourhood
from protocols.averaging.push_sum import PushSum
from protocols.simulation.simulated_episodes import EpisodeDirector, PeerScript
from protocols.simulation.simulated_faults import SimulatedMembership
from protocols.simulation.simulated_network import Network
from tests.protocols.simulation.drawn_links import DrawnLinks

FAULTY_EVENTS = 5000
EPISODES_AFTER = 100
SIZE = 3


@dataclass
class Healing:
    """Time after which links are good; unknown until the faults are over."""

    at: float = float("inf")


class HealingLinks(DrawnLinks):
    """Bad links until they are healed."""

    def __init__(self, seed: int, src: str, healing: Healing, delay: tuple[float, float], loss: float) -> None:
        super().__init__(seed, src, delay, loss, duplicate=0.15, corrupt=0.02)
        self._healing = healing

    def link_outcome(self, *message: object) -> object:  # type: ignore[override]
        self._until = self._healing.at
        return super().link_outcome(*message)  # type: ignore[arg-type]


class World:
    """Agents in a random graph that average and play in pairs; they die at random moments, some are found out at once, and return."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.count = self.random.randint(5, 9)
        self.graph = nx.connected_watts_strogatz_graph(self.count, 4, 0.3, seed=seed)
        self.names = [f"agent-{i}" for i in range(self.count)]
        self.neighbours = {self.names[i]: [self.names[j] for j in sorted(self.graph[i])] for i in range(self.count)}
        self.healing = Healing()
        self.seed, self.loss = seed, self.random.uniform(0.05, 0.3)
        self.delay = (0.001, self.random.choice([0.02, 0.1, 0.3]))
        self.network = Network(wire=seed % 4 == 0)
        self.x = np.random.default_rng(seed).normal(size=(self.count, SIZE))
        pairs = [(self.names[i], self.names[j]) for i, j in self.graph.edges]
        self.director = EpisodeDirector(self.network, pairs, lambda: self.random.uniform(0.0, 0.2))
        self.watch = SimulatedMembership(self.network, self.neighbours.__getitem__, lambda: self.random.uniform(0.0, 0.5))
        self.watch.died = self.director.died
        self.deaths = 0
        for name in self.names:
            self.start(name)
        self.director.begin()

    def start(self, name: str) -> None:
        """An incarnation begins; all but the first take their model from the neighbours."""
        former = self.network.nodes.get(name)
        life = former.incarnation + 1 if former else 1
        neighbourhood = FixedNeighbourhood(dict.fromkeys(self.neighbours[name], 0.1))
        machine = PushSum(neighbourhood, "layout", SIZE, 2.0, incarnation=life, rejoin=life > 1)
        random = np.random.default_rng([self.seed, len(self.director.done), life])
        script = PeerScript(name, machine, self.x[self.names.index(name)], 0.05, None, random, self.director)
        self.network.add(name, script, HealingLinks(self.seed, name, self.healing, self.delay, self.loss))  # type: ignore[arg-type]
        self.watch.started(name)

    def trouble(self) -> None:
        """A node dies, or one that is declared dead returns."""
        network, living = self.network, [name for name in self.names if self.network.nodes[name].alive]
        name = self.random.choice(self.names)
        if name in living and len(living) > 3:
            network.kill(name)
            self.deaths += 1
            if self.random.random() < 0.5:
                self.watch.ended(name)
        elif name not in living and not self.watch.membership[name].state.living:
            self.start(name)
        self.director.begin()

    def rage(self) -> None:
        """Until so many messages were taken."""
        while self.network.events < FAULTY_EVENTS:
            until = self.network.now + self.random.expovariate(1.0)
            assert self.network.run(until, most=100_000), "a node sends without end"
            self.trouble()
            self.check_safety()

    def heal(self) -> list[str]:
        """No more faults; those outside of the core are and remain dead. Returns the core."""
        self.healing.at = self.network.now
        living = [i for i, name in enumerate(self.names) if self.network.nodes[name].alive]
        core = max(nx.connected_components(self.graph.subgraph(living)), key=len)
        if len(core) < 2:
            dead = next(name for name in self.names if not self.network.nodes[name].alive)
            self.network.run(self.network.now + 15.0)
            self.start(dead)
            return self.heal()
        for i in living:
            if i not in core:
                self.network.kill(self.names[i])
        return [self.names[i] for i in sorted(core)]

    def check_safety(self) -> None:
        """Every member's view of an episode is correct."""
        for episode in self.director.done:
            said = {message for message in episode.agreed.values() if message >= 0}
            assert said <= {episode.message}, "a message that was never sent was agreed on"
            leader = episode.members[0]
            if episode.agreed[leader] >= 0:
                assert episode.negotiated, "the leader has an agreement that a follower does not have"
            for goals in episode.exchanged.values():
                for peer, goal in (goals or {}).items():
                    assert goal == self.director.goal(peer, episode.number), "a trace was not what its member sent"


def live(seed: int) -> World:
    """The simulation of one seed; raises `AssertionError` where a property is violated."""
    world = World(seed)
    world.rage()
    core = world.heal()
    network, director = world.network, world.director
    network.run(network.now + 20.0, most=200_000)  # the dead are found out
    director.begin(frozenset(core))
    before = len(director.done)
    rows = world.x[[world.names.index(name) for name in core]]

    def done() -> bool:
        rows = world.x[[world.names.index(name) for name in core]]
        return len(director.done) >= before + EPISODES_AFTER and float(np.abs(rows - rows.mean(axis=0)).max()) < 1e-6

    assert network.run(network.now + 600.0, most=1_000_000, done=done)
    assert done(), (seed, len(director.done) - before, np.abs(rows - rows.mean(axis=0)).max())
    world.check_safety()
    after = director.done[before:]
    assert all(episode.negotiated and episode.complete for episode in after), "an episode failed though nothing was wrong any more"
    masses = [network.nodes[name].script.machine.mass for name in core]  # type: ignore[attr-defined]
    assert min(masses) > 1e-3
    return world


@pytest.mark.parametrize("block", range(2))
def test_what_was_broken_heals(block: int) -> None:
    lost = deaths = failed = 0
    for seed in range(3 * block, 3 * block + 3):
        world = live(seed)
        lost, deaths = lost + world.director.lost, deaths + world.deaths
        failed += sum(not episode.negotiated for episode in world.director.done)
    assert deaths > 10 and lost > 3


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("block", range(10))
def test_what_was_broken_heals_in_many_worlds(block: int) -> None:
    for seed in range(20 * block + 10, 20 * block + 30):
        live(seed)
