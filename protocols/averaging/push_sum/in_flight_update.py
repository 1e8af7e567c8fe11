"""What an agent of push-sum has learnt for mass that was on its way.

An agent with the mass w that has learnt D adds w D to its sum: z moves by D. Mass that it has given away and that is not acknowledged
cannot learn: behind a cut, or over slow links, that is most of it, and when it arrives it is what it was when it was given. So the
agent learns for it: with U on the way since longer than a round it keeps

    L += c D,  c = min(1, (1 - w) / U),

that is, it learns for a mass of 1 in all, however much of it is away, and for no more than w where it has more than 1. An offer of the
mass m that was given at L_o and is acknowledged (or comes back from the dead) has missed m (L - L_o): that much is due, and is added to
the sum at the next rounds, by min(1, w) of what is due at a time, since z = y / w would overshoot with little mass. When all is paid, what
all have learnt has moved the sum of all y by sum_i (w_i + c_i U_i) D_i. Stochastic gradient push (Assran et al. 2019) adds D_i at once,
whatever w_i is, and overshoots behind a cut.

A neighbour that was silent and sends again is given what its offers have missed before it takes them, as one more offer without mass
(`OutgoingMass.renew`): what comes out of a cut then is as good as its giver's model, and not first what it was when it was given.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

import numpy as np

from protocols.averaging.push_sum.push_sum_edges import OutgoingMass
from protocols.averaging.vector_arithmetic import Vector
from protocols.conversations.conversation import Array

NOTHING = 0.01
"""mass that is not worth it: what rounding, and the pace of neighbours, make of none"""
PAID = 0.999
"""mass from which all that is due is paid"""


class InFlightUpdate:
    """Learning updates of one agent for mass in flight: L, what was learnt for mass that it has sent, and what is due to be added once
    that is acknowledged."""

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
