"""Large populations that average in synchronous rounds: the vectors of all n agents as one array, mixing as a sparse product.

The result is that of the state machines (`simulated_averaging`) where their rounds are synchronous: all messages take equally long, all
agents begin a round at the same time, and begin the next one when all have closed it. Without losses that is so whenever delays are equal.
With losses it is so if the least time between two rounds is longer than their deadline. What is lost is a mask over arcs in each round
(`array_links`), drawn by the same keyed hash. The numbers agree to rounding (`tests/protocols/simulation/test_array_averaging.py`), except
under push-sum once four messages of one neighbour were lost in a row, or four more than have arrived:

- The neighbour is then regularly late, and its receiver closes a round as soon as all others have sent
  (`protocols.averaging.round_deadline`). Its message counts in this round or in the next, by the order of arrival; here it counts in this
  one.
- When it sends again, it may be given one more offer of no mass, for what rounding has made of the vectors meanwhile. Here it is not.

Not modelled: random or unequal delays, and all that makes rounds overlap; repeated, reordered and damaged messages, bandwidth, correlated
losses; partitions, deaths, returns, stragglers; Byzantine agents, robust rules, compression; changing graphs; float32 offers; learning.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from protocols.averaging.averaging_messages import Average, Share
from protocols.averaging.push_sum import POOR
from protocols.averaging.push_sum_edges import SILENT
from protocols.conversations.conversation import Array
from protocols.simulation.array_links import ArrayLinks, Mask
from protocols.simulation.simulated_averaging import AgreementMeasure, PopulationPoint
from protocols.simulation.simulated_network import Network
from protocols.topology.communication_graph import Graph, Pairs, both_ways, pairs_of
from protocols.topology.mixing_rates import mixing
from protocols.wire.messages import Message

Vectors = NDArray[np.float64]


class ArrayAveraging(ABC):
    """Rounds of all agents at once: `begin`, then `close` with what has arrived.

    `x`: models, `[n, d]`, a copy of those at the start. Per-arc arrays have the length m, the number of `arcs`. `ValueError` for a graph
    that changes, or that the rule cannot average over.
    """

    message: ClassVar[type[Message]]
    """what is sent"""

    def __init__(self, graph: Graph, x: Array) -> None:
        if graph.changes:
            raise ValueError("the graph changes from round to round")
        links, n = graph.links(0), len(graph.agents)
        pairs = pairs_of(both_ways(links.arcs))
        self.arcs: Pairs = pairs[:, ::-1]
        """(sender, receiver) of all pairs of neighbours in either direction, by receiver, then sender, `[m, 2]`"""
        self.sources, self.targets = self.arcs[:, 0], self.arcs[:, 1]
        self.in_graph: Mask = np.isin(self.sources * n + self.targets, links.arcs[:, 0] * n + links.arcs[:, 1])
        """whether the graph has the arc: against its direction only acknowledgements are sent, `[m]`"""
        self.x: Vectors = np.array(x, np.float64)
        self.with_vector: Mask = self.in_graph
        """which of the messages of the round have a vector, `[m]`"""
        self._starts = np.concatenate([[0], np.cumsum(np.bincount(self.targets, minlength=n))])

    @property
    @abstractmethod
    def sizes(self) -> tuple[int, int]:
        """Bytes of a message on the wire, with and without its vector."""

    @abstractmethod
    def begin(self) -> Mask:
        """All agents begin a round: over which arcs a message is sent, `[m]`."""

    @abstractmethod
    def close(self, arrived: Mask) -> None:
        """All agents close the round, with the messages over these arcs, `[m]`."""

    @property
    def total(self) -> tuple[float, Vectors] | None:
        """(sum of w, sum of y `[d]`) with what is under way, which push-sum conserves; None in modes without mass."""
        return None


class ArrayGossip(ArrayAveraging):
    """Synchronous gossip (`protocols.averaging.synchronous_gossip`): x_i += sum_j W_ij a_ji (s_j - s_i), with the weights W of
    Metropolis-Hastings, a_ji = 1 if the message from j to i arrives and 0 if not, and s the models as they are sent, in float32."""

    message = Average

    def __init__(self, graph: Graph, x: Array) -> None:
        super().__init__(graph, x)
        if graph.directed:
            raise ValueError("Metropolis-Hastings weights need an undirected graph; average by pushsum")
        weights = mixing(graph.links(0), False).tocoo()
        rows, columns = weights.coords
        order = np.lexsort((columns, rows))
        self._weights = weights.data[order][(rows != columns)[order]]
        shape = (len(self.x), len(self.x))
        self._mixing = csr_array((self._weights.copy(), self.sources, self._starts), shape=shape)
        self._sum = self._mixing.sum(axis=1)

    @property
    def sizes(self) -> tuple[int, int]:
        """Bytes of a message on the wire; none is without a vector."""
        first = Average(inc=1, seq=1, round=0, layout="simulation")
        return Network().size(first, {"vector": np.empty(self.x.shape[1], np.float32)}), 0

    def begin(self) -> Mask:
        """Every agent sends to all its neighbours."""
        return self.in_graph

    def close(self, arrived: Mask) -> None:
        """The configured weight of a neighbour that is missing stays with x_i."""
        if not arrived.all():
            mixing = csr_array((self._weights * arrived, self.sources, self._starts), shape=self._mixing.shape)
            total = mixing.sum(axis=1)
        else:
            mixing, total = self._mixing, self._sum
        shown = self.x.astype(np.float32).astype(np.float64)
        self.x += mixing @ shown - total[:, None] * shown


class ArrayPushSum(ArrayAveraging):
    """Push-sum with running sums (`protocols.averaging.push_sum`): x = y / w.

    In a round an agent gives (y, w) / k over each of its k - 1 open arcs. The state of an arc are the mass that was given and not taken yet
    (S - R), and how many offers were given, taken, and are known to be taken.
    """

    message = Share

    def __init__(self, graph: Graph, x: Array, window: int = 4) -> None:
        super().__init__(graph, x)
        n, m = len(self.x), len(self.arcs)
        self._window = window
        self._back = np.lexsort((self.targets, self.sources))
        """number of the arc against each arc"""
        self._y, self._w = self.x.copy(), np.ones(n)
        self._held, self._held_w = np.zeros((m, self.x.shape[1])), np.zeros(m)
        """S - R"""
        self._given, self._taken, self._acknowledged = np.zeros((3, m), np.int64)
        self._silent = np.zeros(m, np.int64)
        """rounds since the receiver of the arc was last received from by its sender"""
        self._due = np.zeros(m, bool)
        """whether an acknowledgement is to be sent over the arc"""
        self._arcs_of = csr_array((np.ones(m), np.arange(m), self._starts), shape=(n, m))

    @property
    def sizes(self) -> tuple[int, int]:
        """Bytes of a message on the wire, with and without an offer."""
        # A weight is always on the wire, in as many bytes whatever it is.
        first = Share(inc=1, seq=1, round=0, layout="simulation", to=1, number=1, weight=0.5)
        without = Share(inc=1, seq=1, round=1, layout="simulation", to=1, ack=1, weight=0.5)
        return Network().size(first, {"offer": np.empty(self.x.shape[1])}), Network().size(without, {})

    @property
    def total(self) -> tuple[float, Vectors]:
        """(sum of w, sum of y `[d]`) over all agents and arcs."""
        return float(self._w.sum() + self._held_w.sum()), self._y.sum(axis=0) + self._held.sum(axis=0)

    def begin(self) -> Mask:
        """Give, and send offers that are not acknowledged, and acknowledgements."""
        gives = self.in_graph & (self._given - self._acknowledged < self._window)
        count = np.bincount(self.sources, gives, len(self.x))
        poor = self._w < POOR * (count + 1)
        if poor.any():
            gives &= ~poor[self.sources]
            count[poor] = 0.0
        gift, gift_w = self._y / (count + 1)[:, None], self._w / (count + 1)
        if gives.all():
            self._held += gift[self.sources]
        else:
            self._held[gives] += gift[self.sources[gives]]
        self._held_w += np.where(gives, gift_w[self.sources], 0.0)
        self._y -= count[:, None] * gift
        self._w -= count * gift_w
        self._given += gives
        self.with_vector = (self._given > self._acknowledged) & (gives | (self._silent < SILENT))
        return self.with_vector | self.in_graph | self._due

    def close(self, arrived: Mask) -> None:
        """Take all that is given over an arc, if its message with the offer arrives: it is the newest sum."""
        back = self._back
        received = arrived[back]
        self._acknowledged = np.where(received, self._taken, self._acknowledged)
        self._silent = np.where(received, 0, self._silent + self.in_graph[back])
        offered = arrived & self.with_vector
        self._due = offered[back]
        new = offered & (self._given > self._taken)
        self._arcs_of.data[:] = new
        self._y += self._arcs_of @ self._held
        self._w += self._arcs_of @ self._held_w
        self._held[new], self._held_w[new] = 0.0, 0.0
        self._taken = np.where(new, self._given, self._taken)
        self.x = self._y / self._w[:, None]


class ArrayPopulation:
    """Rounds of a population over `links`, and the curve of how it comes to agree: a point for the start and one for each round.

    `every`: least seconds between the beginnings of two rounds. `deadline`: seconds after which a round closes without what is missing.
    Virtual time: a round takes the links' delay, or with losses `deadline`, since it then waits for what is missing.
    """

    def __init__(self, averaging: ArrayAveraging, links: ArrayLinks, every: float = 0.0, deadline: float = 2.0) -> None:
        self.averaging, self.links = averaging, links
        self.rounds = self.sent = self.bytes = self.arrived = self.missing = 0
        self.measure = AgreementMeasure(averaging.x)
        self._sizes = averaging.sizes
        self._lasts = deadline if links.lossy else links.delay
        self._every = every
        self._sends: Mask | None = None
        self.curve = [self.point()]

    @property
    def now(self) -> float:
        """Virtual seconds at the end of the newest round."""
        return (self.rounds - 1) * max(self._every, self._lasts) + self._lasts if self.rounds else 0.0

    def point(self) -> PopulationPoint:
        """Disagreement and progress of the population at present."""
        return PopulationPoint(float(self.rounds), self.now, *self.measure.of(self.averaging.x))

    def round(self) -> PopulationPoint:
        """One round of all agents; where a round takes at least `every`, the next one begins at once, and its messages are sent."""
        sends = self._begin() if self._sends is None else self._sends
        arrived = self.links.arrived(sends)
        self.averaging.close(arrived)
        self.rounds += 1
        self.arrived += int(arrived.sum())
        self.missing += int((self.averaging.in_graph & ~arrived).sum())
        self._sends = self._begin() if self._every <= self._lasts else None
        self.curve.append(self.point())
        return self.curve[-1]

    @property
    def mass_error(self) -> float:
        """As `protocols.simulation.simulated_averaging.Population.mass_error`."""
        total, n = self.averaging.total, len(self.averaging.x)
        if total is None:
            return self.curve[-1].error
        w, y = total
        return max(abs(w - n) / n, self.measure.distance(y / n))

    def _begin(self) -> Mask:
        sends = self.averaging.begin()
        vectors, messages = int((sends & self.averaging.with_vector).sum()), int(sends.sum())
        self.sent += messages
        self.bytes += vectors * self._sizes[0] + (messages - vectors) * self._sizes[1]
        return sends
