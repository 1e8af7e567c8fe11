from __future__ import annotations

import subprocess
import sys

import networkx as nx
import numpy as np
import pytest

from protocols.topology import TopologySettings, build, contraction, edges, metropolis_weights, mixing_weights

KINDS = {
    "ring": nx.cycle_graph,
    "complete": nx.complete_graph,
    "star": lambda n: nx.star_graph(n - 1),
    "path": nx.path_graph,
}


def names(n: int) -> list[str]:
    return [f"agent-{i}" for i in range(n)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [3, 4, 7, 16])
def test_graphs_are_those_of_their_names(kind: str, n: int) -> None:
    graph = nx.convert_node_labels_to_integers(build(TopologySettings(kind=kind), names(n)), ordering="default")  # type: ignore[arg-type]
    assert nx.utils.edges_equal(graph.edges, KINDS[kind](n).edges)


@pytest.mark.parametrize("kind", [*KINDS, "grid"])
def test_small_numbers_of_agents(kind: str) -> None:
    settings = TopologySettings(kind=kind)  # type: ignore[arg-type]
    assert edges(settings, names(1)) == []
    assert edges(settings, names(2)) == [("agent-0", "agent-1")]


def test_a_grid_is_as_square_as_the_number_allows() -> None:
    graph = nx.convert_node_labels_to_integers(build(TopologySettings(kind="grid"), names(12)))
    assert nx.is_isomorphic(graph, nx.grid_2d_graph(3, 4))
    assert nx.is_isomorphic(build(TopologySettings(kind="grid"), names(5)), nx.path_graph(5))


@pytest.mark.parametrize("n", [4, 8, 33, 64])
def test_spectral_gaps_have_their_closed_forms(n: int) -> None:
    def gap(kind: str) -> float:
        return 1 - contraction(metropolis_weights(build(TopologySettings(kind=kind), names(n))))  # type: ignore[arg-type]

    assert gap("complete") == pytest.approx(1.0, abs=1e-9)
    assert gap("ring") == pytest.approx((2 / 3) * (1 - np.cos(2 * np.pi / n)), abs=1e-9)
    assert gap("star") == pytest.approx(1 / n, abs=1e-9)


def test_weights_are_symmetric_and_doubly_stochastic_on_any_graph() -> None:
    for seed in range(20):
        graph = nx.gnp_random_graph(9, 0.4, seed=seed)
        weights = mixing_weights(list(graph.nodes), graph.edges)
        assert (weights >= 0).all() and np.allclose(weights, weights.T) and np.allclose(weights.sum(axis=1), 1)
        for i, j in graph.edges:
            assert weights[i, j] == pytest.approx(1 / (1 + max(graph.degree[i], graph.degree[j])))


def test_nodes_need_no_graph_library() -> None:
    code = "import sys, agent_node.warm, env_server.warm; sys.exit('networkx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
