"""Sums of statistics by push-sum: constant memory; after the first exchange statistics are mixed; any loss and delay.

The machine is `PushSum` as models are averaged with it. What makes averages into sums:

- every agent adds a 1 at its own place behind the statistics. In a mixture of mass w those places hold w_j / w > 0 for every agent j in it,
  and the sum of the statistics is N s / w, N the places that are not zero: the mass at the start, agents that have left since included;
- new data are added to the sum as they are (`PushSum.inject`), so that total mass stays exact;
- a mean survives the death of an agent, a sum does not: with its mass a mixture of all data is gone. An agent that has exchanged mass
  with a neighbour that died begins a new *epoch*, which all others follow as soon as they receive its number: all start again from their
  own sums. An agent that returns starts so too, in the epoch of the others. (Models take theirs from the neighbours: `rejoin`.)
- an agent that leaves in order (`leave`) hands its mass over first; no epoch ends.

A total is `complete` while all who are in it are in it in equal parts (their places are 1 / N), all living neighbours among them, and the
own estimate agrees with the newest word of every one of them (`protocols.statistics.agreement_detection`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from math import inf

import numpy as np

from protocols.averaging.averager import Neighbourhood, part
from protocols.averaging.averaging_messages import Average, Leave, Share
from protocols.averaging.push_sum import PushSum
from protocols.conversations.conversation import Array, Send
from protocols.runtime.errors import BadMessage
from protocols.statistics.agreement_detection import ROWS, AgreementDetector, ConvergenceTest, Projected
from protocols.statistics.ledger import Ledger
from protocols.statistics.ledger_messages import LedgerDigest, LedgerEntry, LedgerPull
from protocols.statistics.statistics_consensus import (
    PREFIX,
    NewerEpoch,
    StatisticsConsensus,
    StatisticsTotal,
    TotalChanged,
    Vector,
    layout_of,
)
from protocols.wire.messages import Message

_WORDS = (LedgerDigest, LedgerPull, LedgerEntry)
REST = 20.0
"""times longer are the pauses between rounds when there is nothing left to do"""


class PushSumStatistics(StatisticsConsensus):
    """One agent's side of sums by push-sum.

    `members`: all that may take part; `neighbourhood`: whom it exchanges mass with. `every`: seconds between two rounds. `tolerance`: of
    the stop rule. `deadline`: longest wait of a round, and of `leave`.
    """

    def __init__(
        self,
        name: str,
        members: Collection[str],
        neighbourhood: Neighbourhood,
        basis: str,
        size: int,
        random: np.random.Generator,
        incarnation: int = 1,
        every: float = 0.1,
        deadline: float = 2.0,
        tolerance: float = 1e-6,
        window: int = 4,
    ) -> None:
        super().__init__()
        self.name, self.basis, self.epoch = name, basis, 0
        self.left = False
        """whether nothing keeps the agent any more, after `leave`"""
        self._members = sorted({*members, name})
        self._neighbourhood, self._size, self._random = neighbourhood, size, random
        self._incarnation, self._every, self._deadline, self._window = incarnation, every, deadline, window
        self._convergence_test = ConvergenceTest(tolerance)
        self._incarnations: dict[str, int] = dict.fromkeys(sorted(neighbourhood.all_neighbours), 0)
        """living neighbours and their incarnations (0: not known)"""
        self._own = np.zeros(size)
        self._projected: Projected | None = None
        self._next = self._begun = -inf
        self._leaving: float | None = None
        self._gone: set[str] = set()
        """neighbours that have left in order"""
        self._begin_epoch(0, -inf)

    # --- what is asked ------------------------------------------------------------------------------------------------------------

    @property
    def mass(self) -> float:
        """w, the push-sum weight of the agent."""
        return self.machine.mass

    def publish(self, vector: Array, transitions: int, now: float) -> None:
        """Add what the own sums have grown by since they were published last."""
        own = self._finite(vector, self._size)
        self.published = transitions
        self._inject(own - self._own)
        self._own = own
        self._next = min(self._next, now)

    def total(self) -> StatisticsTotal:
        """N s / w as of the last closed round."""
        estimate = self._estimate()
        origins = self._taking_part()
        complete = self._complete(estimate, origins)
        vector = estimate[: self._size]
        vector.flags.writeable = False
        return StatisticsTotal(vector, complete, len(self._members) - len(origins), len(origins))

    def leave(self, now: float) -> None:
        """Hand everything over to a neighbour. `left`: whether the agent may end, when all is taken or after the deadline."""
        if self._leaving is None:
            self._leaving = now + self._deadline
            self._agreement.words.forget(self.name, now)
            self._hand_over(now)

    # --- what happens -------------------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Begin and close rounds, and report the estimate when it has converged."""
        if now >= self.machine.wake():
            self.machine.tick(now)
        self._agreement.words.tick(now)
        self._go_on(now)

    def wake(self) -> float:
        """The next round or word."""
        return min(self.machine.wake() if self.machine.open else self._next, self._agreement.words.wake())

    def outgoing(self) -> list[Send]:
        """Of the machine and of the words."""
        return [*super().outgoing(), *self.machine.outgoing(), *self._agreement.words.outgoing()]

    def concerns(self, message: Message) -> bool:
        """Averaging of parameters is another conversation."""
        return not isinstance(message, (Share, Average)) or message.layout.startswith(PREFIX)

    def peer_dead(self, peer: str, now: float) -> None:
        """A neighbour is gone: in disorder, and the epoch ends, if mass of it is here or of the own was there."""
        if self._incarnations.pop(peer, None) is None:
            return
        edge = self.machine.edge(peer)
        mixed = edge is not None and (edge.incoming.number > 0 or edge.outgoing.acked > 0)
        self.machine.peer_dead(peer, now)
        self._agreement.words.peer_dead(peer, now)
        if mixed and peer not in self._gone:
            self.counters["epochs.ended"] += 1
            self._begin_epoch(self.epoch + 1, now)
        self._gone.discard(peer)
        self._go_on(now)

    def peer_alive(self, peer: str, incarnation: int, now: float) -> None:
        """A neighbour is there (again): it begins with its own sums and a mass of 1."""
        if peer not in self._neighbourhood.all_neighbours:
            return
        if self._incarnations.get(peer, incarnation) not in (0, incarnation):
            self.peer_dead(peer, now)
        self._incarnations[peer] = incarnation
        self._gone.discard(peer)
        self.machine.peer_alive(peer, incarnation, now)
        self._agreement.words.peer_alive(peer, incarnation, now)
        self._next = min(self._next, now)

    def settle(self, now: float) -> None:
        """Close the open round."""
        self.machine.close(now)
        self._go_on(now, begin=False)

    def state(self) -> dict[str, Array]:
        """Everything, while no round is open; else only what the agent itself has published."""
        state = {"own": self._own.copy(), "published": np.array([self.published, self.epoch, not self.machine.open], np.int64)}
        if not self.machine.open:
            state |= {f"machine/{name}": array for name, array in self.machine.state().items()}
            state |= {f"words/{name}": array for name, array in self._agreement.words.state().items()}
        return state

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Restore the state that all agents restore together: an agent that returns alone starts anew."""
        try:
            published, epoch, whole = map(int, state["published"])
            own = np.array(state["own"], np.float64)
        except KeyError as error:
            raise ValueError(f"the state of the sums lacks {error}") from None
        if own.shape != (self._size,):
            raise ValueError(f"the own statistics in the checkpoint are {own.size} numbers, not {self._size}")
        self._begin_epoch(epoch, -inf)
        self.published, self._own = published, own
        if not whole:
            self._inject(own)
            return
        self.machine.load_state(part(state, "machine/"))
        self._agreement.words.load_state(part(state, "words/"))
        self._projected = None
        for peer, incarnation in self._incarnations.items():
            self.machine.peer_alive(peer, incarnation, -inf)

    # --- inside -------------------------------------------------------------------------------------------------------------------

    def _receive(self, src: str, message: Message, arrays: Mapping[str, Array], now: float) -> None:
        if isinstance(message, _WORDS):
            self._agreement.words.receive(src, message, arrays, now)
        elif isinstance(message, (Share, Leave)):
            epoch = self._epoch_of(src, message.layout, self.basis)
            if epoch is None:
                return
            if src not in self._neighbourhood.all_neighbours:
                raise BadMessage("E_UNKNOWN_NODE", f"{src} is no neighbour")
            if epoch < self.epoch:
                self.counters["epoch_past"] += 1
                return
            if epoch > self.epoch:
                self._begin_epoch(epoch, now)
            if isinstance(message, Leave):
                self._gone.add(src)
            self.machine.receive(src, message, arrays, now)
            if not self.machine.open and self._next > now + self._every and self._is_news(src):
                self._next = now + self._every
        else:
            raise BadMessage("E_DECODE", f"{type(message).__name__} is no message of sums by push-sum")
        self._go_on(now)

    def _begin_epoch(self, epoch: int, now: float) -> None:
        """Start again from the own sums, with the neighbours that live."""
        size = self._size + len(self._members)
        layout = layout_of(self.basis, epoch)
        self.epoch = epoch
        self.machine = PushSum(self._neighbourhood, layout, size, self._deadline, self._window, incarnation=self._incarnation)
        neighbours = self._neighbourhood.all_neighbours
        words = Ledger(
            self.name, self._members, neighbours, layout, ROWS, self._random, self._incarnation, every=4.0 * self._every
        )  # fmt: skip
        if epoch:
            words.begin_epoch(epoch, now)
        for peer in neighbours:
            if peer in self._incarnations:
                self.machine.peer_alive(peer, self._incarnations[peer], now)
            else:
                self.machine.peer_dead(peer, now)
                words.peer_dead(peer, now)
        self._agreement = AgreementDetector(words, self._convergence_test)
        self._projected = None
        place = np.zeros(size)
        place[self._size + self._members.index(self.name)] = 1.0
        self.machine.inject(place)
        self._inject(self._own)
        self._next = now
        self._events.append(TotalChanged())

    def _inject(self, amount: Vector) -> None:
        self.machine.inject(np.concatenate([amount, np.zeros(len(self._members))]))

    def _hand_over(self, now: float) -> None:
        if self._incarnations and self.machine.mass > 0:
            self.machine.hand_over(min(self._incarnations))
        self._next = now

    def _go_on(self, now: float, begin: bool = True) -> None:
        for event in self._agreement.words.events():
            if isinstance(event, NewerEpoch) and event.epoch > self.epoch:
                self._begin_epoch(event.epoch, now)
        if self.machine.events():
            self._projected = None
            self._total_changed()
            if self._leaving is None:
                self._agreement.report(self._project(), now)
            self._next = max(now, self._begun + self._every * (REST if self._at_rest() else 1.0))
        if self._leaving is not None and not self.left:
            self._try_to_leave(now)
        if begin and not self.machine.open and now >= self._next and not self.left:
            self._next, self._begun = inf, now
            # The model itself, to the last bit: else rounding would be taken for something learnt.
            self.machine.begin(self.machine.round + 1, self.machine.model, now)
            if not self.machine.open:
                self._go_on(now, begin=False)

    def _is_news(self, src: str) -> bool:
        """Whether what a neighbour offers is another mixture than the own one."""
        edge = self.machine.edge(src)
        if edge is None or edge.incoming.offer is None:
            return False
        into, model = edge.incoming, self.machine.model
        same = into.offer_base == into.base
        weight = into.offer_weight - (into.weight if same else 0.0)
        offered = into.offer - into.total if same and into.total is not None else into.offer
        if weight <= 0.0 or offered is None:
            return False
        # Finer than any rule by which the neighbour may find that it has not agreed yet.
        return bool(np.abs(offered - weight * model).max() > 0.1 * weight * self._convergence_test.tolerance / len(self._members))

    def _at_rest(self) -> bool:
        """Whether there is nothing that rounds could still change."""
        return self._leaving is None and self.machine.given and self._complete(self._estimate(), self._taking_part())

    def _taking_part(self) -> list[str]:
        """Whose mass is in the own estimate."""
        places = self.machine.model[self._size :]
        return [member for member, place in zip(self._members, places, strict=True) if place > 0.0]

    def _estimate(self) -> Vector:
        """N z, `[P + n]`."""
        return len(self._taking_part()) * self.machine.model

    def _project(self) -> Projected:
        """Projections of the estimate, which changes only when a round closes."""
        if self._projected is None:
            self._projected = self._convergence_test.project(self._estimate())
        return self._projected

    def _complete(self, estimate: Vector, origins: list[str]) -> bool:
        places = estimate[self._size :]
        uneven = np.abs(places[places > 0.0] - 1.0)
        if not set(origins) >= self._incarnations.keys() or not self._agreement.began() or uneven.max() > self._convergence_test.tolerance:
            return False
        return self._agreement.reached(self._project(), origins)

    def _try_to_leave(self, now: float) -> None:
        if self._leaving is None:
            return
        if self.machine.mass > 0:  # the heir has died, or is another epoch's
            self._hand_over(now)
        if self.machine.given and self.machine.mass == 0.0:
            for peer in self._incarnations:
                edge = self.machine.edge(peer)
                if edge is not None:
                    self._sends.append(Send(peer, Leave(layout=layout_of(self.basis, self.epoch), ack=edge.incoming.number)))
            self.left = True
        elif now >= self._leaving:
            self.counters["left.in_disorder"] += 1
            self.left = True
