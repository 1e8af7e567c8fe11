"""The two halves of an edge of push-sum: what an agent gives to a neighbour, and what it has taken from it; the messages of a round;
and what the agent has learnt for mass that is on its way (`InFlightUpdate`).

Offers are running sums. S_ij is all that i has given to j since offer number `base`, R_ji all of it that j has taken; on arrival of a newer
offer j takes S_ij - R_ji. So a lost offer is contained in the next one, and a repeated or overtaken one changes nothing. Sums begin anew
(the edge is rebased) when all offers are acknowledged: then S = R at both ends, both are set to zero, and the number of the last
offer is the new base. It can only be a number that the receiver has taken, so the receiver can check it.

Giving is exact: an agent loses S_new - S_old as its floating-point numbers are, which for |S_old| >= |share| is computed without error
(Dekker 1971), rather than the share that was to be given. What rounding keeps from the neighbour stays with the giver, in float32
as in float64.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from math import inf, isfinite
from typing import Any, NamedTuple

import numpy as np

from protocols.averaging.averaging_messages import Share
from protocols.averaging.vector_arithmetic import Accumulator, EdgeTransfer, Vector, magnitude
from protocols.conversations.conversation import Array, Send
from protocols.runtime.errors import BadMessage

JUMP = 64
"""offers that can't be in flight over one edge: more than the largest window"""
SILENT = 4
"""rounds without a word of a neighbour after which the edge is silent: offers are not repeated over it"""
FOUND = -1
"""`PushSumEdge.silent` of a neighbour that was silent, and has sent again since the last round began"""
HEAVIEST = 1e4
"""mass that no single offer brings: all agents together have as much as there are agents"""
OFFERS: dict[str, np.dtype[Any]] = {"float64": np.dtype("<f8"), "float32": np.dtype("<f4")}
"""dtypes that offers travel in, by their names in the settings"""
AGAIN = 4
"""rounds until an unacknowledged offer is repeated over an edge that the graph does not use meanwhile"""
NOTHING = 0.01
"""mass that is not worth it: what rounding, and the pace of neighbours, make of none"""
PAID = 0.999
"""mass from which all that is due is paid"""
_DTYPES = frozenset(OFFERS.values())
_DOUBLE = OFFERS["float64"]


class PushSumOffer(NamedTuple):
    """An offer that is not acknowledged."""

    number: int
    total: Array
    """S^y, `[d]`"""
    weight: float
    """S^w"""
    round: int
    """of the giver, in which it was given"""
    learnt: Array | None
    """L of the giver at the time of the offer, which contains nothing learnt later, `[d]`; None is zero"""


