"""Who talks to whom: the communication graph from its settings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations, pairwise
from typing import TYPE_CHECKING, Literal

from protocols.settings import NodeName, Settings

if TYPE_CHECKING:  # loaded where they are used: a configuration is read without them
    import networkx as nx
    import numpy as np
    from numpy.typing import NDArray


class TopologySettings(Settings):
    """The communication graph of the agents."""

    kind: Literal["ring", "complete", "star", "path", "grid", "edges"] = "ring"
    """ring; complete; star (agent-0 in the middle); path; grid (two-dimensional, as square as the number allows); edges (own list)"""
    edges: list[tuple[NodeName, NodeName]] = []
    """for kind edges: pairs of agents"""

    def unknown_nodes(self, agents: list[str]) -> list[str]:
        """Nodes in `edges` that no agent is named after, sorted."""
        return sorted({node for edge in self.edges for node in edge} - set(agents))


Edge = tuple[str, str]


def edges(settings: TopologySettings, agents: list[str]) -> list[Edge]:
    """Undirected edges over `agents`, each once. Unknown nodes are the configuration check's affair: here they raise `ValueError`.

    All that a node needs, without a graph library in its memory.
    """
    n = len(agents)
    pairs: Iterable[Edge]
    if settings.kind == "ring":
        pairs = [(agents[i], agents[(i + 1) % n]) for i in range(n)]
    elif settings.kind == "complete":
        pairs = combinations(agents, 2)
    elif settings.kind == "star":
        pairs = [(agents[0], agent) for agent in agents[1:]]
    elif settings.kind == "path":
        pairs = pairwise(agents)
    elif settings.kind == "grid":
        rows = next(r for r in range(int(n**0.5), 0, -1) if n % r == 0)
        columns = n // rows
        across = [(agents[i], agents[i + 1]) for i in range(n) if (i + 1) % columns]
        pairs = across + [(agents[i], agents[i + columns]) for i in range(n - columns)]
    else:
        unknown = settings.unknown_nodes(agents)
        if unknown:
            raise ValueError(f"edges name nodes that nobody has: {', '.join(unknown)}")
        pairs = settings.edges
    order = {agent: i for i, agent in enumerate(agents)}
    found = {(a, b) if order[a] < order[b] else (b, a) for a, b in pairs if a != b}
    return sorted(found, key=lambda edge: (order[edge[0]], order[edge[1]]))


def build(settings: TopologySettings, agents: list[str]) -> nx.Graph:
    """The graph of `edges`, with `agents` as its nodes in that order."""
    import networkx as nx

    graph = nx.Graph()
    graph.add_nodes_from(agents)
    graph.add_edges_from(edges(settings, agents))
    return graph


def mixing_weights(agents: Sequence[str], pairs: Iterable[Edge]) -> NDArray[np.float64]:
    """W of Metropolis-Hastings in the order of `agents`: W_ij = 1 / (1 + max(d_i, d_j)) on edges, W_ii = 1 - sum_j W_ij.

    Symmetric and doubly stochastic (Xiao and Boyd 2004).
    """
    import numpy as np

    number = {agent: i for i, agent in enumerate(agents)}
    adjacent = np.zeros((len(agents), len(agents)), bool)
    for a, b in pairs:
        adjacent[number[a], number[b]] = adjacent[number[b], number[a]] = True
    degree = adjacent.sum(axis=1)
    weights: NDArray[np.float64] = adjacent / (1.0 + np.maximum(degree[:, None], degree[None, :]))
    np.fill_diagonal(weights, 1.0 - weights.sum(axis=1))
    return weights


def metropolis_weights(graph: nx.Graph) -> NDArray[np.float64]:
    """`mixing_weights` in the node order of a graph."""
    return mixing_weights(list(graph.nodes), graph.edges)


def contraction(weights: NDArray[np.float64]) -> float:
    """rho = ||W - J/n||_2: disagreement after one averaging is at most rho times that before; the spectral gap is 1 - rho."""
    import numpy as np

    n = len(weights)
    return float(np.linalg.norm(weights - np.full((n, n), 1.0 / n), 2))
