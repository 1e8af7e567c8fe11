"""Who talks to whom: the communication graph from its settings."""

from __future__ import annotations

from itertools import pairwise
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


def build(settings: TopologySettings, agents: list[str]) -> nx.Graph:
    """Undirected graph over `agents` (in that order). Unknown nodes are the configuration check's affair: here they raise `ValueError`."""
    import networkx as nx

    graph = nx.Graph()
    graph.add_nodes_from(agents)
    n = len(agents)
    if settings.kind == "ring":
        graph.add_edges_from((agents[i], agents[(i + 1) % n]) for i in range(n) if n > 1)
    elif settings.kind == "complete":
        graph.add_edges_from((a, b) for i, a in enumerate(agents) for b in agents[i + 1 :])
    elif settings.kind == "star":
        graph.add_edges_from((agents[0], b) for b in agents[1:])
    elif settings.kind == "path":
        graph.add_edges_from(pairwise(agents))
    elif settings.kind == "grid":
        rows = next(r for r in range(int(n**0.5), 0, -1) if n % r == 0)
        columns = n // rows
        for i, agent in enumerate(agents):
            if (i + 1) % columns:
                graph.add_edge(agent, agents[i + 1])
            if i + columns < n:
                graph.add_edge(agent, agents[i + columns])
    else:
        unknown = settings.unknown_nodes(agents)
        if unknown:
            raise ValueError(f"edges name nodes that nobody has: {', '.join(unknown)}")
        graph.add_edges_from((a, b) for a, b in settings.edges if a != b)
    return graph


def metropolis_weights(graph: nx.Graph) -> NDArray[np.float64]:
    """W of Metropolis-Hastings in the node order of the graph: W_ij = 1 / (1 + max(d_i, d_j)) on edges, W_ii = 1 - sum_j W_ij.

    Symmetric and doubly stochastic (Xiao and Boyd 2004).
    """
    import numpy as np

    nodes = list(graph.nodes)
    weights = np.zeros((len(nodes), len(nodes)))
    for i, a in enumerate(nodes):
        for j, b in enumerate(nodes):
            if graph.has_edge(a, b):
                weights[i, j] = 1.0 / (1 + max(graph.degree[a], graph.degree[b]))
    np.fill_diagonal(weights, 1.0 - weights.sum(axis=1))
    return weights


def contraction(weights: NDArray[np.float64]) -> float:
    """rho = ||W - J/n||_2: disagreement after one averaging is at most rho times that before; the spectral gap is 1 - rho."""
    import numpy as np

    n = len(weights)
    return float(np.linalg.norm(weights - np.full((n, n), 1.0 / n), 2))
