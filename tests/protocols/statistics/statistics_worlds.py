"""Worlds of agents that sum statistics: graphs, vectors, and messages that are late, lost and overtake each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from protocols.averaging.averager import FixedNeighbourhood
from protocols.statistics.ledger import Ledger
from protocols.statistics.push_sum_statistics import PushSumStatistics
from protocols.statistics.statistics_consensus import StatisticsConsensus
from protocols.topology import TopologySettings, build
from tests.protocols.mixing_matrices import metropolis_weights, mixing_weights

SIZE = 12


def graph_of(kind: str, n: int) -> dict[str, dict[str, float]]:
    """Neighbours with their Metropolis-Hastings weights."""
    names = [f"agent-{i:02d}" for i in range(n)]
    if kind == "cycles":  # two random Hamiltonian cycles
        order = list(np.random.default_rng(5).permutation(n))
        pairs = {frozenset((names[i], names[(i + 1) % n])) for i in range(n)}
        pairs |= {frozenset((names[order[i]], names[order[(i + 1) % n]])) for i in range(n)}
        edges = [tuple(sorted(pair)) for pair in sorted(map(sorted, pairs))]
        weights = mixing_weights(names, edges)  # type: ignore[arg-type]
    else:
        weights = metropolis_weights(build(TopologySettings(kind=kind), names))
    return {a: {b: float(weights[i, j]) for j, b in enumerate(names) if i != j and weights[i, j] > 0} for i, a in enumerate(names)}


def vectors(names: list[str], seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {name: random.normal(size=SIZE) for name in names}


# --- asynchronous, with faults (T4) -----------------------------------------------------------------------------------------------


class Ticks:
    """Agents wake at random moments (probability 0.7 a tick); messages take 1 to 5 ticks, are lost, and overtake each other."""

    def __init__(self, agents: Mapping[str, StatisticsConsensus], seed: int, loss: float = 0.3, wake: float = 0.7) -> None:
        self.agents = dict(agents)
        self.now = 0
        self.loss, self.wake = loss, wake
        self.cut: Callable[[str, str], bool] = lambda src, dst: False
        self._random = np.random.default_rng([seed, 77])
        self._flying: list[tuple[int, str, str, Any, Any]] = []

    def tick(self) -> None:
        self.now += 1
        for name, agent in self.agents.items():
            if self._random.random() >= self.wake:
                continue
            here = [flight for flight in self._flying if flight[2] == name and flight[0] <= self.now]
            self._flying = [flight for flight in self._flying if flight[2] != name or flight[0] > self.now]
            for _, src, _, message, arrays in here:
                agent.receive(src, message, arrays, float(self.now))
            agent.tick(float(self.now))
            for send in agent.outgoing():
                if self._random.random() >= self.loss and not self.cut(name, send.dst):
                    arrival = self.now + int(self._random.integers(1, 6))
                    self._flying.append((arrival, name, send.dst, send.message, send.arrays))

    def until_complete(self, origins: int) -> None:
        """Let time pass until all have detected agreement."""
        for _ in range(100):
            for _ in range(10):
                self.tick()
            totals = [agent.total() for agent in self.agents.values()]
            if all(total.complete and total.origins == origins for total in totals):
                return
        raise AssertionError("they never agree")


def ledgers(graph: Mapping[str, Mapping[str, float]], seed: int, size: int = SIZE) -> dict[str, Ledger]:
    return {
        name: Ledger(name, sorted(graph), list(graph[name]), "basis", size, np.random.default_rng([seed, i]), every=1.0, idle=10.0)
        for i, name in enumerate(sorted(graph))
    }


def summed(graph: Mapping[str, Mapping[str, float]], seed: int, **more: Any) -> dict[str, PushSumStatistics]:
    return {
        name: PushSumStatistics(
            name, sorted(graph), FixedNeighbourhood(graph[name]), "basis", SIZE, np.random.default_rng([seed, i]), 1, 1.0, 1.0, **more
        )
        for i, name in enumerate(sorted(graph))
    }  # fmt: skip
