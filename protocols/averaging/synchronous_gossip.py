"""Synchronous gossip: in each round every agent moves toward its neighbours, x_i <- x_i + sum_j W_ij (x_j - x_i).

With symmetric, doubly stochastic W (Metropolis-Hastings, `protocols.topology`) and no loss the mean of all x is kept exactly and
the disagreement falls at least by rho = |W - J/n| every round (Xiao and Boyd 2004); in a graph that changes, by that of the rounds'
product. A neighbour that is dead or late contributes nothing to the round: the configured weight stays, its share remains with x_i. Nothing
is repeated, so a lost vector makes its receiver miss a neighbour. Then the mean is not kept, which is this mode's known limit.

A vector with numbers far beyond the own ones (`protocols.averaging.vector_arithmetic.reach`) is refused. The mean is protected from nothing
else: a Byzantine neighbour may move it within that bound in every round.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import inf, isfinite
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from protocols.averaging.averager import Neighbourhood, RoundAverager, RoundClosed, part
from protocols.averaging.averaging_messages import Average
from protocols.averaging.round_deadline import REMEMBERED
from protocols.averaging.vector_arithmetic import magnitude, reach, weighted_differences
from protocols.conversations.conversation import Array, Send
from protocols.runtime.errors import BadMessage
from protocols.wire.messages import Message

Vector = NDArray[np.float32]
"""float64 where statistics are averaged"""
_SINGLE = np.dtype(np.float32)
KEPT = 2
"""newest vectors of rounds to come that are kept per neighbour"""
FARTHEST = 10_000_000
"""rounds that a neighbour may be ahead: more than any run has, since a claim is followed and can't be taken back"""


class KeptVector(NamedTuple):
    """What a neighbour has shown in a round, `[d]`, and the largest magnitude of its numbers."""

    vector: Vector
    largest: float


class Combination(NamedTuple):
    """What a round brings: the move of x_i, `[d]`, and the neighbours whose vectors counted."""

    delta: NDArray[np.float64]
    used: tuple[str, ...]


