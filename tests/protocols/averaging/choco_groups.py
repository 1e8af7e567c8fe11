"""Agents that average with compression: on a network, or with a bag of messages that a test deals out."""

from __future__ import annotations

from typing import Any

import numpy as np

from protocols.averaging.averager import FixedNeighbourhood
from protocols.averaging.choco import ChocoAveraging
from protocols.averaging.compressors import Compressor, TopK
from protocols.averaging.projection_sketch import disagreement
from protocols.conversations.conversation import Send
from protocols.topology import TopologySettings, edges
from tests.protocols.mixing_matrices import mixing_weights
from tests.protocols.network import Link, Network

LAYOUT = "layout"


def weights_of(kind: str, names: list[str]) -> dict[str, dict[str, float]]:
    matrix = mixing_weights(names, edges(TopologySettings(kind=kind), names))  # type: ignore[arg-type]
    return {a: {b: float(matrix[i, j]) for j, b in enumerate(names) if i != j and matrix[i, j] > 0} for i, a in enumerate(names)}


def machine(weights: dict[str, float], size: int, compressor: Compressor | None = None, **options: Any) -> ChocoAveraging:
    return ChocoAveraging(FixedNeighbourhood(weights), LAYOUT, size, compressor or TopK(0.1), **options)


class Group:
    """Agents on a network that begin the next round when the last is closed."""

    def __init__(self, machines: dict[str, Any], size: int, rounds: int, link: Link = Link((0.001, 0.002)), seed: int = 0) -> None:
        random = np.random.default_rng(seed)
        self.rounds = rounds
        self.x = {name: random.normal(size=size) for name in machines}
        self.start = self.now
        self.deltas: dict[tuple[str, int], np.ndarray] = {}
        self.history: list[float] = []
        self.network = Network(machines, link, random)
        self.network.on_event = self._averaged
        self.resume(0)

    @property
    def now(self) -> np.ndarray:
        return np.array(list(self.x.values()))

    def resume(self, number: int) -> None:
        for name, node in self.network.nodes.items():
            node.begin(number, self.x[name], self.network.now)

    def _averaged(self, name: str, event: Any) -> None:
        self.x[name] = self.x[name] + event.delta
        self.deltas[name, event.round] = event.delta
        if event.round + 1 < self.rounds:
            self.network.nodes[name].begin(event.round + 1, self.x[name], self.network.now)


def choco_group(kind: str, compressor: Compressor, rounds: int, agents: int = 8, size: int = 256, **options: Any) -> Group:
    names = [f"agent-{i}" for i in range(agents)]
    machines = {name: machine(weights, size, compressor, **options) for name, weights in weights_of(kind, names).items()}
    group = Group(machines, size, rounds)
    group.network.run(until=60.0)
    return group


def relative(group: Group) -> float:
    return disagreement(group.now) / disagreement(group.start)


# --- copies under fire ------------------------------------------------------------------------------------------------------------


class Bag:
    """Messages on their way between three agents; a test decides which arrives, is lost, or comes twice. Time moves only by `wait`."""

    def __init__(self, size: int = 12) -> None:
        names = ["a", "b", "c"]
        self.nodes = {name: machine(weights, size, TopK(0.25), deadline=1.0) for name, weights in weights_of("complete", names).items()}
        self.x = {name: np.random.default_rng(i).normal(size=size) for i, name in enumerate(names)}
        self.flying: list[tuple[str, Send]] = []
        self.now = 0.0

    def begin(self, name: str) -> None:
        node = self.nodes[name]
        if not node.open:
            node.begin(max(node.newest_round, node.round + 1), self.x[name], self.now)
        self.collect()

    def collect(self) -> None:
        for name, node in self.nodes.items():
            self.flying += [(name, send) for send in node.outgoing()]
            for event in node.events():
                self.x[name] = self.x[name] + event.delta

    def arrive(self, index: int, keep: bool = False) -> None:
        if self.flying:
            src, send = self.flying[index % len(self.flying)] if keep else self.flying.pop(index % len(self.flying))
            self.nodes[send.dst].receive(src, send.message, send.arrays, self.now)
            self.collect()

    def lose(self, index: int) -> None:
        if self.flying:
            self.flying.pop(index % len(self.flying))

    def wait(self, seconds: float) -> None:
        self.now += seconds
        for node in self.nodes.values():
            if self.now >= node.wake():
                node.tick(self.now)
        self.collect()

    def quiet(self) -> None:
        """All messages arrive, and no node begins a round, until nothing is pending."""
        for _ in range(200):
            while self.flying:
                self.arrive(0)
            if min(node.wake() for node in self.nodes.values()) == np.inf:
                return
            self.wait(0.3)
        raise AssertionError("it never became quiet")

    def check(self) -> None:
        for name, node in self.nodes.items():
            for peer in set(self.nodes) - {name}:
                copy = self.nodes[peer]._copies[name]
                assert (copy.change, copy.digest) == node.shown and (copy.vector == node._shown).all(), f"{peer}'s copy of {name}"


class Recording(ChocoAveraging):
    def __init__(self, name: str, shown: dict[tuple[str, int], np.ndarray], *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._record = lambda number, vector: shown.__setitem__((name, number), vector)

    def _publish(self, own: Any, neighbours: Any) -> Any:
        vector = super()._publish(own, neighbours)
        self._record(self.round, vector)
        return vector


def pair(size: int = 8, **options: Any) -> Bag:
    bag = Bag(size)
    bag.nodes = {"a": machine({"b": 0.5}, size, TopK(0.5), **options), "b": machine({"a": 0.5}, size, TopK(0.5), **options)}
    bag.x = {name: bag.x[name] for name in "ab"}
    return bag


def play(bag: Bag, rounds: int) -> None:
    for _ in range(rounds):
        for name in bag.nodes:
            bag.begin(name)
        while bag.flying:
            bag.arrive(0)
