"""Push-sum with running sums and a window: the exact mean, whatever links lose, repeat, delay or reorder, in graphs of any direction.

Agent i holds y_i (`[d]`, float64) and a mass w_i; its model is z_i = y_i / w_i. With w = 1 at the start everywhere, all z_i tend to the
mean of the models that the agents began with, plus what they have learnt (Kempe, Dobra and Gehrke 2003; running sums: Vaidya,
Hadjicostis and Dominguez-Garcia 2011). In a round, which is each agent's own affair,

1. learning since the last round has moved the model by D: y += w D, so that z moves by D however small w is; what it has learnt for mass
   that is on its way follows when that has arrived (`protocols.averaging.push_sum_edges.InFlightUpdate`);
2. it shares with its open neighbours: each of k - 1 open edges is given (y, w) / k. An edge is open to a living neighbour, if the graph has
   it in this round, while fewer than `window` offers over it are unacknowledged (and the mass is at least `POOR` after it);
3. every neighbour is sent the sum of all offers (`protocols.averaging.push_sum_edges`), again and again while it is unacknowledged; a
   silent one (no message for `SILENT` rounds) is sent acknowledgements only, and an up-to-date sum when it sends again;
4. when the neighbours that it waits for have sent (`protocols.averaging.round_deadline`), it adds what it has received, and the model
   moves to y / w.

At every instant sum_i w_i + sum_edges (S^w_ij - R^w_ji) is constant, and the same of y. A cut needs no special treatment: its edges close.
When a neighbour dies, what it was given and has not acknowledged returns; its successor begins with y = 0, w = 0 (`rejoin`), and
takes its model from the first share, or its own again where no neighbour has mass to give (`IsolationPolicy`).
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

import numpy as np

from protocols.averaging.averager import LIGHT, Neighbourhood, RoundAverager, RoundClosed, part
from protocols.averaging.averaging_messages import Leave, Share
from protocols.averaging.isolation_policy import IsolationPolicy
from protocols.averaging.push_sum_edges import FOUND, JUMP, OFFERS, InFlightUpdate, PushSumEdge, give, shares
from protocols.averaging.vector_arithmetic import LEAST_REACH, Accumulator, Vector, magnitude, reach
from protocols.conversations.conversation import Array
from protocols.runtime.errors import BadMessage, InvariantError
from protocols.wire.codec import LARGEST
from protocols.wire.messages import Message

FARTHEST = 10_000_000
"""rounds that a neighbour may be ahead of what is known of it"""
POOR = 1e-3
"""mass below which nothing is given away: with many neighbours and none that answers, w would fall by 1 / k in every round"""
VANISHED = 1e-9
"""mass below which the machine has lost some: it can't come there by its own rules"""
LOOK = 64
"""offers between two looks at the length of the sum"""
LONGEST_SUM = 2**20
"""offers in one sum"""
LARGEST_SUM = 1e6
"""|S| / |y| at which the sum begins anew, since 10 digits of each share are lost in it"""
COARSE_SUM = 50
"""offers in one sum of float32 numbers"""


