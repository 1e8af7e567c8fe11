"""Graphs that change from round to round."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from protocols.runtime.component_registry import create
from protocols.topology.fixed_graphs import all_pairs, exponential, offsets
from protocols.topology.graph_pattern import GraphPattern, Pairs, undirected
from protocols.topology.random_graphs import GraphDraws, seed_of
from protocols.topology.settings import ROOM, MatchingsSettings, TopologySettings
from protocols.topology.unfit_topology import unfit


def one_peer_exponential(settings: TopologySettings, agents: Sequence[str], seed: int) -> GraphPattern:
    """Round t: i -> i + 2^(t mod ceil(log2 n)). With weight 1/2 the mean is exact after log2 n rounds if n is a power of two, and
    after no finite number otherwise (Assran et al. 2019; Ying et al. 2021)."""
    n = len(agents)
    steps = offsets(n)
    if len(steps) <= 1:
        return exponential(settings, agents, seed)
    i = np.arange(n)

    def pairs(round: int) -> Pairs:
        return np.stack([i, (i + steps[round % len(steps)]) % n], axis=1)

    return GraphPattern(exponential(settings, agents, seed).union, True, len(steps), pairs)


def matchings(settings: MatchingsSettings, agents: Sequence[str], seed: int) -> GraphPattern:
    """Pairs without a common agent in every round, by the schedule.

    A tournament is played in a random order of its rounds: in the usual one two rounds together move everything by one place, so that
    64 agents would need 2,900 rounds to agree to a millionth instead of about 40.
    """
    n, own = len(agents), seed_of(settings, seed)
    if settings.schedule == "round_robin":
        if settings.base.kind != "complete":
            text = f"round_robin pairs every agent with every other, and the base is a {settings.base.kind}; write schedule: random"
            raise unfit(text, "schedule")
        period = max(1, n - 1 + n % 2)
        order = GraphDraws(own, 2).order(period).tolist()
        return GraphPattern(all_pairs(n), False, period, lambda round: tournament(n, order[round % period]))
    if settings.base.kind == "complete":
        return GraphPattern(
            all_pairs(n), False, None, lambda round: undirected(GraphDraws(own, 1, round).order(n)[: n - n % 2].reshape(-1, 2))
        )
    base: GraphPattern = create(ROOM, settings.base)(settings.base, agents, seed)
    if base.directed:
        raise unfit(f"pairs exchange in both directions, and {settings.base.kind} is directed; take an undirected one", "base")
    return GraphPattern(base.union, False, None, lambda round: maximal_matching(n, base.union, GraphDraws(own, 1, round)))


def tournament(n: int, round: int) -> Pairs:
    """The circle method: i meets j if i + j = round (mod m), m the odd one of n and n - 1. An agent that would meet itself meets the last
    agent (n even) or pauses (n odd). In m rounds every pair meets once."""
    if n < 2:
        return np.zeros((0, 2), np.int64)
    m = n - 1 + n % 2
    i = np.arange(m)
    j = (round - i) % m
    if n % 2 == 0:
        j = np.where(i == j, n - 1, j)
    return undirected(np.stack([i, j], axis=1))


def maximal_matching(n: int, pairs: Pairs, draws: GraphDraws) -> Pairs:
    """Pairs in a random order, each taken if neither of its agents is taken yet; so no further pair fits in.

    Computed for all at once: a pair comes before all others at both its agents, and is taken; those that it excludes leave; again.
    """
    rank = np.empty(len(pairs), np.int64)
    rank[draws.order(len(pairs))] = np.arange(len(pairs))
    taken = []
    while len(pairs):
        first = np.full(n, len(rank) + n * n, np.int64)
        np.minimum.at(first, pairs[:, 0], rank)
        np.minimum.at(first, pairs[:, 1], rank)
        best = (first[pairs[:, 0]] == rank) & (first[pairs[:, 1]] == rank)
        taken.append(pairs[best])
        busy = np.zeros(n, bool)
        busy[pairs[best].ravel()] = True
        free = ~(busy[pairs[:, 0]] | busy[pairs[:, 1]])
        pairs, rank = pairs[free], rank[free]
    return undirected(np.concatenate(taken)) if taken else pairs
