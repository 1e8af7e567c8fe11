"""Synchronous averaging: rates against the spectral gap, rules one by one, and seeded networks with loss."""

from __future__ import annotations

from typing import Any

import networkx as nx
import numpy as np
import pytest

from protocols.averaging.averager import FixedNeighbourhood, RoundClosed
from protocols.averaging.averaging_messages import Average
from protocols.averaging.projection_sketch import disagreement
from protocols.averaging.synchronous_gossip import SynchronousAveraging
from protocols.conversations.stepping.stepping_messages import Join
from protocols.topology import TopologySettings, build
from protocols.topology.communication_graph import make_graph
from protocols.topology.mixing_rates import rates
from tests.protocols.mixing_matrices import metropolis_weights
from tests.protocols.network import Link, Network

LAYOUT = "layout"


def weights_of(graph: nx.Graph) -> dict[str, dict[str, float]]:
    matrix, nodes = metropolis_weights(graph), list(graph.nodes)
    return {a: {b: float(matrix[i, j]) for j, b in enumerate(nodes) if a != b and matrix[i, j] > 0} for i, a in enumerate(nodes)}


class Population:
    """Agents that begin their next round as soon as one is closed, until `rounds` are done; `history` holds all x after each round."""

    def __init__(self, graph: nx.Graph, size: int, rounds: int, link: Link, seed: int, deadline: float = 2.0) -> None:
        random = np.random.default_rng(seed)
        self.x = {name: random.normal(size=size) for name in graph.nodes}
        self.rounds = rounds
        self.given: dict[tuple[str, int], np.ndarray] = {}
        self.history = [np.array(list(self.x.values()))]
        self.after: dict[int, dict[str, np.ndarray]] = {}
        self.closed: dict[str, list[RoundClosed]] = {name: [] for name in graph.nodes}
        nodes = {
            name: SynchronousAveraging(FixedNeighbourhood(weights), LAYOUT, size, deadline) for name, weights in weights_of(graph).items()
        }
        self.network = Network(nodes, link, random)
        self.network.on_event = self._averaged
        for name in nodes:
            self.network.at(0.0, lambda n=name: self._begin(n, 0))

    def _begin(self, name: str, number: int) -> None:
        self.given[name, number] = self.x[name].astype(np.float32)
        self.network.nodes[name].begin(number, self.x[name], self.network.now)

    def _averaged(self, name: str, event: Any) -> None:
        self.x[name] = self.x[name] + event.delta
        self.closed[name].append(event)
        at_end = self.after.setdefault(event.round, {})
        at_end[name] = self.x[name]
        if len(at_end) == len(self.x):
            self.history.append(np.array([at_end[n] for n in self.x]))
        if event.round + 1 < self.rounds:
            self._begin(name, event.round + 1)


GRAPHS = {
    "ring": TopologySettings(kind="ring"),
    "complete": TopologySettings(kind="complete"),
    "star": TopologySettings(kind="star"),
    "path": TopologySettings(kind="path"),
    "grid": TopologySettings(kind="grid"),
}


@pytest.mark.parametrize("n", [4, 6, 9])
@pytest.mark.parametrize("kind", GRAPHS)
def test_disagreement_falls_by_the_factor_that_the_spectral_gap_predicts(kind: str, n: int) -> None:
    graph = build(GRAPHS[kind], [f"agent-{i}" for i in range(n)])
    rho = rates(make_graph(GRAPHS[kind], list(graph.nodes))).contraction
    population = Population(graph, 64, 60, Link((0.001, 0.002)), seed=n)
    population.network.run(until=10.0)
    assert all(len(closed) == 60 and not any(e.missing for e in closed) for closed in population.closed.values())
    spread = np.array([disagreement(x) for x in population.history])
    exact = spread > 1e-4 * spread[0]  # below it float32 on the wire shows
    factors = (spread[1:] / spread[:-1])[exact[1:]]
    assert (factors <= rho + 1e-3).all()
    if kind == "complete":
        assert rho < 1e-12 and spread[1] < 1e-6 * spread[0]
    else:
        assert factors[-1] == pytest.approx(rho, rel=0.1)
    drift = np.abs(population.history[-1].mean(axis=0) - population.history[0].mean(axis=0)).max()
    assert drift < 1e-12, "the mean is kept exactly: both ends subtract the same float32 numbers"


def test_a_ring_of_four_falls_to_a_third_every_round() -> None:
    graph = build(GRAPHS["ring"], [f"agent-{i}" for i in range(4)])
    population = Population(graph, 1000, 8, Link((0.001, 0.002)), seed=0)
    population.network.run(until=5.0)
    spread = np.array([disagreement(x) for x in population.history])
    assert spread[1:] / spread[:-1] == pytest.approx(np.full(8, 1 / 3), rel=2e-3)


