"""A population that averages: every agent begins a round when its last is closed, and nothing is learnt in between.

Without learning the vectors must come to the mean of those at the start, so that every departure from it is an error of the averaging.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from math import inf

import numpy as np
from numpy.typing import NDArray

from protocols.averaging.averager import Averager, RoundClosed
from protocols.averaging.push_sum import PushSum
from protocols.simulation.simulated_network import Network, NodeScript

IDLE = 0.01
"""seconds until an agent without answers begins its next round"""


class AveragingScript(NodeScript):
    """One agent's rounds. As in a process, an agent that finds between two rounds that a neighbour has begun a later one joins it."""

    def __init__(self, machine: Averager, x: NDArray[np.float64], every: float = 0.0, closed: Callable[[RoundClosed], None] | None = None):
        """`x` `[d]` is moved in place; `every`: least seconds between the beginnings of two rounds; `closed` is called with every round."""
        self.machine = machine
        self.conversations = (machine,)
        self.x = x
        self.round: int | None = None
        """number of the newest closed round; None while it is unrelated to the rounds of the others"""
        self._every = every
        self._closed = closed
        self._next = -inf

    def turn(self, now: float) -> None:
        """Apply what has closed and begin what is due."""
        machine = self.machine
        self._apply()
        if machine.open:  # an agent two rounds ahead has ended it already: the rule of the machine
            return
        pulled = machine.newest_round > machine.round
        if not pulled and now < self._next:
            return
        machine.begin(machine.newest_round if pulled else machine.round + 1, self.x, now)
        self._next = now + self._every
        if not machine.open:  # it closed at once: without living neighbours
            self._apply()
            self._next = max(self._next, now + IDLE)

    def wake(self) -> float:
        """Virtual seconds at which the next round begins; infinite while a round is open, which has a deadline of its own."""
        return inf if self.machine.open else self._next

    def _apply(self) -> None:
        for event in self.machine.events():
            self.x += event.delta
            # A new incarnation begins with round 0 before it has received the round of the others.
            if event.round or self.machine.newest_round <= 1:
                self.round = event.round
            if self._closed is not None:
                self._closed(event)


@dataclass(frozen=True)
class PopulationPoint:
    """Progress and disagreement of the population at one virtual time."""

    rounds: float
    """closed rounds for each agent, on average"""
    time: float
    """virtual seconds"""
    disagreement: float
    """root mean square distance to the population's mean, as a share of that at the start"""
    error: float
    """distance of that mean from the mean at the start, as a share of the same"""


class AgreementMeasure:
    """How far the vectors of a population `[n, d]` are from each other, and their mean from that at the start. Distances are shares of the
    root mean square distance to the mean at the start (of 1, where that is 0)."""

    def __init__(self, x: NDArray[np.float64]) -> None:
        self._target = x.mean(axis=0)
        self._spread = float(np.sqrt(np.square(x - self._target).sum(axis=1).mean())) or 1.0

    def of(self, x: NDArray[np.float64]) -> tuple[float, float]:
        """(root mean square distance to the mean, distance of the mean to that at the start)."""
        mean = x.mean(axis=0)
        return float(np.sqrt(np.square(x - mean).sum(axis=1).mean())) / self._spread, self.distance(mean)

    def distance(self, mean: NDArray[np.float64]) -> float:
        """Distance of `mean`, `[d]`, to the mean at the start."""
        return float(np.sqrt(np.square(mean - self._target).sum())) / self._spread


class Population:
    """Agents by name with random vectors, `[n, d]` standard normal, and the curve of how they come to agree.

    A point is taken every time as many rounds were closed as there are agents.
    """

    def __init__(self, network: Network, machines: Mapping[str, Averager], x: NDArray[np.float64], every: float = 0.0) -> None:
        self.network = network
        self.x = x
        self.curve: list[PopulationPoint] = []
        self.closed = 0
        self.missing = 0
        self.observe: Callable[[str, RoundClosed], None] | None = None
        """if set, called with every round that an agent has closed and applied"""
        self._measure = AgreementMeasure(x)
        self._next = 0
        self._machines = machines
        self._every = every

    def script(self, name: str, row: int) -> AveragingScript:
        """The script of one agent, whose vector is a row of `x`."""
        return AveragingScript(*self.part(name, row))

    def part(self, name: str, row: int) -> tuple[Averager, NDArray[np.float64], float, Callable[[RoundClosed], None]]:
        """What such a script is made of."""
        return self._machines[name], self.x[row], self._every, partial(self._count, name)

    def point(self) -> PopulationPoint:
        """Disagreement and progress of the population at the present simulated time."""
        return PopulationPoint(self.closed / len(self.x), self.network.now, *self._measure.of(self.x))

    def agreed(self, tolerance: float) -> bool:
        """Whether the newest point of the curve is within `tolerance`; takes a point when it is time."""
        if self.closed >= self._next:
            self._next = self.closed + len(self.x)
            self.curve.append(self.point())
        return bool(self.curve) and self.curve[-1].disagreement <= tolerance

    def mass_error(self, neighbours: Callable[[str], Collection[str]]) -> float:
        """For push-sum the larger of |sum w + under way - n| / n and of the same of y, as a share of the spread at the start: what nodes
        hold and edges carry is all that there ever was. For other modes the distance of the mean from that at the start."""
        weight, total = 0.0, np.zeros(self.x.shape[1])
        for name, machine in self._machines.items():
            if not isinstance(machine, PushSum):
                return self.point().error
            weight += machine.mass
            total += machine.sum
            for peer in neighbours(name):
                other = self._machines[peer]
                here, there = machine.edge(peer), other.edge(name) if isinstance(other, PushSum) else None
                if here is None or there is None:
                    continue
                given, taken = here.outgoing, there.incoming
                same = given.base == taken.base  # else the sum has begun anew, when nothing was under way
                weight += given.weight - (taken.weight if same else 0.0)
                if given.total is not None:
                    total += given.total
                if taken.total is not None and same:
                    total -= taken.total
        n = len(self.x)
        return max(abs(weight - n) / n, self._measure.distance(total / n))

    def _count(self, name: str, event: RoundClosed) -> None:
        self.closed += 1
        self.missing += len(event.missing)
        if self.observe is not None:
            self.observe(name, event)
