"""Random graphs, the same in every round or changing, drawn from raw random bits: equal on every machine and with every version of numpy.

numpy promises the bits of `PCG64` and `SeedSequence` for ever, but not what its distributions make of them; so these are made here, in
integers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import log
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from protocols.runtime.component_registry import create
from protocols.topology.communication_graph import GraphPattern, Pairs, connected, pairs_of, undirected
from protocols.topology.fixed_graphs import all_pairs
from protocols.topology.settings import (
    ROOM,
    ErdosRenyiSettings,
    MatchingsSettings,
    RandomRegularSettings,
    RandomTopologySettings,
    SmallWorldSettings,
    unfit,
)

ATTEMPTS = 200
"""graphs that are drawn before none is taken to be connected"""
_NAME = crc32(b"topology")
_CHUNK = 2**22


class GraphDraws:
    """A stream of random numbers, known by its seed and further numbers."""

    def __init__(self, seed: int, *key: int) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(_NAME, *key)))

    def raw(self, count: int) -> NDArray[np.uint64]:
        """64 random bits, `[count]`."""
        return np.asarray(self._bits.random_raw(count), np.uint64)

    def below(self, bound: int) -> int:
        """A number from 0 to bound - 1."""
        return int(self.raw(1)[0]) * bound >> 64

    def order(self, count: int) -> NDArray[np.int64]:
        """A permutation of 0 ... count - 1."""
        return np.argsort(self.raw(count), kind="stable")

    def chosen(self, count: int, probability: float) -> NDArray[np.int64]:
        """Numbers below `count`, each chosen with this probability (in steps of 2^-32), sorted."""
        threshold = round(probability * 2**32)
        if threshold == 0:
            return np.zeros(0, np.int64)
        if threshold == 2**32:
            return np.arange(count)
        found = []
        for first in range(0, count, _CHUNK):  # every draw decides on two numbers: by its lower and by its upper half
            size = min(_CHUNK, count - first)
            half = (size + 1) // 2
            raw = self.raw(half)
            lower = np.flatnonzero((raw & np.uint64(2**32 - 1)) < np.uint64(threshold))
            upper = half + np.flatnonzero(raw < np.uint64(threshold << 32))
            found += [first + lower, first + upper[upper < size]]
        return np.concatenate(found).astype(np.int64) if found else np.zeros(0, np.int64)


def seed_of(settings: RandomTopologySettings, seed: int) -> int:
    """The graph's own seed, or the run's."""
    return settings.seed if settings.seed is not None else seed


def _first_connected(seed: int, n: int, draw: Callable[[GraphDraws], Pairs], why: Callable[[], str], key: str) -> GraphPattern:
    for attempt in range(ATTEMPTS):
        pairs = draw(GraphDraws(seed, 0, attempt))
        if connected(n, pairs):
            return GraphPattern(pairs)
    raise unfit(f"none of {ATTEMPTS} graphs that were drawn is connected: {why()}", key)


def erdos_renyi(settings: ErdosRenyiSettings, agents: Sequence[str], seed: int) -> GraphPattern:
    """G(n, p): every pair with probability p (Erdős and Rényi 1959; Gilbert 1959)."""
    n = len(agents)

    def draw(draws: GraphDraws) -> Pairs:
        k = draws.chosen(n * (n - 1) // 2, settings.probability)  # pair (i, j), i < j, is number j (j - 1) / 2 + i
        j = ((1 + np.sqrt(1 + 8 * k.astype(np.float64))) // 2).astype(np.int64)
        j -= j * (j - 1) // 2 > k
        j += (j + 1) * j // 2 <= k
        return undirected(np.stack([k - j * (j - 1) // 2, j], axis=1))

    def why() -> str:
        return f"{settings.probability:g} is too small for {n} agents; take {min(1.0, 1.5 * log(max(n, 3)) / n):.2g} or more"

    return _first_connected(seed_of(settings, seed), n, draw, why, "probability")


def small_world(settings: SmallWorldSettings, agents: Sequence[str], seed: int) -> GraphPattern:
    """Watts and Strogatz (1998): edges i, i + k of a ring (k = 1 ... degree / 2), each turned with probability p to i and a uniform agent
    that is not joined to i yet."""
    n, degree = len(agents), settings.degree
    if degree >= n:
        raise unfit(f"{n} agents cannot have {degree} neighbours each; take less than agents.count", "degree")
    if degree % 2:
        raise unfit(f"{degree} is odd, but half of the neighbours are on each side; take {degree - 1 or 2} or {degree + 1}", "degree")

    def draw(draws: GraphDraws) -> Pairs:
        joined: list[set[int]] = [set() for _ in range(n)]
        lattice = [(i, (i + k) % n) for k in range(1, degree // 2 + 1) for i in range(n)]
        for i, j in lattice:
            joined[i].add(j)
            joined[j].add(i)
        for index in draws.chosen(len(lattice), settings.probability).tolist():
            i, j = lattice[index]
            if len(joined[i]) >= n - 1 or j not in joined[i]:
                continue
            new = draws.below(n)
            while new == i or new in joined[i]:
                new = draws.below(n)
            joined[i].remove(j)
            joined[j].remove(i)
            joined[i].add(new)
            joined[new].add(i)
        return pairs_of((i, j) for i in range(n) for j in joined[i] if i < j)

    return _first_connected(seed_of(settings, seed), n, draw, lambda: f"take a degree above {degree}, or a smaller probability", "degree")


def random_regular(settings: RandomRegularSettings, agents: Sequence[str], seed: int) -> GraphPattern:
    """All agents with `degree` neighbours, by pairing stubs at random and pairing again those that would make loops or double edges
    (Steger and Wormald 1999: nearly uniform among all such graphs)."""
    n, degree = len(agents), settings.degree
    if degree >= n:
        raise unfit(f"{n} agents cannot have {degree} neighbours each; take less than agents.count", "degree")
    if degree * n % 2:
        text = f"{n} agents with {degree} neighbours each would be {degree * n}/2 edges, which is no whole number; make one of them even"
        raise unfit(text, "degree")
    if degree == 1 and n > 2:
        raise unfit(f"with one neighbour each, {n} agents fall into pairs that can never agree; take 2 or more", "degree")
    dense = degree > (n - 1) // 2  # then the pairs that are not joined are drawn: there are fewer

    def draw(draws: GraphDraws) -> Pairs:
        pairs = _paired(draws, n, n - 1 - degree if dense else degree)
        if not dense:
            return pairs
        taken = np.zeros((n, n), bool)
        taken[pairs[:, 0], pairs[:, 1]] = True
        every = all_pairs(n)
        return every[~taken[every[:, 0], every[:, 1]]]

    return _first_connected(seed_of(settings, seed), n, draw, lambda: "take a larger degree", "degree")


def _paired(draws: GraphDraws, n: int, degree: int) -> Pairs:
    while True:
        edges: set[tuple[int, int]] = set()
        stubs = np.repeat(np.arange(n), degree)
        failures = 0
        while len(stubs) and failures < 20:
            pairs = stubs[draws.order(len(stubs))].reshape(-1, 2)
            left: list[int] = []
            for a, b in pairs.tolist():
                edge = (a, b) if a < b else (b, a)
                if a == b or edge in edges:
                    left += edge
                else:
                    edges.add(edge)
            failures = failures + 1 if len(left) == len(stubs) else 0
            stubs = np.array(left, np.int64)
        if not len(stubs):
            return pairs_of(edges)


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
