"""How fast averaging over a graph converges.

One round is x <- W_t x. An undirected graph has the weights of Metropolis-Hastings, W_ij = 1 / (1 + max(d_i, d_j)), symmetric and doubly
stochastic; a directed one those of push-sum, W_ji = 1 / (1 + out-degree of i), whose columns sum to 1. After t rounds the
disagreement is at most rho^t times that at the start, rho being the contraction of a round and 1 - rho the spectral gap.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, exp, log, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.topology.communication_graph import Graph, RoundEdges

ACCURACY = 1e-6
"""what `Rates.rounds` counts to: the disagreement as a share of that at the start"""
DENSE = 512
"""agents up to which whole matrices are made"""
_ZERO = 1e-12
_WORK = 3e8
"""numbers that the product of changing rounds may touch before the rate is estimated"""
_ROUNDS = 2000
"""rounds that are multiplied at most"""
_SAMPLED = 300
"""rounds from which a rate is estimated"""
_SHORT = 64
"""rounds of a period that are multiplied where matrices are not made"""


@dataclass(frozen=True)
class Rates:
    """How fast averaging with the weights W of one graph converges."""

    contraction: float
    """rho of a round; of a changing graph the geometric mean over rounds. 1 for a graph that is not connected"""
    rounds: int | None
    """rounds until the disagreement is a millionth; None: never"""
    exact: int | None
    """rounds after which all agents have the mean exactly; None: it is only approached"""
    how: str
    """what was computed"""

    @property
    def gap(self) -> float:
        """1 - rho, the spectral gap."""
        return 1.0 - self.contraction


def mixing(links: RoundEdges, directed: bool) -> Any:
    """W of one round as a sparse matrix (`scipy.sparse.csr_array`), `[n, n]`."""
    from scipy.sparse import csr_array

    degrees = links.out_degrees
    source, target = links.arcs[:, 0], links.arcs[:, 1]
    values = 1.0 / (1.0 + (degrees[source] if directed else np.maximum(degrees[source], degrees[target])))
    given = np.bincount(source, values, links.n)
    itself = np.arange(links.n)
    data = np.concatenate([values, 1.0 - given])
    return csr_array((data, (np.concatenate([target, itself]), np.concatenate([source, itself]))), shape=(links.n, links.n))


def rates(graph: Graph) -> Rates:
    """Contraction, rounds to a millionth, and whether the mean is ever exact.

    The contraction of a graph that stays the same is ||W - J/n||_2 (J: all ones) where W is doubly stochastic, else the modulus of the
    second eigenvalue. That of a changing one is ||W_T ... W_1 - J/n||_2^(1/T) over its period T; where it has none, or reaches a
    millionth before the end of one, over the rounds that this takes. For more than `DENSE` agents it is found by iteration; that of
    changing rounds without a short period is then bounded by sqrt(lambda_2(mean of W_t)), the decay of the mean square if rounds are
    drawn independently and pairs take their mean (Boyd et al. 2006); in long rings it is up to twice as fast.
    """
    n = len(graph.agents)
    if n <= 1:
        return Rates(0.0, 0, 0, "only one agent")
    forth, back = graph.cut_off()
    if forth or back:
        return Rates(1.0, None, None, "not connected")
    if not graph.changes:
        rho, how = _fixed(mixing(graph.links(0), graph.directed), graph.directed, n)
        return Rates(rho if rho >= _ZERO else 0.0, *_rounds(rho), how)
    return _changing(graph, n)


def _rounds(rho: float) -> tuple[int | None, int | None]:
    if rho < _ZERO:
        return 1, 1
    return (None if rho >= 1.0 else max(1, ceil(log(1 / ACCURACY) / -log(rho))), None)


def _fixed(weights: Any, directed: bool, n: int) -> tuple[float, str]:
    balanced = not directed or bool(np.allclose(weights.sum(axis=1), 1.0))
    how = "spectral norm of W - J/n" if balanced else "modulus of the second eigenvalue of W"
    if n > DENSE:
        return _large(weights, directed, balanced, n), how
    dense: NDArray[np.float64] = weights.toarray()
    if not directed:
        return float(np.abs(np.linalg.eigvalsh(dense - 1.0 / n)).max()), how
    if balanced:
        return float(np.linalg.norm(dense - 1.0 / n, 2)), how
    return float(np.sort(np.abs(np.linalg.eigvals(dense)))[-2]), how


def _large(weights: Any, directed: bool, balanced: bool, n: int) -> float:
    from scipy.sparse import eye_array
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigs, eigsh

    start = np.cos(np.arange(n) + 1.0)  # any fixed vector without relation to a graph
    if not balanced:
        return float(np.sort(np.abs(eigs(weights, k=2, which="LM", v0=start, return_eigenvectors=False)))[0])
    if directed:
        return _norm(lambda x: weights @ x, lambda x: weights.T @ x, n)
    centred = LinearOperator((n, n), matvec=lambda x: _centred(weights @ _centred(x)), dtype=np.float64)
    try:
        return float(abs(eigsh(centred, k=1, which="LM", v0=start, tol=1e-10, maxiter=200, return_eigenvectors=False)[0]))
    except ArpackNoConvergence:  # eigenvalues crowd below 1, as in long rings: look for the smallest of I - W instead
        laplacian = (eye_array(n) - weights).tocsc()
        low = np.sort(eigsh(laplacian, k=2, sigma=-1e-9, which="LM", v0=start, return_eigenvectors=False))[1]
        least = 2 * float(weights.diagonal().min()) - 1  # no eigenvalue of W is below this (Gershgorin)
        if -least > 1 - low:
            least = float(eigsh(weights, k=1, which="SA", v0=start, tol=1e-6, return_eigenvectors=False)[0])
        return max(1 - float(low), -least)


def _centred(x: Any) -> Any:
    return x - x.mean(axis=0)


def _norm(forth: Callable[[Any], Any], back: Callable[[Any], Any], n: int) -> float:
    """||W - J/n||_2 of a doubly stochastic W that is known by what it does to vectors."""
    from scipy.sparse.linalg import LinearOperator, eigsh

    start = np.cos(np.arange(n) + 1.0)
    if float(np.linalg.norm(_centred(forth(_centred(start))))) < _ZERO * sqrt(n):
        return 0.0
    square = LinearOperator((n, n), matvec=lambda x: _centred(back(forth(_centred(x)))), dtype=np.float64)
    largest = eigsh(square, k=1, which="LM", v0=start, tol=1e-10, return_eigenvectors=False)[0]
    return sqrt(max(0.0, float(largest)))


def _changing(graph: Graph, n: int) -> Rates:
    period = graph.period
    if n > DENSE:
        if period is not None and period <= _SHORT:
            rounds = [mixing(graph.links(t), graph.directed) for t in range(period)]
            norm = _norm(lambda x: _applied(rounds, x), lambda x: _applied([w.T for w in reversed(rounds)], x), n)
            return _of_period(norm, period)
        return _sampled(graph)
    return _multiplied(graph, n)


def _applied(rounds: list[Any], x: Any) -> Any:
    for weights in rounds:
        x = weights @ x
    return x


def _of_period(norm: float, period: int) -> Rates:
    how = f"spectral norm of the product of {period} rounds"
    if norm < 1e-9:
        return Rates(0.0, period, period, how)
    if norm >= 1.0 - _ZERO:
        return Rates(1.0, None, None, how)
    rho = norm ** (1 / period)
    return Rates(rho, ceil(log(1 / ACCURACY) / -log(rho)), None, how)


def _multiplied(graph: Graph, n: int) -> Rates:
    """Multiply rounds until nothing but a millionth is left, or the work is too much."""
    rest: NDArray[np.float64] = np.eye(n) - 1.0 / n
    of_period: float | None = None
    look = 0
    for t in range(min(_ROUNDS, max(int(_WORK / n**2), 8))):
        rest = mixing(graph.links(t), graph.directed) @ rest
        size = float(np.linalg.norm(rest))  # of Frobenius: at least the spectral norm, at most sqrt(n) times it
        if t + 1 == graph.period:
            of_period = float(np.linalg.norm(rest, 2))
        if (of_period is None and size > sqrt(n) * ACCURACY) or t < look:
            continue
        norm = float(np.linalg.norm(rest, 2))
        if norm < _ZERO:
            return Rates(0.0, t + 1, t + 1, "product of the rounds: zero")
        if norm > ACCURACY:  # look again half-way to where the decay so far leads
            look = t + 1 + int(0.5 * (t + 1) * log(norm / ACCURACY) / -log(norm)) if norm < 1 else t + 1
            continue
        if of_period is not None and graph.period is not None:
            return Rates(of_period ** (1 / graph.period), t + 1, None, f"spectral norm of the product of {graph.period} rounds")
        return Rates(exp(log(norm) / (t + 1)), t + 1, None, f"spectral norm of the product of the first {t + 1} rounds")
    if of_period is not None and graph.period is not None:
        return _of_period(of_period, graph.period)
    return _sampled(graph)


def _sampled(graph: Graph) -> Rates:
    """From the mean of W over many rounds; only for pairs that take their mean, W_t^T W_t = W_t."""
    mean = sum((mixing(graph.links(t), graph.directed) for t in range(1, _SAMPLED)), mixing(graph.links(0), graph.directed)) / _SAMPLED
    square, _ = _fixed(mean, graph.directed, len(graph.agents))
    rho = sqrt(square)
    return Rates(rho, _rounds(rho)[0], None, f"at most: decay of the mean square, from {_SAMPLED} rounds")