class OutgoingMass:
    """Sender's half of an edge: the running sums of all mass given to one neighbour, and the offers that are not acknowledged."""

    __slots__ = ("acked", "acked_total", "acked_weight", "base", "number", "pending", "said", "total", "weight")

    def __init__(self) -> None:
        self.number = self.base = self.acked = 0
        self.total: Array | None = None
        """S^y, `[d]`; None is zero. Never written to: it is sent as it is"""
        self.weight = 0.0
        """S^w"""
        self.acked_total: Array | None = None
        self.acked_weight = 0.0
        self.pending: list[PushSumOffer] = []
        """offers that are not acknowledged; no more than a window and one, so that a list is smaller than a deque by far"""
        self.said = -1
        """round in which the newest offer was sent last; -1: it was not"""

    def give(self, total: Array, weight: float, round: int = 0, learnt: Array | None = None) -> None:
        """One more offer: S is now this. `round`, `learnt`: as in `PushSumOffer`."""
        self.number += 1
        self.said = -1
        self.total, self.weight = total, weight
        self.pending.append(PushSumOffer(self.number, total, weight, round, learnt))

    def acknowledge(self, number: int) -> None:
        """The neighbour has received all offers up to `number`: remove them from the pending ones."""
        pending = self.pending
        while pending and pending[0].number <= number:
            self.acked, self.acked_total, self.acked_weight, *_ = pending.pop(0)

    def away(self, before: int) -> float:
        """Mass that was given before that round, and is not known to be taken."""
        last = self.acked_weight
        for offer in self.pending:
            if offer.round >= before:
                break
            last = offer.weight
        return last - self.acked_weight

    def arrives(self, since: int, learnt: Array | None) -> None:
        """Offers of that round and later are taken for such that have arrived: they miss nothing before `learnt`."""
        pending = self.pending
        for number, offer in enumerate(pending):
            if offer.round >= since:
                pending[number] = offer._replace(learnt=learnt)

    def renew(self, learnt: Array | None, round: int) -> Vector | None:
        """One more offer, of no mass, that brings the pending ones to where the giver has come since: S += sum_o m_o (L - L_o), `[d]`, with
        L = `learnt`. Returns what rounding leaves to the giver; None if they miss nothing."""
        missed = None if learnt is None else self.missed(learnt, inf)
        if missed is None or self.total is None:
            return None
        before = self.total.astype(np.float64)
        self.arrives(0, learnt)
        self.give((before + missed).astype(self.total.dtype), self.weight, round, learnt)
        return missed - (self.total.astype(np.float64) - before)

    def refer_to(self, learnt: Array | None) -> None:
        """Offers that miss nothing refer to this very array, as before they were kept: `missed` then makes no zeros of them."""
        for number, offer in enumerate(self.pending):
            if learnt is not None and offer.learnt is not None and np.array_equal(offer.learnt, learnt):
                self.pending[number] = offer._replace(learnt=learnt)

    def missed(self, learnt: Array, number: float) -> Array | None:
        """sum_o m_o (L - L_o), `[d]`, over the pending offers o up to `number`, of mass m_o each: the growth of L = `learnt`
        that they do not contain. None for zero."""
        missed, before = None, self.acked_weight
        for offer in self.pending:
            mass, before = offer.weight - before, offer.weight
            if offer.number <= number and offer.learnt is not learnt:
                part = mass * (learnt if offer.learnt is None else learnt - offer.learnt)
                missed = part if missed is None else missed + part
        return missed

    def rebase(self) -> None:
        """Begin a new sum; only when nothing is pending."""
        self.base = self.number
        self.total = self.acked_total = None
        self.weight = self.acked_weight = 0.0

    def untaken(self) -> tuple[Array | None, float]:
        """What was given and is not known to be taken: S^y - S^y of the last acknowledged offer, and the same of S^w."""
        if not self.pending:
            return None, 0.0
        total = self.pending[-1].total.astype(np.float64)
        if self.acked_total is not None:
            total -= self.acked_total
        return total, self.weight - self.acked_weight


class IncomingMass:
    """What an agent has from one neighbour: R, and the newest offer beyond it."""

    __slots__ = ("base", "number", "offer", "offer_base", "offer_number", "offer_weight", "total", "weight")

    def __init__(self) -> None:
        self.number = self.base = 0
        self.total: Array | None = None
        """R^y, `[d]`; None is zero"""
        self.weight = 0.0
        """R^w"""
        self.offer: Array | None = None
        """newest S^y that is not taken yet"""
        self.offer_number = self.offer_base = 0
        self.offer_weight = 0.0

    def check(self, src: str, share: Share, offer: Array | None, size: int, reach: float) -> None:
        """Raise `BadMessage` unless a newer offer fits what is known of the edge, and brings no number above `reach` for a mass of 1."""
        if offer is None or offer.shape != (size,) or (offer.dtype is not _DOUBLE and offer.dtype not in _DTYPES):
            raise BadMessage("E_FRAME", f"{src} offers no vector of {size} floats")
        number, base = self.number, share.base
        if share.number > number + JUMP:
            raise BadMessage("E_AHEAD", f"{src} claims offer {share.number}, and {number} is the last that was taken")
        if base == self.base:
            least = self.weight
        elif base == number:
            least = 0.0
        else:
            raise BadMessage("E_AHEAD", f"{src} sums from offer {base}, not from {self.base} or {number}")
        if not least <= share.weight <= least + HEAVIEST:
            raise BadMessage("E_FRAME", f"{src} offers the mass {share.weight - least:g}")
        brought = magnitude(offer if self.total is None or base != self.base else offer - self.total)
        if not isfinite(brought):
            raise BadMessage("E_NONFINITE", f"{src} offers a number that is not finite, or too large")
        if brought > reach * max(1.0, share.weight - least):
            raise BadMessage("E_RANGE", f"{src} offers the number {brought:.3g}, above {reach:.3g}")

    def keep(self, share: Share, offer: Array) -> None:
        """An offer that is newer than all others."""
        self.offer, self.offer_number, self.offer_base, self.offer_weight = offer, share.number, share.base, share.weight

    def take(self) -> tuple[Array, Array | None, float]:
        """Take the newest offer: S^y, R^y before (None: zero) and S^w - R^w."""
        if self.offer is None:
            raise ValueError("there is no new offer")
        if self.offer_base != self.base:
            self.base, self.total, self.weight = self.offer_base, None, 0.0
        taken = self.offer, self.total, self.offer_weight - self.weight
        self.number, self.total, self.weight = self.offer_number, self.offer, self.offer_weight
        self.offer = None
        return taken


