"""What a kind of graph is: pairs of agents by number, the same in every round or other ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

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


def reached(n: int, pairs: Pairs, start: int) -> NDArray[np.bool_]:
    """Which of the n agents can be reached from agent `start` along directed pairs, `[n]`; true for `start` itself."""
    starts, targets = adjacency(n, pairs)
    seen = np.zeros(n, bool)
    seen[start] = True
    rim = [start]
    while rim:
        found = []
        for i in rim:
            for j in targets[starts[i] : starts[i + 1]].tolist():
                if not seen[j]:
                    seen[j] = True
                    found.append(j)
        rim = found
    return seen


def components(n: int, pairs: Pairs) -> list[list[int]]:
    """Parts of the graph whatever the direction of its pairs, each sorted, in the order of their first members."""
    starts, targets = adjacency(n, both_ways(pairs))
    part = np.full(n, -1)
    parts: list[list[int]] = []
    for first in range(n):
        if part[first] >= 0:
            continue
        members = [first]
        part[first] = len(parts)
        for i in members:  # grows while it is read
            for j in targets[starts[i] : starts[i + 1]].tolist():
                if part[j] < 0:
                    part[j] = len(parts)
                    members.append(j)
        parts.append(sorted(members))
    return parts


def connected(n: int, pairs: Pairs) -> bool:
    """Whether all are in one part. (Without edges one agent alone is connected.)"""
    return bool(n <= 1 or reached(n, both_ways(pairs), 0).all())
