"""Sums over agents by synchronous averaging: rates, exactness, and when all stop."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, cos, log, pi
from typing import Any

import numpy as np
import pytest

from protocols.averaging.averager import FixedNeighbourhood
from protocols.averaging.projection_sketch import disagreement
from protocols.statistics.averaged_statistics import AveragedStatistics
from protocols.statistics.statistics_consensus import MixingRoundClosed
from protocols.topology import TopologySettings, build
from protocols.wire.codec import decode, encode
from tests.protocols.mixing_matrices import metropolis_weights
from tests.protocols.statistics.statistics_worlds import SIZE, graph_of, vectors

TABLE = {
    "ring": {4: (0.333, 13), 5: (0.539, 22), 8: (0.805, 64), 16: (0.949, 265), 32: (0.987, 1072), 64: (0.997, 4297)},
    "path": {4: (0.805, 64), 5: (0.873, 101), 8: (0.949, 265), 16: (0.987, 1072), 32: (0.997, 4297), 64: (0.9992, 17197)},
    "star": {4: (0.750, 48), 5: (0.800, 62), 8: (0.875, 103), 16: (0.938, 214), 32: (0.969, 435), 64: (0.984, 877)},
}
EXACT: dict[str, Callable[[int], float]] = {
    "ring": lambda n: max(abs(1 / 3 + 2 / 3 * cos(2 * pi * k / n)) for k in range(1, n)),
    "path": lambda n: 1 / 3 + 2 / 3 * cos(pi / n),
    "star": lambda n: 1 - 1 / n,
}


def slem(kind: str, n: int) -> float:
    """Second largest modulus of the eigenvalues of W."""
    weights = metropolis_weights(build(TopologySettings(kind=kind), [f"agent-{i}" for i in range(n)]))
    return float(np.sort(np.abs(np.linalg.eigvalsh(weights)))[-2])


@pytest.mark.parametrize("kind", TABLE)
def test_the_table_of_rates(kind: str) -> None:
    for n, (printed, rounds) in TABLE[kind].items():
        rho = slem(kind, n)
        assert rho == pytest.approx(EXACT[kind](n), abs=1e-9)
        assert rho == pytest.approx(printed, abs=5.1e-4), "as many digits as the table prints"
        assert abs(ceil(log(1e-6) / log(rho)) - rounds) <= 1


class Lockstep:
    """Agents that average in step: one round a second."""

    def __init__(self, kind: str, n: int, seed: int = 0, **more: Any) -> None:
        graph = graph_of(kind, n)
        self.names = sorted(graph)
        self.s = vectors(self.names, seed)
        self.sum = np.sum(list(self.s.values()), axis=0)
        self.agents = {
            name: AveragedStatistics(name, self.names, FixedNeighbourhood(graph[name]), "basis", SIZE, 1.0, 10.0, **more)
            for name in self.names
        }
        self.now = 0.0
        self.lost: set[tuple[str, str]] = set()
        for name, agent in self.agents.items():
            agent.publish(self.s[name], 1, 0.0)
        self._carry()

    def round(self) -> None:
        self.now += 1.0
        for agent in self.agents.values():
            agent.tick(self.now)
        self._carry()

    def error(self, name: str) -> float:
        """Largest error of N x for the true N, as long as N is not known yet."""
        agent = self.agents[name]
        return float(np.abs(len(self.names) * agent._x[:SIZE] - self.sum).max())

    def errors(self) -> float:
        return max(map(self.error, self.names))

    def _carry(self) -> None:
        while sends := [(name, send) for name, agent in self.agents.items() for send in agent.outgoing()]:
            for name, send in sends:
                if (name, send.dst) not in self.lost:
                    message, arrays = decode([bytes(part) for part in encode(send.message, send.arrays)])
                    self.agents[send.dst].receive(name, message, arrays, self.now)


@pytest.mark.parametrize("kind", ["ring", "path", "star"])
def test_errors_fall_as_the_second_eigenvalue_says(kind: str) -> None:
    world = Lockstep(kind, 8, tolerance=1e-15, most=400)
    curve = []
    for _ in range(100):
        curve.append(world.errors())
        world.round()
    slope = np.polyfit(np.arange(40, 100), np.log(curve[40:100]), 1)[0]
    assert slope == pytest.approx(log(slem(kind, 8)), rel=0.02)


def sketches(world: Lockstep) -> dict[int, np.ndarray]:
    """Of each round that all have reported since the last call: `[n, 2, s]`."""
    told: dict[int, list[np.ndarray]] = {}
    for agent in world.agents.values():
        for event in agent.events():
            if isinstance(event, MixingRoundClosed):
                told.setdefault(event.round, []).append(event.sketch)
    assert all(len(found) == len(world.names) for found in told.values()), "all report the same rounds"
    return {number: np.array(told[number]) for number in sorted(told)}


@pytest.mark.parametrize("kind", ["ring", "path", "star"])
def test_sketches_show_how_far_all_are_from_the_total(kind: str) -> None:
    world = Lockstep(kind, 5, tolerance=1e-300, most=90, report=1)
    exact = []
    for _ in range(90):
        exact.append(disagreement(np.array([agent._x[:SIZE] for agent in world.agents.values()])))
        world.round()
    told = sketches(world)
    assert list(told) == list(range(1, 91))
    shown = [disagreement(found[:, 1]) for found in told.values()]
    # 32 projections of differences that lie in four dimensions at most: lengths to a quarter, and the same directions in every round.
    assert np.allclose(np.log(shown[:50]), np.log(exact[:50]), atol=0.5)
    slope = np.polyfit(np.arange(20, 40), np.log(shown[20:40]), 1)[0]
    assert slope == pytest.approx(log(slem(kind, 5)), rel=0.02)
    for before, after in zip(list(told.values())[1:], told.values(), strict=False):
        assert np.array_equal(before[:, 0], after[:, 1]), "a round begins where the last one ended"
    means = np.array([found[:, 1].mean(axis=0) for found in told.values()])
    assert np.allclose(means, means[0], atol=1e-12), "their mean is that of the total, in every round"


def test_rounds_that_are_told_of_are_counted_on_from_session_to_session() -> None:
    world = Lockstep("ring", 5, tolerance=1e-300, most=25, report=10)
    for _ in range(30):
        world.round()
    assert list(sketches(world)) == [10, 20]
    for name, agent in world.agents.items():
        agent.publish(2 * world.s[name], 2, world.now)
    for _ in range(30):
        world.round()
    second = sketches(world)
    assert list(second) == [35, 45]
    silent = Lockstep("ring", 5, most=25)
    for _ in range(30):
        silent.round()
    assert sketches(silent) == {}


def test_the_hub_of_a_star_is_exact_after_one_round_and_its_leaves_are_not() -> None:
    world = Lockstep("star", 5)
    assert world.error("agent-00") < 1e-12
    assert min(world.error(name) for name in world.names[1:]) > 1e-2


def test_four_in_a_ring_are_exact_to_the_promised_digits() -> None:
    world = Lockstep("ring", 4, tolerance=1e-15, most=400)
    assert all(weight == pytest.approx(1 / 3) for row in graph_of("ring", 4).values() for weight in row.values())
    bounds = {8: 1e-3, 16: 1e-6, 24: 1e-10}
    for k in range(1, 25):
        if k in bounds:
            assert world.errors() / 4 < bounds[k], k
        world.round()


@pytest.mark.parametrize("kind", ["ring", "star", "path"])
def test_all_stop_in_the_same_round_once_they_agree_and_not_before(kind: str) -> None:
    world = Lockstep(kind, 8, tolerance=1e-6)
    complete = dict.fromkeys(world.names, 0)
    rounds = 1
    while not all(complete.values()):
        for name, agent in world.agents.items():
            total = agent.total()
            if total.complete and not complete[name]:
                complete[name] = rounds
                assert np.abs(total.vector - world.sum).max() < 1e-4 and total.origins == 8 and total.staleness == 0
        world.round()
        rounds += 1
        assert rounds < 600
    assert len(set(complete.values())) == 1, "all compare the same numbers"
    rate = log(slem(kind, 8))  # sums are N times as far apart as means; what was checked was so 7 rounds before, and is checked every 7
    assert 0.7 * log(1e-6) / rate < complete["agent-00"] < log(1e-6 / (8 * 4)) / rate + 2 * 7
    before = {name: agent.total().vector for name, agent in world.agents.items()}
    for _ in range(5):
        world.round()
    assert all(agent.rounds == 0 for agent in world.agents.values()), "then there is quiet"
    world.agents["agent-03"].publish(2 * world.s["agent-03"], 2, world.now)
    world._carry()
    assert not any(agent.total().complete for agent in world.agents.values()), "one publishes, and takes all others along"
    for _ in range(600):
        world.round()
    total = world.agents["agent-07"].total()
    assert total.complete and np.abs(total.vector - before["agent-07"] - world.s["agent-03"]).max() < 1e-3


def test_a_session_that_misses_a_vector_is_never_said_to_be_complete() -> None:
    world = Lockstep("ring", 5, most=60)
    world.lost = {("agent-01", "agent-02")}
    world.round()
    world.lost = set()
    for _ in range(800):
        world.round()
        assert not any(agent.total().complete for agent in world.agents.values())
        if all(agent.rounds == 0 for agent in world.agents.values()):
            break
    assert all(agent.counters["sessions.given_up"] == 1 for agent in world.agents.values())
    assert sum(agent.counters["sessions.broken"] for agent in world.agents.values()) >= 1
    for name, agent in world.agents.items():
        agent.publish(world.s[name], 2, world.now)
    for _ in range(200):
        world.round()
    assert all(agent.total().complete for agent in world.agents.values()), "the next one is whole"
    assert world.errors() < 1e-4