class PushSumEdge:
    """Both halves of the edge to one neighbour, with the incarnation of the neighbour that they belong to."""

    __slots__ = ("ack_due", "fresh", "incarnation", "incoming", "newest", "outgoing", "silent")

    def __init__(self, incarnation: int) -> None:
        self.incarnation = incarnation
        """of the neighbour; 0: not known, any"""
        self.outgoing = OutgoingMass()
        self.incoming = IncomingMass()
        self.newest = -1
        """the neighbour's newest round"""
        self.fresh = 0
        """rounds of the neighbour that arrived since the own round closed: 0 to 2, since two neighbours that wait for each other are
        never further apart"""
        self.silent = 0
        """rounds since its last message; or `FOUND`"""
        self.ack_due = False
        """it may not know what was taken from it"""

    def received(self, round: int) -> None:
        """A message of the neighbour arrived, of a newer round than all before."""
        self.newest = round
        self.silent = FOUND if self.silent >= SILENT or self.silent == FOUND else 0

    def state(self) -> dict[str, Array]:
        """Everything."""
        out, into = self.outgoing, self.incoming
        state: dict[str, Array] = {
            "numbers": np.array(
                [
                    *(self.incarnation, self.newest, self.fresh, self.silent, self.ack_due),
                    *(out.number, out.base, out.acked, out.said),
                    *(into.number, into.base, into.offer_number, into.offer_base),
                    *(offer.number for offer in out.pending),
                    *(offer.round for offer in out.pending),
                ],
                np.int64,
            ),
            "weights": np.array(
                [out.weight, out.acked_weight, into.weight, into.offer_weight, *(offer.weight for offer in out.pending)], np.float64
            ),
            "pending": np.array([offer.total for offer in out.pending]),
        }
        if any(offer.learnt is not None for offer in out.pending):
            state["learnt"] = np.array([np.zeros(offer.total.size) if offer.learnt is None else offer.learnt for offer in out.pending])
        named = {"out": out.total, "acked": out.acked_total, "taken": into.total, "offer": into.offer}
        return state | {name: array for name, array in named.items() if array is not None}

    @classmethod
    def restored(cls, state: Mapping[str, Array], size: int) -> PushSumEdge:
        """The edge of such a state; `KeyError` or `ValueError` for what does not fit."""
        numbers, weights = list(map(int, state["numbers"])), list(map(float, state["weights"]))
        edge = cls(numbers[0])
        out, into = edge.outgoing, edge.incoming
        edge.newest, edge.fresh, edge.silent, edge.ack_due = *numbers[1:4], bool(numbers[4])
        out.number, out.base, out.acked, out.said = numbers[5:9]
        into.number, into.base, into.offer_number, into.offer_base = numbers[9:13]
        out.weight, out.acked_weight, into.weight, into.offer_weight = weights[:4]

        def vector(name: str) -> Array | None:
            array = state.get(name)
            if array is not None and array.shape != (size,):
                raise ValueError(f"{name} is no vector of {size} numbers")
            return None if array is None else np.array(array)

        out.total, out.acked_total, into.total, into.offer = map(vector, ("out", "acked", "taken", "offer"))
        learnt = state.get("learnt", [None] * len(weights[4:]))
        offers, rounds = numbers[13 : 13 + len(weights[4:])], numbers[13 + len(weights[4:]) :]
        out.pending.extend(
            PushSumOffer(*parts) for parts in zip(offers, np.array(state["pending"]), weights[4:], rounds, learnt, strict=True)
        )
        if out.pending:
            out.total = out.pending[-1].total
        return edge


def give(
    vectors: Accumulator,
    vector: Array,
    mass: float,
    edges: Collection[PushSumEdge],
    dtype: np.dtype[np.floating],
    round: int,
    learnt: Vector | None,
) -> float:
    """y += w (x - z), z = x, and then (y, w) / k over each of these edges, k - 1 of them, as numbers of `dtype`. x: `vector`, `[d]`; w:
    `mass`. Returns what is left of it. `round`, `learnt`: as in `PushSumOffer`."""
    part = 1.0 / (len(edges) + 1)
    share = mass * part
    # Edges whose sums are the same array: nearly always all of them.
    sums: dict[int, tuple[Array | None, list[OutgoingMass]]] = {}
    for edge in edges:
        sums.setdefault(id(edge.outgoing.total), (edge.outgoing.total, []))[1].append(edge.outgoing)
    gifts: list[EdgeTransfer] = [(total, np.empty(vector.size, dtype), len(same)) for total, same in sums.values()]
    vectors.give(vector, mass, part, gifts)
    for (_, new, _), (_, same) in zip(gifts, sums.values(), strict=True):
        for outgoing in same:
            weight = outgoing.weight + share
            mass -= weight - outgoing.weight
            outgoing.give(new, weight, round, learnt)
    return mass


