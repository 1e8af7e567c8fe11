"""Populations in virtual time: rates as predicted, equal for equal seeds, exact under loss with push-sum, and what they report."""

from __future__ import annotations

from math import log
from typing import Any

import numpy as np
import pytest

from protocols.averaging.averager import Averager
from protocols.averaging.push_sum import PushSum
from protocols.averaging.synchronous_gossip import SynchronousAveraging
from protocols.simulation.simulated_averaging import Population
from protocols.simulation.simulated_network import Network, PerfectLinks
from protocols.topology import TopologySettings
from protocols.topology.communication_graph import Graph, make_graph
from protocols.topology.settings import RandomRegularSettings
from tests.protocols.simulation.drawn_links import DrawnLinks

SIZE = 4


def names(count: int) -> list[str]:
    return [f"agent-{i}" for i in range(count)]


def population(graph: Graph, mode: type[Any], seed: int = 0, links: Any = None, wire: bool = False) -> Population:
    network = Network(wire=wire)
    machines: dict[str, Averager] = {name: mode(graph.neighbourhood(name), "layout", SIZE) for name in graph.agents}
    x = np.random.default_rng(seed).normal(size=(len(machines), SIZE))
    made = Population(network, machines, x)
    for row, name in enumerate(graph.agents):
        network.add(name, made.script(name, row), links(name) if links else PerfectLinks(0.01))
    return made


def agree(made: Population, tolerance: float = 1e-6, most: float = 200_000) -> Population:
    assert made.network.run(1000.0, most=most, done=lambda: made.agreed(tolerance))
    assert made.curve[-1].disagreement <= tolerance
    return made


@pytest.mark.parametrize("mode", [SynchronousAveraging, PushSum])
def test_a_regular_graph_agrees_at_its_rate(mode: type[Any]) -> None:
    """On a ring of 12 the contraction is 1 - 2/3 (1 - cos 30 deg) = 0.9107: 148 rounds, and one for each 10 ms."""
    made = agree(population(make_graph(TopologySettings(kind="ring"), names(12)), mode))
    rho = 1 - 2 / 3 * (1 - np.cos(2 * np.pi / 12))
    last = made.curve[-1]
    assert 0.85 * log(1e-6) / log(rho) < last.rounds <= log(1e-6) / log(rho) + 1
    assert last.time == pytest.approx(last.rounds * 0.01, abs=0.02)
    tail = [point.disagreement for point in made.curve][-20:]
    assert (tail[-1] / tail[0]) ** (1 / 19) == pytest.approx(rho, abs=2e-3)
    assert last.error < 1e-7 and made.missing == 0


def test_one_seed_is_one_simulation() -> None:
    graph = make_graph(RandomRegularSettings(degree=3), names(20), 4)

    def one(seed: int) -> Population:
        return agree(population(graph, PushSum, seed, lambda name: DrawnLinks(seed, name, loss=0.2, duplicate=0.1)))

    first, second, other = one(1), one(1), one(2)
    assert first.curve == second.curve and np.array_equal(first.x, second.x)
    assert first.network.counters == second.network.counters and first.network.bytes == second.network.bytes
    assert other.curve != first.curve


def test_by_reference_and_over_the_codec_the_same_happens() -> None:
    graph = make_graph(TopologySettings(kind="ring"), names(6))
    ways = [agree(population(graph, PushSum, 1, lambda name: DrawnLinks(1, name, loss=0.2), wire)) for wire in (False, True)]
    assert np.array_equal(ways[0].x, ways[1].x) and ways[0].curve == ways[1].curve


@pytest.mark.parametrize("seed", range(3))
def test_push_sum_keeps_mean_and_mass_under_loss_and_gossip_does_not(seed: int) -> None:
    graph = make_graph(TopologySettings(kind="ring"), names(8))

    def bad(name: str) -> DrawnLinks:
        return DrawnLinks(seed, name, loss=0.3, duplicate=0.1)

    exact = population(graph, PushSum, seed, bad)
    for moment in np.arange(0.1, 5.0, 0.1):
        exact.network.run(float(moment))
        assert exact.mass_error(graph.all_neighbours) < 1e-12
    agree(exact)
    assert exact.curve[-1].error < 1e-6
    biased = agree(population(graph, SynchronousAveraging, seed, bad))
    assert biased.curve[-1].error > 1e-4
    assert biased.mass_error(graph.all_neighbours) == biased.point().error


def test_a_directed_changing_graph_of_a_power_of_two_is_exact_after_its_period() -> None:
    made = agree(population(make_graph(TopologySettings(kind="one_peer_exponential"), names(16)), PushSum), 1e-12)
    assert made.curve[-1].rounds == 4.0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ten_thousand_agents_agree() -> None:
    """On a random regular graph of degree 4; `benchmarks/simulation.py` measures the speed."""
    made = agree(population(make_graph(RandomRegularSettings(degree=4), names(10_000)), PushSum), most=10_000_000)
    assert made.curve[-1].error < 1e-6 and made.curve[-1].rounds < 125