@pytest.mark.parametrize("block", range(3))
def test_any_network(block: int) -> None:
    """Whatever is lost, every round closes once, in order, with exactly the contributions that it names."""
    missed = 0
    for seed in range(100 * block, 100 * block + 100):
        random = np.random.default_rng(seed)
        graph = build(GRAPHS[str(random.choice(list(GRAPHS)))], [f"agent-{i}" for i in range(int(random.integers(2, 6)))])
        weights = weights_of(graph)
        link = Link.draw(random)
        # Without loss the deadline leaves time for the slowest path through the graph: four links of up to 300 ms.
        deadline = 0.5 if link.loss else 2.0
        population = Population(graph, 8, 6, link, seed, deadline)
        population.network.run(until=6 * deadline + 0.1)
        for name, closed in population.closed.items():
            assert [event.round for event in closed] == list(range(6))
            for event in closed:
                assert sorted(event.used + event.missing) == sorted(weights[name])
                own = population.given[name, event.round].astype(np.float64)
                terms = [weights[name][peer] * (population.given[peer, event.round].astype(np.float64) - own) for peer in event.used]
                assert np.allclose(event.delta, np.sum(terms, axis=0) if terms else np.zeros(8), rtol=0, atol=1e-12)
                missed += len(event.missing)
                assert link.loss or not event.missing, "without loss no neighbour is missed"
        assert disagreement(population.history[-1]) < disagreement(population.history[0]) or graph.number_of_edges() == 0
    assert missed > 300


def node(**options: Any) -> SynchronousAveraging:
    return SynchronousAveraging(FixedNeighbourhood({"b": 0.25, "c": 0.5}), LAYOUT, 2, **options)


def vector(*values: float) -> dict[str, np.ndarray]:
    return {"vector": np.array(values, np.float32)}


def average(number: int, layout: str = LAYOUT) -> Average:
    return Average(round=number, layout=layout)


def test_delta_is_the_weighted_sum_of_differences() -> None:
    a = node()
    a.begin(0, np.array([1.0, 2.0]), 0.0)
    assert [(s.dst, s.message.round, s.arrays["vector"].tolist()) for s in a.outgoing()] == [("b", 0, [1, 2]), ("c", 0, [1, 2])]
    a.receive("b", average(0), vector(5, 2), 0.1)
    assert not a.events() and a.open
    a.receive("c", average(0), vector(1, 0), 0.1)
    (event,) = a.events()
    assert event.round == 0 and event.delta.tolist() == [1.0, -1.0] and event.used == ("b", "c") and event.missing == ()
    assert event.delta.dtype == np.float64 and not a.open


def test_the_deadline_closes_without_the_late() -> None:
    a = node(deadline=2.0)
    a.begin(0, np.zeros(2), 1.0)
    a.receive("b", average(0), vector(4, 0), 1.1)
    assert a.wake() == 3.0
    a.tick(2.99)
    assert not a.events()
    a.tick(3.0)
    (event,) = a.events()
    assert event.delta.tolist() == [1.0, 0.0] and event.used == ("b",) and event.missing == ("c",)
    a.receive("c", average(0), vector(4, 0), 3.1)
    a.tick(100.0)
    assert not a.events() and a.counters["old"] == 1


def test_vectors_of_rounds_to_come_are_kept() -> None:
    a = node()
    for peer in "bc":
        a.receive(peer, average(3), vector(1, 1), 0.0)
    assert a.newest_round == 3 and not a.events()
    a.begin(3, np.zeros(2), 0.1)
    assert a.events()[0].delta.tolist() == [0.75, 0.75]


def test_two_newest_vectors_are_kept_per_neighbour() -> None:
    a = node()
    for number in (5, 3, 7, 6):
        a.receive("b", average(number), vector(number, 0), 0.0)
    assert sorted(a._kept["b"]) == [6, 7] and a.counters["overflow"] == 2
    a.begin(7, np.zeros(2), 0.0)
    assert sorted(a._kept["b"]) == [7] and a.counters["old"] == 1


def test_nobody_waits_for_a_neighbour_that_is_two_rounds_ahead() -> None:
    a = node()
    a.begin(0, np.zeros(2), 0.0)
    a.receive("c", average(0), vector(2, 0), 0.1)
    a.receive("b", average(1), vector(9, 9), 0.1)
    assert a.open, "one round ahead may be reordering"
    a.receive("b", average(2), vector(9, 9), 0.1)
    (event,) = a.events()
    assert event.used == ("c",) and event.missing == ("b",) and a.newest_round == 2


