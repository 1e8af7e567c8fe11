"""Who talks to whom: the communication graph from its settings.

`settings` has the keys of every kind, `fixed_graphs` and `random_graphs` make the pairs, `communication_graph` is the interface,
`mixing_rates` computes how fast a graph averages. Arrays and graph libraries are loaded where they are used: a configuration is read
without them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from protocols.topology.settings import TopologySettings, topology_settings

if TYPE_CHECKING:
    import networkx as nx

__all__ = ["Edge", "TopologySettings", "build", "edges", "topology_settings"]

Edge = tuple[str, str]


def edges(settings: TopologySettings, agents: Sequence[str], seed: int = 0) -> list[Edge]:
    """Who is joined to whom in any round and either direction: undirected edges over `agents`, each once with the earlier agent first.
    `ValueError` for what the configuration check refuses. Needs no graph library."""
    from protocols.topology.communication_graph import make_graph

    return make_graph(settings, agents, seed).neighbours


def build(settings: TopologySettings, agents: Sequence[str], seed: int = 0) -> nx.Graph:
    """The undirected networkx graph of `edges`, with `agents` as its nodes in that order. `ValueError` for settings that the
    configuration check refuses."""
    import networkx as nx

    graph = nx.Graph()
    graph.add_nodes_from(agents)
    graph.add_edges_from(edges(settings, agents, seed))
    return graph
