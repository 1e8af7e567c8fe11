"""Synchronous gossip: in each round every agent moves toward its neighbours, x_i <- x_i + sum_j W_ij (x_j - x_i).

With symmetric, doubly stochastic W (Metropolis-Hastings, `protocols.topology`) and no loss the mean of all x is kept exactly and
the disagreement falls at least by rho = |W - J/n| every round (Xiao and Boyd 2004). A neighbour that is dead or late contributes nothing to
the round: the configured weight stays, its share remains with x_i. Nothing is repeated, so a lost vector makes its receiver miss a
neighbour. Then the mean is not kept, which is this mode's known limit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from protocols.consensus.averager import Averaged, Averager
from protocols.conversation import Array, Send
from protocols.errors import BadMessage
from protocols.messages import Average, Message

Vector = NDArray[np.float32]
KEPT = 2
"""newest vectors of rounds to come that are kept per neighbour"""
FARTHEST = 10_000_000
"""rounds that a neighbour may be ahead: more than any run has, since a claim is followed and can't be taken back"""


class Combination(NamedTuple):
    """What a round brings: the move of x_i, `[d]`, and the neighbours whose vectors counted."""

    delta: NDArray[np.float64]
    used: tuple[str, ...]


class SynchronousAveraging(Averager):
    """Rounds of one agent. Modes that work in rounds of the same kind override `_combine`, and `_publish` if they send something else.

    `weights`: W_ij of each neighbour j in the configured graph. `layout` and `size`: digest and length of the vectors that are accepted.
    `deadline`: seconds after `begin` when a round closes without those who are late.
    """

    def __init__(self, weights: Mapping[str, float], layout: str, size: int, deadline: float = 2.0) -> None:
        super().__init__()
        if any(weight < 0 for weight in weights.values()) or sum(weights.values()) > 1 + 1e-9:
            raise ValueError("weights must not be negative, nor sum to more than 1")
        self._weights = dict(sorted(weights.items()))
        self._layout = layout
        self._size = size
        self._deadline = deadline
        self._dead: set[str] = set()
        self._kept: dict[str, dict[int, Vector]] = {neighbour: {} for neighbour in self._weights}
        self._newest: dict[str, int] = {}
        self._round = -1
        self._own: Vector | None = None
        self._closes = inf

    @property
    def round(self) -> int:
        """The newest round that was begun; -1 before the first."""
        return self._round

    @property
    def newest_round(self) -> int:
        """The newest round that any neighbour has sent, -1 before the first: an agent that finds itself behind continues there."""
        return max(self._newest.values(), default=-1)

    @property
    def open(self) -> bool:
        """Whether a round is waiting for its neighbours."""
        return self._own is not None

    def begin(self, number: int, vector: Array, now: float) -> None:
        """Send x_i, `[d]`, to the living neighbours and collect theirs of the same round. Rounds only rise; one that is still open is
        closed first with what has come. `ValueError` for a wrong length, a number that is not finite, or a round not above the last."""
        own = np.array(vector, np.float32)
        if own.shape != (self._size,) or not np.isfinite(own).all():
            raise ValueError(f"the vector of round {number} is not {self._size} finite numbers")
        if number <= self._round:
            raise ValueError(f"round {number} was begun already (the newest is {self._round})")
        self._close()
        self._round, self._closes = number, now + self._deadline
        for kept in self._kept.values():
            for old in [r for r in kept if r < number]:
                del kept[old]
                self.counters["old"] += 1
        self._own = self._publish(own, [neighbour for neighbour in self._weights if neighbour not in self._dead])
        self._close_if_complete()

    def peer_dead(self, peer: str, now: float) -> None:
        """No round waits for `peer` any more, until `peer_alive`; what it sent before counts still."""
        if peer in self._weights:
            self._dead.add(peer)
            self._newest.pop(peer, None)
            self._close_if_complete()

    def peer_alive(self, peer: str, incarnation: int, now: float) -> None:
        """`peer` is there (again): it takes part from the next round on."""
        self._dead.discard(peer)

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Go on after the round that was the newest."""
        self._round = int(state["round"])

    def tick(self, now: float) -> None:
        """Close the round if its deadline has passed."""
        if now >= self._closes:
            self._close()

    def wake(self) -> float:
        """The deadline of the open round."""
        return self._closes

    def _receive(self, src: str, message: Message, arrays: Mapping[str, Array], now: float) -> None:
        if not isinstance(message, Average):
            raise BadMessage("E_DECODE", f"{type(message).__name__} is no message of the averaging")
        if src not in self._weights:
            raise BadMessage("E_UNKNOWN_NODE", f"{src} is no neighbour")
        vector = arrays.get("vector")
        if message.layout != self._layout or vector is None or vector.shape != (self._size,) or vector.dtype != np.dtype("f4"):
            raise BadMessage("E_FRAME", f"{src} averages another layout")
        if not np.isfinite(vector).all():
            raise BadMessage("E_NONFINITE", f"{src} sent a number that is not finite")
        self._refuse_far_ahead(src, message.round)
        self._take(src, message.round, vector)

    def _publish(self, own: Vector, neighbours: Sequence[str]) -> Vector:
        """Send what the round that has just begun with x_i shows to the living neighbours; returns that vector, as they will see it."""
        for neighbour in neighbours:
            self._sends.append(Send(neighbour, Average(round=self._round, layout=self._layout), {"vector": own}))
        return own

    def _combine(self, own: Vector, vectors: Mapping[str, Vector], weights: Mapping[str, float]) -> Combination:
        """What the round makes of the vector that it showed and of those that came; `weights` are those of all neighbours, come or not."""
        delta = np.zeros(self._size)
        for neighbour, vector in vectors.items():
            delta += weights[neighbour] * (vector.astype(np.float64) - own)
        return Combination(delta, tuple(vectors))

    def _refuse_far_ahead(self, src: str, number: int) -> None:
        if number > max(self._round, 0) + FARTHEST:
            raise BadMessage("E_AHEAD", f"{src} claims round {number}, far from {self._round}")

    def _take(self, src: str, number: int, vector: Vector) -> None:
        """Keep what a neighbour shows in a round, and close the open round if it was the last that was awaited."""
        self._newest[src] = max(self._newest.get(src, -1), number)
        kept = self._kept[src]
        if number < self._round or (number == self._round and self._own is None):
            self.counters["old"] += 1
        elif number in kept:
            self.counters["duplicate"] += 1
        else:
            kept[number] = vector
            ahead = sorted(r for r in kept if r > self._round)
            for old in ahead[:-KEPT]:
                del kept[old]
                self.counters["overflow"] += 1
        self._close_if_complete()

    def _close_if_complete(self) -> None:
        # A neighbour two rounds ahead has given up on this one: its vector was lost, waiting for it would only hold everybody back.
        awaited = (
            neighbour
            for neighbour, kept in self._kept.items()
            if self._round not in kept and neighbour not in self._dead and self._newest.get(neighbour, -1) < self._round + 2
        )
        if self._own is not None and next(awaited, None) is None:
            self._close()

    def _close(self) -> None:
        if self._own is None:
            return
        here = {neighbour: self._kept[neighbour].pop(self._round, None) for neighbour in self._weights}
        vectors = {neighbour: vector for neighbour, vector in here.items() if vector is not None}
        combination = self._combine(self._own, vectors, self._weights)
        missing = tuple(neighbour for neighbour in self._weights if neighbour not in combination.used)
        self._own, self._closes = None, inf
        self._events.append(Averaged(self._round, combination.delta, combination.used, missing))
