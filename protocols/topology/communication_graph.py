"""The communication graph: pairs of agents by number, the edges of each round, and the neighbourhood of each agent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.runtime.component_registry import create
from protocols.topology.settings import ROOM, TopologySettings, topology_settings

Pairs = NDArray[np.int64]
"""`[m, 2]` numbers of agents; undirected pairs once, (i, j) with i < j; directed ones i -> j"""


@dataclass(frozen=True, eq=False)
class GraphPattern:
    """The edges of a graph as pairs of agent numbers, for one round or for a period of rounds."""

    union: Pairs
    """pairs of all rounds together"""
    directed: bool = False
    period: int | None = 1
    """rounds after which it repeats itself; None: never"""
    pairs: Callable[[int], Pairs] | None = None
    """those of round t (of t mod period, where there is one); None: `union` in every round"""


def pairs_of(edges: Iterable[tuple[int, int]] | NDArray[Any]) -> Pairs:
    """The distinct directed pairs (i, j), sorted, `[m, 2]`."""
    made = np.asarray(edges if isinstance(edges, np.ndarray) else list(edges), np.int64).reshape(-1, 2)
    return np.unique(made, axis=0)


def undirected(edges: Iterable[tuple[int, int]] | NDArray[Any]) -> Pairs:
    """Sorted pairs (i, j) with i < j, each once; loops are left out."""
    made = np.asarray(edges if isinstance(edges, np.ndarray) else list(edges), np.int64).reshape(-1, 2)
    made = np.sort(made[made[:, 0] != made[:, 1]], axis=1)
    return np.unique(made, axis=0)


def adjacency(n: int, pairs: Pairs) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(starts, targets) of directed pairs: those after i are `targets[starts[i]:starts[i + 1]]`, sorted."""
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    starts = np.zeros(n + 1, np.int64)
    np.cumsum(np.bincount(pairs[:, 0], minlength=n), out=starts[1:])
    return starts, pairs[order, 1]


def both_ways(pairs: Pairs) -> Pairs:
    """Directed pairs (i, j) and (j, i) of `pairs[m, 2]`, `[2 m, 2]`."""
    return np.concatenate([pairs, pairs[:, ::-1]])


def following(links: tuple[NDArray[np.int64], NDArray[np.int64]], i: int) -> list[int]:
    """Those after i in an `adjacency`, sorted."""
    starts, targets = links
    found: list[int] = targets[starts[i] : starts[i + 1]].tolist()
    return found


def reached(n: int, pairs: Pairs, start: int) -> NDArray[np.bool_]:
    """Which of the n agents can be reached from agent `start` along directed pairs, `[n]`; true for `start` itself."""
    links = adjacency(n, pairs)
    seen = np.zeros(n, bool)
    seen[start] = True
    found = [start]
    for i in found:  # grows while it is read
        for j in following(links, i):
            if not seen[j]:
                seen[j] = True
                found.append(j)
    return seen


def components(n: int, pairs: Pairs) -> list[list[int]]:
    """Parts of the graph whatever the direction of its pairs, each sorted, in the order of their first members."""
    links = adjacency(n, both_ways(pairs))
    left = set(range(n))
    parts: list[list[int]] = []
    for first in range(n):
        if first not in left:
            continue
        left.remove(first)
        members = [first]
        for i in members:  # grows while it is read
            near = left.intersection(following(links, i))
            left -= near
            members += near
        parts.append(sorted(members))
    return parts


def connected(n: int, pairs: Pairs) -> bool:
    """Whether all are in one part. (Without edges one agent alone is connected.)"""
    return bool(n <= 1 or reached(n, both_ways(pairs), 0).all())


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
        return following(self._out, i)

    def senders(self, i: int) -> list[int]:
        """Numbers of the agents that send to agent i in this round."""
        return following(self._in, i)

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


class GraphNeighbourhood:
    """One agent's place in a graph: `protocols.averaging.averager.Neighbourhood`. That in a graph without changes is looked up once."""

    def __init__(self, graph: Graph, agent: str) -> None:
        self.all_neighbours = graph.all_neighbours(agent)
        """all agents that share an edge with this one, in either direction, in any round"""
        self._changes = graph.changes
        self._receivers = lru_cache(1)(partial(graph.receivers, agent))
        self._senders = lru_cache(1)(partial(graph.senders, agent))
        self._weights = lru_cache(1)(partial(graph.weights, agent))

    def receivers(self, round: int) -> tuple[str, ...]:
        """Names of the agents to which this agent sends in `round`."""
        return self._receivers(round if self._changes else 0)

    def senders(self, round: int) -> tuple[str, ...]:
        """Names of the agents that send to this agent in `round`."""
        return self._senders(round if self._changes else 0)

    def weights(self, round: int) -> Mapping[str, float]:
        """W_ij of each neighbour j in a round's undirected graph (Metropolis-Hastings); raises `ValueError` for directed graphs."""
        return self._weights(round if self._changes else 0)


def make_graph(settings: TopologySettings, agents: Sequence[str], seed: int = 0) -> Graph:
    """The graph of its settings over these agents; `seed` is the run's, and counts for random graphs without a seed of their own.
    `UnfitTopology`, a `ValueError`, names the conflict. Whether the graph is connected is not checked here."""
    settings = topology_settings(settings)
    return Graph(agents, create(ROOM, settings)(settings, list(agents), seed))