class SynchronousAveraging(RoundAverager):
    """Rounds of one agent. Modes that work in rounds of the same kind override `_combine`, and `_publish` if they send something else.

    `neighbourhood`: the neighbours, and W_ij of each of them in every round. `layout` and `size`: digest and length of the vectors that are
    accepted, as numbers of `dtype`. `deadline`: seconds after `begin` when a round closes without the missing vectors; for a neighbour that
    is regularly late no round waits so long (`protocols.averaging.round_deadline`).
    """

    def __init__(self, neighbourhood: Neighbourhood, layout: str, size: int, deadline: float = 2.0, dtype: np.dtype[Any] = _SINGLE) -> None:
        super().__init__(neighbourhood, layout, size, deadline, patient=True)
        self._dtype = dtype
        self._dead: set[str] = set()
        self._kept: dict[str, dict[int, KeptVector]] = {neighbour: {} for neighbour in sorted(neighbourhood.all_neighbours)}
        self._newest: dict[str, int] = {}
        self._begun: dict[int, float] = {}
        self._weights: Mapping[str, float] = {}
        self._own: Vector | None = None
        self._checked: Mapping[str, float] | None = None
        self._reach = inf
        """largest number that is accepted; not known before the first round, which looks again"""

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
        own = np.array(vector, self._dtype)
        largest = self._admit(number, own)
        self.close(now)
        weights = self._neighbourhood.weights(number)
        if weights is not self._checked:
            if any(weight < 0 for weight in weights.values()) or sum(weights.values()) > 1 + 1e-9:
                raise ValueError("weights must not be negative, nor sum to more than 1")
            self._checked, self._weights = weights, dict(sorted(weights.items()))
        self._round = number
        self._begun[number] = now
        if len(self._begun) > REMEMBERED:
            del self._begun[next(iter(self._begun))]
        for kept in self._kept.values():
            if kept:
                for old in [r for r in kept if r < number]:
                    del kept[old]
                    self.counters["old"] += 1
        receivers = self._alive(self._neighbourhood.receivers(number))
        expected = self._alive(self._neighbourhood.senders(number))
        self._reach = reach(largest)
        self._own = self._publish(own, receivers)
        self._round_deadline.begin(expected, [name for name in expected if number in self._kept[name]], now)
        self._excuse_the_lost(now)
        self._close_if_complete(now)

    def peer_dead(self, peer: str, now: float) -> None:
        """No round waits for `peer` any more, until `peer_alive`; what it sent before counts still."""
        if peer in self._kept:
            self._dead.add(peer)
            self._newest.pop(peer, None)
            self._round_deadline.forget(peer)
            self._close_if_complete(now)

    def peer_alive(self, peer: str, incarnation: int, now: float) -> None:
        """`peer` is there (again): it takes part from the next round on."""
        self._dead.discard(peer)

    def state(self) -> dict[str, Array]:
        """The newest round, what came for rounds to come, and the pace."""
        state = {"round": np.array(self._round)}
        state |= {f"newest/{name}": np.array(number) for name, number in self._newest.items()}
        state |= {f"kept/{name}/{number}": one.vector for name, kept in self._kept.items() for number, one in kept.items()}
        return state | {f"pacing/{name}": value for name, value in self._round_deadline.state().items()}

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Go on after the round that was the newest."""
        self._round = int(state["round"])
        for name, value in state.items():
            kind, _, rest = name.partition("/")
            if kind == "newest":
                self._newest[rest] = int(value)
            elif kind == "kept":
                neighbour, _, number = rest.rpartition("/")
                if neighbour not in self._kept or value.shape != (self._size,):
                    raise ValueError(
                        f"{name} of shape {value.shape} does not fit {self._size} numbers of the neighbours {', '.join(self._kept)}"
                    )
                vector = np.array(value, self._dtype)
                self._kept[neighbour][int(number)] = KeptVector(vector, magnitude(vector))
        if pace := part(state, "pacing/"):
            self._round_deadline.load_state(pace)

    def _receive(self, src: str, message: Message, arrays: Mapping[str, Array], now: float) -> None:
        if not isinstance(message, Average):
            raise BadMessage("E_DECODE", f"{type(message).__name__} is no message of the averaging")
        if src not in self._kept:
            raise BadMessage("E_UNKNOWN_NODE", f"{src} is no neighbour")
        vector = arrays.get("vector")
        if message.layout != self._layout or vector is None or vector.shape != (self._size,) or vector.dtype != self._dtype:
            raise BadMessage("E_FRAME", f"{src} averages another layout")
        largest = self._magnitude(src, message.round, vector, now)
        self._refuse_far_ahead(src, message.round)
        self._take(src, message.round, KeptVector(vector, largest), now)

    def _alive(self, names: Collection[str]) -> list[str]:
        """Those of them who live, in order."""
        living = sorted(names)
        return [name for name in living if name not in self._dead] if self._dead else living

    def _publish(self, own: Vector, neighbours: Sequence[str]) -> Vector:
        """Send what the round that has just begun with x_i shows to the living neighbours; returns that vector, as they will see it."""
        frames = {"vector": own}
        for neighbour in neighbours:
            self._sends.append(Send(neighbour, Average(round=self._round, layout=self._layout), frames))
        return own

    def _combine(self, own: Vector, vectors: Mapping[str, Vector], weights: Mapping[str, float]) -> Combination:
        """What the round makes of the vector that it showed and of those that came; `weights` are those of all neighbours, come or not."""
        delta = weighted_differences(own, list(vectors.values()), [weights[neighbour] for neighbour in vectors])
        return Combination(delta, tuple(vectors))

    def _magnitude(self, src: str, number: int, vector: Array, now: float) -> float:
        """The largest magnitude in a vector of round `number`; `BadMessage` where it is not averaged."""
        largest = magnitude(vector)
        if not isfinite(largest):
            raise BadMessage("E_NONFINITE", f"{src} sent a number that is not finite")
        if largest <= self._reach:
            return largest
        if number == self._round and self.open:  # no round waits for a vector that has come and does not count
            self._round_deadline.excuse(src)
            self._close_if_complete(now)
        raise BadMessage("E_RANGE", f"{src} averages the number {largest:.3g}, above {self._reach:.3g}")

    def _refuse_far_ahead(self, src: str, number: int) -> None:
        if number > max(self._round, 0) + FARTHEST:
            raise BadMessage("E_AHEAD", f"{src} claims round {number}, far from {self._round}")

    def _take(self, src: str, number: int, shown: KeptVector, now: float) -> None:
        """Keep what a neighbour shows in a round, and close the open round if it was the last that was awaited."""
        if number > self._newest.get(src, -1):
            self._newest[src] = number
        kept, current = self._kept[src], self._round
        if number < current or (number == current and self._own is None):
            self.counters["old"] += 1
            if number in self._begun:
                self._round_deadline.late(now - self._begun[number])
        elif number in kept:
            self.counters["duplicate"] += 1
        else:
            kept[number] = shown
            if number == current:
                self._round_deadline.arrived(src, now)
            else:
                self._round_deadline.early(src)
            if len(kept) > KEPT:
                for old in sorted(r for r in kept if r > current)[:-KEPT]:
                    del kept[old]
                    self.counters["overflow"] += 1
        if number > current:
            self._excuse_the_lost(now)
        if self._own is not None and now >= self._round_deadline.closes:
            self._close(now)

    def _excuse_the_lost(self, now: float) -> None:
        # A neighbour two rounds ahead has given up on this one: its vector was lost, waiting for it would delay all agents.
        # From one that is a round ahead it is lost too, unless links change the order.
        current = self._round
        for neighbour, newest in self._newest.items():
            if newest > current and current not in self._kept[neighbour]:
                if newest >= current + 2:
                    self._round_deadline.excuse(neighbour)
                else:
                    self._round_deadline.probably_lost(neighbour, now)

    def _close(self, now: float) -> None:
        if self._own is None:
            return
        vectors = {}
        number, kept = self._round, self._kept
        for neighbour in self._weights:
            shown = kept[neighbour].pop(number, None)
            if shown is not None and shown.largest <= self._reach:
                vectors[neighbour] = shown.vector
            elif shown is not None:
                self.counters["bad.E_RANGE"] += 1
        combination = self._combine(self._own, vectors, self._weights)
        used = combination.used
        missing = () if len(used) == len(self._weights) else tuple(neighbour for neighbour in self._weights if neighbour not in used)
        self._own = None
        self._events.append(RoundClosed(number, combination.delta, used, missing, self._round_deadline.close(now)))