class PushSum(RoundAverager):
    """Rounds of one agent.

    `neighbourhood`: receivers and senders of every round. `layout` and `size`: digest and length of the vectors that are
    accepted. `deadline`: longest wait of a round in seconds. `window`: unacknowledged offers per edge. `offers`: float64 or float32, in
    which offers travel. `incarnation`: of this process; 0 if there are no others. `rejoin`: begin without mass. `ValueError` for others.
    """

    def __init__(
        self,
        neighbourhood: Neighbourhood,
        layout: str,
        size: int,
        deadline: float = 2.0,
        window: int = 4,
        offers: str = "float64",
        incarnation: int = 0,
        rejoin: bool = False,
    ) -> None:
        super().__init__(neighbourhood, layout, size, deadline, patient=False)
        if not 1 <= window <= JUMP // 2 or offers not in OFFERS:
            raise ValueError(f"a window is from 1 to {JUMP // 2} (not {window}), offers are {' or '.join(OFFERS)} (not {offers!r})")
        self._window, self._incarnation = window, incarnation
        self._dtype = OFFERS[offers]
        self._sums = COARSE_SUM if offers == "float32" else LONGEST_SUM
        self._known = frozenset(neighbourhood.all_neighbours)
        self._edges: dict[str, PushSumEdge] = {name: PushSumEdge(0) for name in sorted(self._known)}
        self._open = False
        self._overtaken = -1
        """newest round of a neighbour when the newest own one was closed"""
        self.mass = 0.0 if rejoin else 1.0
        """w: the model is y / w"""
        self._account = self.mass
        """mass that it began with, and what edges that are closed, and sums that were begun anew, have brought it"""
        self.ready = not rejoin
        """it has a model: from the start, or since it came back and was given `LIGHT` of the mass"""
        self._in_flight_update = InFlightUpdate()
        self._isolation_policy = IsolationPolicy()
        self._leaving = False
        self._reach = inf if rejoin else LEAST_REACH
        """largest number that a mass of 1 may bring; an agent that came back has no numbers of its own to compare with"""
        self._vectors = Accumulator(size)

    # --- what is asked ------------------------------------------------------------------------------------------------------------

    @property
    def newest_round(self) -> int:
        """`round`, since each agent counts its own rounds; an agent without mass takes the count of its neighbours."""
        return self._round if self.mass > 0 else max(self._round, self._newest_received)

    @property
    def next_round(self) -> int:
        """At least the newest round of a neighbour, and more than one that was ahead when the own round ended: counts that differ after a
        partition or because of slow agents become equal again."""
        return max(self._round + 1, self._overtaken + 1, self._newest_received)

    @property
    def open(self) -> bool:
        """Whether a round is waiting for its neighbours."""
        return self._open

    @property
    def away(self) -> float:
        """Unacknowledged mass sent before the newest round."""
        return sum(edge.outgoing.away(self._round) for edge in self._edges.values())

    @property
    def sum(self) -> Vector:
        """y, `[d]` float64: a view on the live state; the model is y / w."""
        return self._vectors.y

    @property
    def model(self) -> Vector:
        """z = y / w as of the last closed round, `[d]`; a view that changes."""
        return self._vectors.z

    @property
    def mass_error(self) -> float:
        """|w - (account + sum_edges (R^w - S^w))|: what rounding, deaths and returns of neighbours have made of the mass. The sum over all
        agents bounds the error of the total, since R at one end of an edge is a copy of an earlier S at the other."""
        return abs(self.mass - self._account - self._net())

    def _net(self) -> float:
        """sum_edges (R^w - S^w)."""
        return sum(edge.incoming.weight - edge.outgoing.weight for edge in self._edges.values())

    def edge(self, peer: str) -> PushSumEdge | None:
        """The edge to a living neighbour: for those who check invariants."""
        return self._edges.get(peer)

    # --- rounds -------------------------------------------------------------------------------------------------------------------

    def begin(self, number: int, vector: Array, now: float) -> None:
        """Move the model to `vector`, `[d]`, give to all open neighbours, and send to all. Rounds only rise; one that is still open is
        closed first with what has come. `ValueError` for a wrong length, a number that is not finite, or a round not above the last."""
        largest = self._admit(number, vector)
        self.close(now)
        self._reach = reach(largest) if self.ready else inf
        away = self.away
        for event in self._events:  # moves that the agent has not taken yet, and cannot have made
            vector = vector + event.delta
        former, self._round = self._round, number
        edges = self._edges
        receivers = self._neighbourhood.receivers(number)
        senders = self._neighbourhood.senders(number)
        expected, here, giving = [], [], []
        for name, edge in edges.items():
            if name in senders:
                expected.append(name)
                if edge.fresh:
                    here.append(name)
            if name in receivers and self._gives(edge):
                giving.append(edge)
        if self.mass < POOR * (len(giving) + 1):
            giving = []
        if self._in_flight_update.learn(vector, self._vectors.z, self.mass, away):
            for edge in edges.values():
                edge.outgoing.arrives(former, self._in_flight_update.learnt)
        self._in_flight_update.pay(self._vectors.y, self.mass)
        for edge in edges.values():
            if edge.silent == FOUND:
                edge.silent = 0
                if (
                    len(edge.outgoing.pending) <= self._window
                    and (rest := edge.outgoing.renew(self._in_flight_update.learnt, number)) is not None
                ):
                    self._vectors.y += rest
        self.mass = give(self._vectors, vector, self.mass, giving, self._dtype, number, self._in_flight_update.learnt)
        self._sends += shares(edges, receivers, number, self._layout)
        self._open = True
        self._round_deadline.begin(expected, here, now)
        self._close_if_complete(now)

    def inject(self, amount: Array) -> None:
        """y += `amount`, `[d]`, whatever the mass: the sum over all agents grows by exactly this. The model moves when a round closes."""
        self._vectors.y += amount

    def hand_over(self, peer: str) -> None:
        """Give everything to a living neighbour and take nothing more: the agent is about to leave. Its offers are repeated in every round
        until they are acknowledged (`given`). `KeyError` if `peer` does not live."""
        self._in_flight_update.pay(self._vectors.y, 1.0)
        outgoing, y = self._edges[peer].outgoing, self._vectors.y
        before: Array | float = 0.0 if outgoing.total is None else outgoing.total.astype(np.float64)
        total = (before + y).astype(self._dtype)
        y -= total - before
        outgoing.give(total, outgoing.weight + self.mass)
        self.mass, self._leaving = 0.0, True

    @property
    def given(self) -> bool:
        """Whether every living neighbour is known to have taken all that it was given."""
        return not any(edge.outgoing.pending for edge in self._edges.values())

    def peer_dead(self, peer: str, now: float) -> None:
        """That process of `peer` is gone: what it did not acknowledge returns, and nothing of it counts any more."""
        edge = self._edges.pop(peer, None)
        if edge is None:
            return
        self._in_flight_update.missed(edge.outgoing)
        total, weight = edge.outgoing.untaken()
        if total is not None:
            self._vectors.y += total
            self.mass += weight
        self._account += edge.incoming.weight - edge.outgoing.acked_weight
        self._round_deadline.forget(peer)
        self._close_if_complete(now)

    def peer_alive(self, peer: str, incarnation: int, now: float) -> None:
        """`peer` is there, as this incarnation: its edges begin with nothing, unless it is the one that was there before."""
        if peer not in self._known:
            return
        edge = self._edges.get(peer)
        if edge is not None and edge.incarnation in (0, incarnation):
            edge.incarnation = incarnation
            return
        self.peer_dead(peer, now)
        self._edges = dict(sorted([*self._edges.items(), (peer, PushSumEdge(incarnation))]))

    # --- checkpoints --------------------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Array]:
        """Everything, between two rounds; `ValueError` while one is open.

        Incarnations are left out: after `load_state` each edge goes on with whatever process of the neighbour `peer_alive` names first.
        """
        if self._open:
            raise ValueError(f"round {self._round} is open: push-sum has no state to keep before it is closed")
        own = {
            "round": np.array(self._round),
            "mass": np.array(self.mass),
            "overtaken": np.array(self._overtaken),
            "ready": np.array(self.ready),
            "y": self._vectors.y.copy(),
            "z": self._vectors.z.copy(),
        }
        own |= {f"alone/{name}": value for name, value in self._isolation_policy.state(sorted(self._known)).items()}
        own |= {f"credit/{name}": vector for name, vector in self._in_flight_update.state().items()}
        own |= {f"pacing/{name}": value for name, value in self._round_deadline.state().items()}
        return own | {f"edge/{peer}/{name}": value for peer, edge in self._edges.items() for name, value in edge.state().items()}

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Restore; `ValueError` for what does not fit."""
        peers = sorted({name.split("/")[1] for name in state if name.startswith("edge/")})
        strangers = [peer for peer in peers if peer not in self._known]
        if strangers or any(name not in state or state[name].shape != (self._size,) for name in ("y", "z")):
            raise ValueError(f"the state is not that of averaging {self._size} numbers with {', '.join(sorted(self._known))}")
        try:
            edges = {peer: PushSumEdge.restored(part(state, f"edge/{peer}/"), self._size) for peer in peers}
            self._round_deadline.load_state(part(state, "pacing/"))
            self._round, self.mass = int(state["round"]), float(state["mass"])
            self._overtaken, self.ready = int(state["overtaken"]), bool(state["ready"])
            self._isolation_policy.load_state(part(state, "alone/"), sorted(self._known))
            self._in_flight_update.load_state(part(state, "credit/"))
        except (KeyError, IndexError) as error:
            raise ValueError(f"the averaging's state lacks {error}") from None
        self._vectors.y[...], self._vectors.z[...] = state["y"], state["z"]
        self._reach = reach(magnitude(self._vectors.z)) if self.ready else inf
        # Edges with the same past share one sum, as they did: it is computed, and rounded, once for all of them.
        sums: dict[bytes, Array] = {}
        for edge in edges.values():
            if edge.outgoing.total is not None:
                edge.outgoing.total = sums.setdefault(edge.outgoing.total.tobytes(), edge.outgoing.total)
            edge.outgoing.refer_to(self._in_flight_update.learnt)
            edge.incarnation = 0
        self._edges = edges
        self._account = self.mass - self._net()
        self._open = False

    # --- inside -------------------------------------------------------------------------------------------------------------------

    @property
    def _newest_received(self) -> int:
        """The newest round of any neighbour."""
        return max((edge.newest for edge in self._edges.values()), default=-1)

    def _receive(self, src: str, message: Message, arrays: Mapping[str, Array], now: float) -> None:
        if type(message) is not Share:
            if type(message) is Leave:
                self._left(src, message, now)
                return
            raise BadMessage("E_DECODE", f"{type(message).__name__} is no message of push-sum")
        edge = self._edges.get(src)
        if edge is None:
            if src not in self._known:
                raise BadMessage("E_UNKNOWN_NODE", f"{src} is no neighbour")
            self.counters["stale"] += 1
            return
        known, mine = edge.incarnation, self._incarnation
        if (message.inc != known and known and message.inc) or (message.to != mine and mine and message.to):
            self.counters["stale"] += 1
            return
        if message.layout != self._layout:
            raise BadMessage("E_FRAME", f"{src} averages another layout")
        outgoing, incoming = edge.outgoing, edge.incoming
        number, ack, newest = message.round, message.ack, edge.newest
        if ack > outgoing.number or (number > newest + FARTHEST and number > max(self._round, 0) + FARTHEST):
            raise BadMessage("E_AHEAD", f"{src} claims round {number} and to have taken {ack} of {outgoing.number} offers")
        # Without a vector it only acknowledges, though its newest offer may not have arrived: over an edge that the graph does not use.
        if arrays and message.number > incoming.offer_number:
            offer = arrays.get("offer")
            incoming.check(src, message, offer, self._size, self._reach)
            if offer is not None:
                incoming.keep(message, offer)
        elif arrays:
            self.counters["old"] += 1
            edge.ack_due = True
        if ack > outgoing.acked:
            self._in_flight_update.missed(outgoing, ack)
            outgoing.acknowledge(ack)
        if number > newest:
            edge.received(number)
            if edge.fresh < 2:
                edge.fresh += 1
                self._round_deadline.arrived(src, now)
                if self._open and now >= self._round_deadline.closes:
                    self._close(now)

    def _left(self, src: str, message: Leave, now: float) -> None:
        """A neighbour has gone in order: what it did not take returns."""
        edge = self._edges.get(src)
        if edge is None or message.layout != self._layout or (message.inc != edge.incarnation and edge.incarnation and message.inc):
            self.counters["stale"] += 1
            return
        if message.ack > edge.outgoing.number:
            raise BadMessage("E_AHEAD", f"{src} claims to have taken {message.ack} of {edge.outgoing.number} offers")
        self._in_flight_update.missed(edge.outgoing, message.ack)
        edge.outgoing.acknowledge(message.ack)
        self.peer_dead(src, now)

    def _gives(self, edge: PushSumEdge) -> bool:
        """Whether an edge is open; a sum that has grown too long is begun anew as soon as all of it is acknowledged."""
        outgoing = edge.outgoing
        length = outgoing.number - outgoing.base
        if length >= self._sums or (length % LOOK == 0 and length and self._too_large(outgoing.total)):
            if outgoing.pending:
                return False
            self._account -= outgoing.weight
            outgoing.rebase()
        return len(outgoing.pending) < self._window

    def _too_large(self, total: Array | None) -> bool:
        return total is not None and magnitude(total) > min(LARGEST / 10, LARGEST_SUM * magnitude(self._vectors.y))

    def _close(self, now: float) -> None:
        """Add all that was received; an event reports the move of the model."""
        self._open, self._overtaken = False, self._newest_received
        edges = self._edges
        senders = self._neighbourhood.senders(self._round)
        used = []
        missing = []
        taken = []
        w = self.mass
        for name, edge in edges.items():
            incoming = edge.incoming
            new = incoming.offer is not None and not self._leaving
            if new:
                self._account += incoming.weight if incoming.offer_base != incoming.base else 0.0
                total, before, weight = incoming.take()
                taken.append((total, before))
                w += weight
                edge.ack_due = True
            if name in senders:
                if new or edge.fresh:
                    used.append(name)
                else:
                    missing.append(name)
                if edge.fresh:
                    edge.fresh -= 1
                    if w == 0:
                        self._isolation_policy.received(name)
                elif edge.silent != FOUND:
                    edge.silent += 1
            elif new:
                used.append(name)
        if len(edges) < len(self._known):
            missing += [name for name in senders if name not in edges]
        self.mass = w
        self.ready |= w >= LIGHT
        if w > 0:
            delta = self._vectors.take(taken, 1.0 / w)
            if w < VANISHED and edges:
                raise InvariantError(
                    f"push-sum's mass has fallen to {w:g} in round {self._round}, though no agent gives away mass below {POOR:g}: "
                    "some was lost, and the mean with it. Restart this agent: it then takes its model from a neighbour"
                )
        else:
            delta = np.zeros(self._size)
            if not self._leaving and self._isolation_policy.closed(senders, edges):
                self.mass, self.ready = 1.0, True
                self._account += 1.0 - w
                np.copyto(self._vectors.y, self._vectors.z)
        self._events.append(RoundClosed(self._round, delta, tuple(used), tuple(missing), self._round_deadline.close(now)))