def shares(edges: Mapping[str, PushSumEdge], receivers: Collection[str], round: int, layout: str) -> Iterator[Send]:
    """To all receivers, and to others whom it is due to: what was given, and what was taken."""
    frames: dict[str, Array] = {}
    for name, edge in edges.items():
        outgoing, receives = edge.outgoing, name in receivers
        again = edge.silent < SILENT and (receives or round - outgoing.said >= AGAIN)
        offers = outgoing.pending and (again or outgoing.said < 0)
        if not (offers or receives or edge.ack_due):
            continue
        share = Share(
            round=round,
            layout=layout,
            to=edge.incarnation,
            number=outgoing.number,
            base=outgoing.base,
            weight=outgoing.weight,
            ack=edge.incoming.number,
        )
        edge.ack_due = False
        total = outgoing.total
        if offers and total is not None:
            outgoing.said = round
            if frames.get("offer") is not total:
                frames = {"offer": total}
            yield Send(name, share, frames)
        else:
            yield Send(name, share)


class InFlightUpdate:
    """What one agent has learnt for mass that was on its way.

    An agent with the mass w that has learnt D adds w D to its sum: z moves by D. Mass that it has given away and that is not acknowledged
    cannot learn: behind a cut, or over slow links, that is most of it, and when it arrives it is what it was when it was given. So the
    agent learns for it: with U on the way since longer than a round it keeps

        L += c D,  c = min(1, (1 - w) / U),

    that is, it learns for a mass of 1 in all, however much of it is away, and for no more than w where it has more than 1. An offer of the
    mass m that was given at L_o and is acknowledged (or comes back from the dead) has missed m (L - L_o): that much is due, and is added to
    the sum at the next rounds, by min(1, w) of what is due at a time, since z = y / w would overshoot with little mass. When all is paid,
    what all have learnt has moved the sum of all y by sum_i (w_i + c_i U_i) D_i. Stochastic gradient push (Assran et al. 2019) adds D_i at
    once, whatever w_i is, and overshoots behind a cut.

    A neighbour that was silent and sends again is given what its offers have missed before it takes them, as one more offer without mass
    (`OutgoingMass.renew`): what comes out of a cut then is as good as its giver's model, and not first what it was when it was given.
    """

    def __init__(self) -> None:
        self.learnt: Vector | None = None
        """L, `[d]`; None is zero. Never written to: offers refer to it"""
        self.due: Vector | None = None
        """`[d]`; None is nothing"""

    @staticmethod
    def share(w: float, away: float) -> float:
        """c = min(1, (1 - w) / away): the share of a learning step that belongs to mass in flight; 0 where w or `away` leaves none."""
        lacks = 1.0 - w
        return min(1.0, lacks / away) if lacks >= NOTHING and away >= NOTHING else 0.0

    def learn(self, model: Array, former: Vector, w: float, away: float) -> bool:
        """The agent's model has moved from `former` to `model`, `[d]`, by learning, while `away` was on its way. Whether L has changed."""
        share = self.share(w, away)
        moved = model - former if share else None
        if moved is None or not moved.any():
            return False
        self.learnt = share * moved if self.learnt is None else self.learnt + share * moved
        return True

    def missed(self, outgoing: OutgoingMass, number: float = inf) -> None:
        """Pending offers up to `number` are with an agent that can learn: what they have missed is due. Before they are acknowledged."""
        if self.learnt is not None and (missed := outgoing.missed(self.learnt, number)) is not None:
            self.due = missed if self.due is None else self.due + missed

    def pay(self, y: Vector, w: float) -> None:
        """Add what is due to the sum, as much of it as may be at once."""
        if self.due is not None:
            share = w if w < PAID else 1.0
            y += share * self.due
            self.due = None if share == 1.0 else (1.0 - share) * self.due

    def state(self) -> dict[str, Array]:
        """`learnt` and `due`, `[d]` each, for a checkpoint; a zero vector is left out."""
        named = {"learnt": self.learnt, "due": self.due}
        return {name: vector for name, vector in named.items() if vector is not None}

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Inverse of `state`: vectors that are missing become zero."""
        self.learnt, self.due = (np.array(state[name]) if name in state else None for name in ("learnt", "due"))
