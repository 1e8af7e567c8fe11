"""With what weight neighbours are averaged: the mixing matrices of small graphs, dense. (Each node computes its own weights alone:
`protocols.topology.communication_graph`.)"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # loaded where they are used: a configuration is read without them
    import networkx as nx
    import numpy as np
    from numpy.typing import NDArray


def mixing_weights(agents: Sequence[str], pairs: Iterable[tuple[str, str]]) -> NDArray[np.float64]:
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
