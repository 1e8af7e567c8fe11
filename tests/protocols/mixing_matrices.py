"""The mixing matrices of small graphs, dense."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import networkx as nx
import numpy as np

from protocols.topology.communication_graph import make_graph
from protocols.topology.mixing_rates import mixing
from protocols.topology.settings import EdgesSettings


def mixing_weights(agents: Sequence[str], pairs: Iterable[tuple[str, str]]) -> np.ndarray:
    """W of Metropolis-Hastings in the order of `agents`, `[n, n]`."""
    return mixing(make_graph(EdgesSettings(edges=list(pairs)), agents).links(0), False).toarray()  # type: ignore[no-any-return]


def metropolis_weights(graph: nx.Graph) -> np.ndarray:
    """`mixing_weights` in the node order of a graph."""
    return mixing_weights(list(graph.nodes), graph.edges)
