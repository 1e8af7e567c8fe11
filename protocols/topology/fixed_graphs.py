"""Graphs that follow from the number of agents alone (the same in every round, or changing), or from a list."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from protocols.topology.communication_graph import GraphPattern, Pairs, pairs_of, undirected
from protocols.topology.settings import (
    EdgesSettings,
    GridSettings,
    TopologyProblem,
    TopologySettings,
    TorusSettings,
    TreeSettings,
    UnfitTopology,
    unfit,
)


def ring(settings: TopologySettings, agents: Sequence[str], seed: int) -> GraphPattern:
    """Undirected ring of n agents: edges {i, (i + 1) mod n}."""
    i = np.arange(len(agents))
    return GraphPattern(undirected(np.stack([i, (i + 1) % max(1, len(agents))], axis=1)))


def complete(settings: TopologySettings, agents: Sequence[str], seed: int) -> GraphPattern:
    """Complete graph: an edge between every pair of agents."""
    return GraphPattern(all_pairs(len(agents)))


def all_pairs(n: int) -> Pairs:
    """(i, j) with i < j, `[n (n - 1) / 2, 2]`."""
    return np.stack(np.triu_indices(n, 1), axis=1).astype(np.int64)


def star(settings: TopologySettings, agents: Sequence[str], seed: int) -> GraphPattern:
    """Star: edges {0, i} for i = 1 ... n - 1; the first agent is the centre."""
    leaves = np.arange(1, len(agents))
    return GraphPattern(undirected(np.stack([np.zeros_like(leaves), leaves], axis=1)))


def path(settings: TopologySettings, agents: Sequence[str], seed: int) -> GraphPattern:
    """Path: edges {i, i + 1} for i = 0 ... n - 2."""
    i = np.arange(len(agents) - 1)
    return GraphPattern(undirected(np.stack([i, i + 1], axis=1)))


def rows_of(rows: int | None, n: int) -> int:
    """Rows of a grid of n agents: those that are configured, or the largest divisor of n up to its root. `UnfitTopology` where the
    configured ones do not divide n."""
    if rows is None:
        return next((r for r in range(int(n**0.5), 0, -1) if n % r == 0), 1)
    if n % rows:
        divisors = [str(r) for r in range(1, n + 1) if n % r == 0]
        raise unfit(f"{rows} rows do not divide {n} agents; take {', '.join(divisors[:-1])} or {divisors[-1]}", "rows")
    return rows


def grid(settings: GridSettings | TorusSettings, agents: Sequence[str], seed: int) -> GraphPattern:
    """(row, column) with those to the right of it and below it; agents are numbered row by row. A torus is a grid that is closed at its
    ends; in its rows or columns of two the closing edge is the one that is there already."""
    number = np.arange(len(agents)).reshape(rows_of(settings.rows, len(agents)), -1)
    across, down = (np.stack([number, np.roll(number, -1, axis)], axis=-1) for axis in (1, 0))
    if isinstance(settings, GridSettings):
        across, down = across[:, :-1], down[:-1]
    return GraphPattern(undirected(np.concatenate([across.reshape(-1, 2), down.reshape(-1, 2)])))


def tree(settings: TreeSettings, agents: Sequence[str], seed: int) -> GraphPattern:
    """Tree in which every agent i > 0 is joined to its parent, number (i - 1) div branching."""
    children = np.arange(1, len(agents))
    return GraphPattern(undirected(np.stack([(children - 1) // settings.branching, children], axis=1)))


def offsets(n: int) -> list[int]:
    """1, 2, 4, ... below n: ceil(log2 n) of them."""
    return [2**k for k in range((n - 1).bit_length())] if n > 1 else []


def exponential(settings: TopologySettings, agents: Sequence[str], seed: int) -> GraphPattern:
    """Directed exponential graph: edges i -> i + 2^k (mod n) for k = 0 ... ceil(log2 n) - 1."""
    n = len(agents)
    return GraphPattern(pairs_of((i, (i + k) % n) for k in offsets(n) for i in range(n)), directed=True)


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


def own_edges(settings: EdgesSettings, agents: Sequence[str], seed: int) -> GraphPattern:
    """The pairs of the list. Unknown names, loops and repeated edges are all reported at once."""
    number = {agent: i for i, agent in enumerate(agents)}
    faults: list[TopologyProblem] = []
    seen: dict[tuple[int, int], int] = {}
    for index, (a, b) in enumerate(settings.edges):
        strange = [(end, node) for end, node in enumerate((a, b)) if node not in number]
        faults += [TopologyProblem(("edges", index, end), f'"{node}" is no agent: they are {_span(agents)}', node) for end, node in strange]
        if strange:
            continue
        if a == b:
            faults.append(TopologyProblem(("edges", index), f"joins {a} with itself; remove it"))
            continue
        i, j = number[a], number[b]
        key = (i, j) if settings.directed or i < j else (j, i)
        if key in seen:
            reverse = "" if settings.directed or settings.edges[seen[key]] == (a, b) else " (edges have no direction unless directed: true)"
            faults.append(TopologyProblem(("edges", index), f"{a}, {b} is listed already, as edge {seen[key]}{reverse}; remove one"))
        else:
            seen[key] = index
    if faults:
        raise UnfitTopology(*faults)
    return GraphPattern(pairs_of(seen), settings.directed)


def _span(agents: Sequence[str]) -> str:
    return f"{agents[0]} ... {agents[-1]}" if len(agents) > 2 else ", ".join(agents)
