"""Averaging machines in virtual time: each agent begins its next round some time after the last one has closed, over links that lose,
repeat and delay (and thereby reorder), with processes that die and return. Everything is drawn from one seed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from heapq import heappop, heappush
from random import Random
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from protocols.averaging.averager import Averager, FixedNeighbourhood, RoundClosed
from protocols.averaging.push_sum import PushSum
from protocols.averaging.push_sum_edges import IncomingMass, OutgoingMass, PushSumEdge

LAYOUT = "layout"


def in_flight(outgoing: OutgoingMass, incoming: IncomingMass) -> tuple[NDArray[Any] | float, float]:
    """S^y - R^y (0.0 for nothing) and S^w - R^w between the two ends of an edge: what one has given and the other has not taken."""
    total: NDArray[Any] | float = 0.0 if outgoing.total is None else outgoing.total.astype(np.float64)
    if outgoing.base != incoming.base:  # the other has taken all up to the base, and doesn't know that the sum began anew
        return total, outgoing.weight
    return total - (0.0 if incoming.total is None else incoming.total), outgoing.weight - incoming.weight


def ring(n: int) -> dict[str, FixedNeighbourhood]:
    """A ring, with the weights of Metropolis-Hastings."""
    names = [f"agent-{i}" for i in range(n)]
    return {names[i]: FixedNeighbourhood({names[i - 1]: 1 / 3, names[(i + 1) % n]: 1 / 3}) for i in range(n)}


class AveragingNetwork:
    """`make(name, incarnation, rejoin)` is an agent's machine. `delay`: seconds of a message, uniform; `pause[name]`: seconds from the end
    of a round to the beginning of the next. `touched(name)` is called after whatever happens to an agent."""

    def __init__(
        self,
        x: Mapping[str, np.ndarray],
        make: Callable[[str, int, bool], Averager],
        seed: int,
        loss: float = 0.0,
        duplicate: float = 0.0,
        delay: tuple[float, float] = (0.001, 0.02),
        pause: Mapping[str, float] | float = 0.01,
    ) -> None:
        self.make, self.loss, self.duplicate, self.delay = make, loss, duplicate, delay
        self.pause = dict.fromkeys(x, pause) if isinstance(pause, float) else dict(pause)
        self.x = {name: np.array(vector) for name, vector in x.items()}
        self.incarnation = dict.fromkeys(x, 1)
        self.machines = {name: make(name, 1, False) for name in x}
        self.dead: dict[str, Averager] = {}
        self.last: dict[str, RoundClosed] = {}
        self.rounds = dict.fromkeys(x, 0)
        self.cut: set[tuple[str, str]] = set()
        self.touched: Callable[[str], None] = lambda name: None
        self.learn: Callable[[str], np.ndarray | float] = lambda name: 0.0
        self.most = 10**9
        self.now = 0.0
        self._random = Random(seed)
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = 0
        for name in x:
            for other in x:
                if other != name:
                    self.machines[name].peer_alive(other, 1, 0.0)
            self.at(self._random.random() * 0.01, self._begins(name))

    def at(self, time: float, action: Callable[[], None]) -> None:
        self._order += 1
        heappush(self._heap, (time, self._order, action))

    def run(self, until: float = 1e9, rounds: int = 10**9, happenings: int = 10**7) -> None:
        """Until that time, until every agent has done so many rounds, or until nothing happens any more."""
        for _ in range(happenings):
            if all(self.rounds[name] >= rounds for name in self.machines):
                return
            if not self._heap or self._heap[0][0] > until:
                self.now = min(until, 1e9)
                return
            self.now, _, action = heappop(self._heap)
            action()
        raise AssertionError("it does not end")

    def settle(self) -> None:
        """No new rounds; let everything that is on its way arrive."""
        self.most = 0
        self.run()

    def kill(self, name: str) -> None:
        """The process is gone; no node is notified."""
        self.dead[name] = self.machines.pop(name)

    def tell_death(self, name: str, others: Iterable[str] | None = None) -> None:
        for other in list(self.machines) if others is None else others:
            if other in self.machines:
                self.machines[other].peer_dead(name, self.now)
                self._after(other)

    def start(self, name: str, x: np.ndarray) -> None:
        """A new process of that agent joins again, and all nodes are notified."""
        self.incarnation[name] += 1
        self.x[name] = x
        self.machines[name] = self.make(name, self.incarnation[name], True)
        self.dead.pop(name, None)
        self.rounds[name] = 0
        for other in list(self.machines):
            if other != name:
                self.machines[other].peer_alive(name, self.incarnation[name], self.now)
                self.machines[name].peer_alive(other, self.incarnation[other], self.now)
                self._after(other)
        self.at(self.now, self._begins(name))

    def _begins(self, name: str) -> Callable[[], None]:
        incarnation = self.incarnation[name]

        def begin() -> None:
            if name in self.machines and self.incarnation[name] == incarnation and self.rounds[name] < self.most:
                machine = self.machines[name]
                self.x[name] = self.x[name] + self.learn(name)
                machine.begin(max(machine.round + 1, machine.newest_round), self.x[name], self.now)
                self._after(name)

        return begin

    def _after(self, name: str) -> None:
        machine = self.machines[name]
        for event in machine.events():
            self.x[name] = self.x[name] + event.delta
            self.last[name] = event
            self.rounds[name] += 1
            self.at(self.now + self.pause[name], self._begins(name))
        if machine.open and machine.wake() > self.now:
            self.at(machine.wake(), self._ticks(name, machine))
        for send in machine.outgoing():
            if (name, send.dst) in self.cut:
                continue
            message = msgspec.structs.replace(send.message, inc=self.incarnation[name])
            for _ in range(1 + (self._random.random() < self.duplicate)):
                if self._random.random() >= self.loss:
                    self.at(self.now + self._random.uniform(*self.delay), self._arrives(name, send.dst, message, send.arrays))
        self.touched(name)

    def _ticks(self, name: str, machine: Averager) -> Callable[[], None]:
        def tick() -> None:
            if self.machines.get(name) is machine and machine.open and self.now >= machine.wake():
                machine.tick(self.now)
                self._after(name)

        return tick

    def _arrives(self, src: str, dst: str, message: Any, arrays: Any) -> Callable[[], None]:
        def arrive() -> None:
            machine = self.machines.get(dst)
            if machine is not None:
                machine.receive(src, message, arrays, self.now)
                self._after(dst)

        return arrive


class Ledger:
    """The invariant of push-sum, `[d + 1]`, kept up to date with every happening: sum_i (y_i, w_i) + sum_edges ((S^y, S^w) - (R^y, R^w)).

    An edge counts while both of its ends mean each other, be it that one has died and the other does not know; otherwise what its living
    giver holds as unacknowledged.
    """

    def __init__(self, network: AveragingNetwork, spread: float = 1.0) -> None:
        self.network = network
        self.worst = 0.0
        self.least_mass = 1.0
        self.spread = spread
        self._size = len(next(iter(network.x.values())))
        self._others = {name: sorted(network.machines[name]._neighbourhood.all_neighbours) for name in network.x}  # type: ignore[attr-defined]
        self._row = {name: i for i, name in enumerate(network.x)}
        for name, others in self._others.items():
            for other in others:
                self._row[f"{name} {other}"] = len(self._row)
        self._rows = np.zeros((len(self._row), self._size + 1))
        self.membership()
        network.touched = self.check

    def membership(self) -> None:
        """Agents have begun, or died: keep this value from now on."""
        for name in self.network.x:
            self._update(name)
        self.start = self._rows.sum(axis=0)

    @contextmanager
    def change(self) -> Iterator[None]:
        """The invariant may change in this block."""
        self.network.touched = self._update
        yield
        self.membership()
        self.network.touched = self.check

    def check(self, name: str) -> None:
        self._update(name)
        error = float(np.abs(self._rows.sum(axis=0) - self.start).max()) / self.spread
        self.worst = max(self.worst, error)
        assert error <= 1e-9, f"the invariant is off by {error:g} after {name} at {self.network.now:g} s"

    @property
    def mass(self) -> float:
        """Of all together."""
        return float(self._rows[:, -1].sum())

    def _update(self, name: str) -> None:
        row = self._rows[self._row[name]]
        machine = self.network.machines.get(name)
        if isinstance(machine, PushSum):
            row[:-1], row[-1] = machine.sum, machine.mass
            if machine.mass > 0:
                self.least_mass = min(self.least_mass, machine.mass)
        else:
            row[:] = 0.0
        for other in self._others[name]:
            self._edge(name, other)
            self._edge(other, name)

    def _edge(self, giver: str, taker: str) -> None:
        row = self._rows[self._row[f"{giver} {taker}"]]
        edge, back = self._end(giver, taker), self._end(taker, giver)
        if edge is None or (back is None and giver in self.network.dead):
            row[:] = 0.0
        elif back is None:
            y, w = edge.outgoing.untaken()
            row[:-1], row[-1] = 0.0 if y is None else y, w
        else:
            row[:-1], row[-1] = in_flight(edge.outgoing, back.incoming)

    def _end(self, name: str, other: str) -> PushSumEdge | None:
        machine = self.network.machines.get(name) or self.network.dead.get(name)
        edge = machine.edge(other) if isinstance(machine, PushSum) else None
        return edge if edge is None or edge.incarnation == self.network.incarnation[other] else None