def test_a_restarted_agent_jumps_to_the_newest_round() -> None:
    a = node()
    a.begin(2, np.zeros(2), 0.0)
    a.receive("b", average(40), vector(1, 1), 0.1)
    a.receive("c", average(41), vector(1, 1), 0.1)
    a.events()
    a.begin(a.newest_round, np.zeros(2), 0.2)
    a.receive("b", average(41), vector(1, 1), 0.3)
    assert a.events()[0].used == ("b", "c")


def test_beginning_closes_the_open_round() -> None:
    a = node()
    a.begin(0, np.zeros(2), 0.0)
    a.receive("b", average(0), vector(4, 0), 0.1)
    a.begin(1, np.ones(2), 0.2)
    (event,) = a.events()
    assert (event.round, event.used, event.delta.tolist()) == (0, ("b",), [1.0, 0.0])
    assert a.open and a.round == 1


def test_the_dead_contribute_nothing_and_are_sent_nothing() -> None:
    a = node()
    a.begin(0, np.zeros(2), 0.0)
    a.outgoing()
    a.receive("b", average(0), vector(4, 0), 0.1)
    a.peer_dead("c", 0.1)
    (event,) = a.events()
    assert event.delta.tolist() == [1.0, 0.0] and event.missing == ("c",)
    a.begin(1, np.zeros(2), 0.2)
    assert [send.dst for send in a.outgoing()] == ["b"]
    a.peer_alive("c", 2, 0.3)
    a.begin(2, np.zeros(2), 0.4)
    assert [send.dst for send in a.outgoing()] == ["b", "c"]
    a.peer_dead("b", 0.5)
    a.peer_dead("c", 0.5)
    assert [(e.round, e.missing) for e in a.events()] == [(1, ("b", "c")), (2, ("b", "c"))]


def test_an_agent_without_neighbours_closes_at_once() -> None:
    alone = SynchronousAveraging(FixedNeighbourhood({}), LAYOUT, 2)
    alone.begin(0, np.ones(2), 0.0)
    (event,) = alone.events()
    assert event.delta.tolist() == [0.0, 0.0] and not alone.open


@pytest.mark.parametrize(
    ("src", "message", "arrays", "counter"),
    [
        ("b", average(0, "other"), vector(1, 1), "bad.E_FRAME"),
        ("b", average(0), vector(1, 1, 1), "bad.E_FRAME"),
        ("b", average(0), {}, "bad.E_FRAME"),
        ("b", average(0), {"vector": np.ones(2)}, "bad.E_FRAME"),
        ("b", average(0), {"vector": np.ones((1, 2), np.float32)}, "bad.E_FRAME"),
        ("b", average(0), vector(1, np.nan), "bad.E_NONFINITE"),
        ("b", average(0), vector(np.inf, 1), "bad.E_NONFINITE"),
        ("x", average(0), vector(1, 1), "bad.E_UNKNOWN_NODE"),
        ("b", Join(), {}, "bad.E_DECODE"),
        ("b", average(2**62), vector(1, 1), "bad.E_AHEAD"),
    ],
)
def test_what_breaks_a_rule_is_counted_and_dropped(src: str, message: Any, arrays: dict[str, np.ndarray], counter: str) -> None:
    a = node()
    a.begin(0, np.zeros(2), 0.0)
    a.receive(src, message, arrays, 0.1)
    assert a.counters == {counter: 1} and a.newest_round == -1
    a.tick(10.0)
    assert a.events()[0].used == ()


def test_what_the_agent_itself_may_not_do() -> None:
    a = node()
    with pytest.raises(ValueError, match="2 finite"):
        a.begin(0, np.zeros(3), 0.0)
    with pytest.raises(ValueError, match="2 finite"):
        a.begin(0, np.array([np.nan, 0]), 0.0)
    a.begin(1, np.zeros(2), 0.0)
    with pytest.raises(ValueError, match="begun already"):
        a.begin(1, np.zeros(2), 0.0)
    with pytest.raises(ValueError, match="sum to more"):
        SynchronousAveraging(FixedNeighbourhood({"b": 0.7, "c": 0.7}), LAYOUT, 2).begin(0, np.zeros(2), 0.0)


def test_what_is_sent_does_not_change_with_the_agent() -> None:
    a, x = node(), np.zeros(2, np.float32)
    a.begin(0, x, 0.0)
    x += 1.0
    assert a.outgoing()[0].arrays["vector"].tolist() == [0.0, 0.0]
