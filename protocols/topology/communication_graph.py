"""The communication graph: the edges of each round, and the neighbourhood of each agent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from protocols.runtime.component_registry import create
from protocols.topology.graph_pattern import GraphPattern, Pairs, adjacency, both_ways, components, reached, undirected
from protocols.topology.settings import ROOM, TopologySettings, topology_settings

Edge = tuple[str, str]
_KEPT = 64
"""rounds of a changing graph that are kept"""


class RoundEdges:
    """The edges of one round between n agents, as sparse pairs of numbers."""

    def __init__(self, n: int, pairs: Pairs, directed: bool) -> None:
        self.n = n
        self.pairs = pairs
        self.arcs = pairs if directed else both_ways(pairs)
        """directed pairs, `[arcs, 2]`"""
        self._out = adjacency(n, self.arcs)
        self._in = adjacency(n, self.arcs[:, ::-1]) if directed else self._out

    def receivers(self, i: int) -> list[int]:
        """Numbers of the agents to which agent i sends in this round."""
        starts, targets = self._out
        found: list[int] = targets[starts[i] : starts[i + 1]].tolist()
        return found

    def senders(self, i: int) -> list[int]:
        """Numbers of the agents that send to agent i in this round."""
        starts, targets = self._in
        found: list[int] = targets[starts[i] : starts[i + 1]].tolist()
        return found

    @property
    def out_degrees(self) -> NDArray[np.int64]:
        """Number of agents to which each agent sends, `[n]`."""
        return np.diff(self._out[0])


class Graph:
    """The communication graph: the agents, and the directed edges of every round. Rounds count from 0."""

    def __init__(self, agents: Sequence[str], pattern: GraphPattern) -> None:
        self.agents = tuple(agents)
        self.directed = pattern.directed
        self.period = pattern.period
        """rounds after which it repeats itself, 1 for a graph that does not change; None: never"""
        self._pattern = pattern
        self._number = {agent: i for i, agent in enumerate(self.agents)}
        self._round = lru_cache(_KEPT)(self._make)

    @property
    def changes(self) -> bool:
        """Whether the edges differ between rounds."""
        return self.period != 1

    @cached_property
    def union(self) -> RoundEdges:
        """The directed pairs that are an edge in at least one round."""
        return RoundEdges(len(self.agents), self._pattern.union, self.directed)

    def links(self, round: int) -> RoundEdges:
        """The pairs of a round, by number."""
        if self._pattern.pairs is None:
            return self.union
        return self._round(round if self.period is None else round % self.period)

    def _make(self, round: int) -> RoundEdges:
        pairs = self._pattern.pairs
        return RoundEdges(len(self.agents), pairs(round) if pairs is not None else self._pattern.union, self.directed)

    def _names(self, numbers: Sequence[int]) -> tuple[str, ...]:
        return tuple(self.agents[i] for i in numbers)

    def all_neighbours(self, agent: str) -> tuple[str, ...]:
        """All neighbours, in either direction, in any round; in the order of `agents`. `KeyError` for who is no agent, as below."""
        i = self._number[agent]
        both = self.union.receivers(i) if not self.directed else sorted({*self.union.receivers(i), *self.union.senders(i)})
        return self._names(both)

    def receivers(self, agent: str, round: int) -> tuple[str, ...]:
        """Names of the agents to which `agent` sends in this round."""
        return self._names(self.links(round).receivers(self._number[agent]))

    def senders(self, agent: str, round: int) -> tuple[str, ...]:
        """Names of the agents that send to `agent` in this round."""
        return self._names(self.links(round).senders(self._number[agent]))

    def edges(self, round: int) -> list[Edge]:
        """The edges of a round: (from, to) where they are directed, else each once with the earlier agent first."""
        return [(self.agents[i], self.agents[j]) for i, j in self.links(round).pairs.tolist()]

    @cached_property
    def union_edges(self) -> list[Edge]:
        """The edges of all rounds together, as `edges` has them."""
        return [(self.agents[i], self.agents[j]) for i, j in self.union.pairs.tolist()]

    @cached_property
    def neighbours(self) -> list[Edge]:
        """Who is joined to whom in any round and either direction: undirected, each pair once with the earlier agent first."""
        return [(self.agents[i], self.agents[j]) for i, j in undirected(self._pattern.union).tolist()]

    def weights(self, agent: str, round: int) -> dict[str, float]:
        """W_ij = 1 / (1 + max(d_i, d_j)) of each neighbour j of agent i in a round (Metropolis-Hastings; Xiao and Boyd 2004). It needs to
        know the degrees of i and its neighbours alone. `ValueError` for a directed graph."""
        if self.directed:
            raise ValueError("Metropolis-Hastings weights need an undirected graph; average by pushsum")
        links, i = self.links(round), self._number[agent]
        near = links.receivers(i)
        degrees = links.out_degrees[[i, *near]].tolist()
        return {self.agents[j]: 1.0 / (1 + max(degrees[0], degree)) for j, degree in zip(near, degrees[1:], strict=True)}

    def neighbourhood(self, agent: str) -> GraphNeighbourhood:
        """The edges and weights of one agent in every round, as the averaging rules use them
        (`protocols.averaging.averager.Neighbourhood`). `KeyError` for an unknown agent."""
        if agent not in self._number:
            raise KeyError(agent)
        return GraphNeighbourhood(self, agent)

    def parts(self, severed: Callable[[str, str], bool] | None = None) -> list[list[str]]:
        """Connected components over the edges of all rounds, whatever their direction, without the pairs (i, j) for which `severed(i,
        j)` is true. Agents in the order of the graph, components in the order of their first agents."""
        pairs = self._pattern.union
        if severed is not None:
            pairs = pairs[[not severed(self.agents[i], self.agents[j]) for i, j in pairs.tolist()]]
        return [list(self._names(part)) for part in components(len(self.agents), pairs)]

    def cut_off(self) -> tuple[list[str], list[str]]:
        """(whom nothing from the first agent ever reaches, from whom nothing ever reaches it). Both empty: every agent reaches
        every other, over the rounds."""
        n = len(self.agents)
        if n == 0:
            return [], []
        forth = reached(n, self.union.arcs, 0)
        back = reached(n, self.union.arcs[:, ::-1], 0) if self.directed else forth
        return list(self._names(np.flatnonzero(~forth).tolist())), list(self._names(np.flatnonzero(~back).tolist()))


@dataclass(frozen=True, eq=False)
class GraphNeighbourhood:
    """One agent's place in a graph: `protocols.averaging.averager.Neighbourhood`."""

    graph: Graph
    agent: str

    @cached_property
    def all_neighbours(self) -> tuple[str, ...]:
        """All agents that share an edge with this one, in either direction, in any round."""
        return self.graph.all_neighbours(self.agent)

    def receivers(self, round: int) -> tuple[str, ...]:
        """Names of the agents to which this agent sends in `round`."""
        return self.graph.receivers(self.agent, round) if self.graph.changes else self._receivers

    def senders(self, round: int) -> tuple[str, ...]:
        """Names of the agents that send to this agent in `round`."""
        return self.graph.senders(self.agent, round) if self.graph.changes else self._senders

    def weights(self, round: int) -> Mapping[str, float]:
        """W_ij of each neighbour j in a round's undirected graph (Metropolis-Hastings); raises `ValueError` for directed graphs."""
        return self.graph.weights(self.agent, round) if self.graph.changes else self._weights

    @cached_property
    def _receivers(self) -> tuple[str, ...]:
        return self.graph.receivers(self.agent, 0)

    @cached_property
    def _senders(self) -> tuple[str, ...]:
        return self.graph.senders(self.agent, 0)

    @cached_property
    def _weights(self) -> Mapping[str, float]:
        return self.graph.weights(self.agent, 0)


def make_graph(settings: TopologySettings, agents: Sequence[str], seed: int = 0) -> Graph:
    """The graph of its settings over these agents; `seed` is the run's, and counts for random graphs without a seed of their own.
    `UnfitTopology`, a `ValueError`, names the conflict. Whether the graph is connected is not checked here."""
    settings = topology_settings(settings)
    return Graph(agents, create(ROOM, settings)(settings, list(agents), seed))
