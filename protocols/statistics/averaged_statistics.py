"""Sums of statistics by synchronous averaging: the published method, x_i <- sum_j W_ij x_j in rounds that all agents do together.

For comparison, and for networks that lose nothing: a round that misses a neighbour does not keep the mean, and its result is not reported
as complete. Averaging goes in *sessions*. One begins with the current own sums of all agents, when an agent has published, and takes
the others along; its rounds number session * `MOST` + k, k = 1, 2, ... Behind the statistics every agent adds a 1 at its own place, as
in `protocols.statistics.push_sum_statistics`, so that the sum is N x with N the places that are not zero; and the least and largest
projections of `protocols.statistics.agreement_detection` that it has received. Every D rounds these begin with the own projections;
D rounds later they are those of all agents, if D is no less than the diameter of the graph, and all agents compare the same numbers: all
stop in the same round.

Every so many rounds (`report`) an agent makes a sketch of its average before and after: from those of all agents follows how far they
are from the mean, which such averaging keeps, and so from the total.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from math import inf

import numpy as np

from protocols.averaging.averager import Neighbourhood, RoundClosed, part
from protocols.averaging.averaging_messages import Average
from protocols.averaging.projection_sketch import Projection, Sketch
from protocols.averaging.round_deadline import RoundDeadline
from protocols.averaging.synchronous_gossip import Combination, SynchronousAveraging
from protocols.averaging.synchronous_gossip import Vector as Shown
from protocols.conversations.conversation import Array, Send
from protocols.runtime.errors import BadMessage
from protocols.statistics.agreement_detection import FAR, ROWS, ConvergenceTest
from protocols.statistics.statistics_consensus import MixingRoundClosed, StatisticsConsensus, StatisticsTotal, Vector, epoch_of, layout_of
from protocols.wire.messages import Message

MOST = 100_000
"""numbers of rounds that a session has"""
_TAIL = 2 * ROWS
_SKETCH_SEED = 20250729


class _Rounds(SynchronousAveraging):
    """Averages all numbers but the last ones, which are limits: -low and high of each projection, of which the largest are kept."""

    limits: Vector = np.zeros(_TAIL)

    def wait_for_all(self, deadline: float) -> None:
        """Every round waits so long for all neighbours, also those that were late before: a missing vector invalidates the session."""
        self._round_deadline = RoundDeadline(deadline, deadline, patient=True)

    def _combine(self, own: Shown, vectors: Mapping[str, Shown], weights: Mapping[str, float]) -> Combination:
        combination = super()._combine(own, vectors, weights)
        limits = np.array(own[-_TAIL:], np.float64)
        for vector in vectors.values():
            np.maximum(limits, vector[-_TAIL:], out=limits)
        self.limits = limits
        return combination


class AveragedStatistics(StatisticsConsensus):
    """One agent's side of sums by synchronous averaging.

    `neighbourhood` with symmetric weights; `check`: D, no less than the diameter of the graph (None: the number of members less one);
    `most`: rounds after which a session ends that has not agreed; `report`: rounds between two that are reported (`MixingRoundClosed`;
    None: none is). Others as in `protocols.statistics.push_sum_statistics.PushSumStatistics`.
    """

    def __init__(
        self,
        name: str,
        members: Collection[str],
        neighbourhood: Neighbourhood,
        basis: str,
        size: int,
        every: float = 0.0,
        deadline: float = 2.0,
        tolerance: float = 1e-6,
        check: int | None = None,
        most: int = 2000,
        report: int | None = None,
    ) -> None:
        super().__init__()
        self.name, self.basis = name, basis
        self._members = sorted({*members, name})
        self._size = size
        self._places = slice(size, size + len(self._members))
        self._every, self._check, self._most = every, check or max(1, len(self._members) - 1), min(most, MOST - 1)
        if self._check > self._most:
            raise ValueError(f"{self._most} rounds are too few for one check of agreement, which takes {self._check}")
        length = self._places.stop + _TAIL
        self.machine = _Rounds(neighbourhood, layout_of(basis, 0), length, deadline, np.dtype("<f8"))
        self.machine.wait_for_all(deadline)
        self._convergence_test = ConvergenceTest(tolerance)
        self._report = report
        self._projection = Projection(_SKETCH_SEED)
        self._own = np.zeros(size)
        self._x = np.zeros(length)
        self._place = self._places.start + self._members.index(name)
        self._x[self._place] = 1.0
        self._session, self._round = 0, 0
        """number of the session, and k of its round that is open or was closed last; 0: no session goes on"""
        self._broken = False
        self._fired = False
        self._wanted = False
        self._next = self._begun = -inf

    # --- what is asked ------------------------------------------------------------------------------------------------------------

    @property
    def rounds(self) -> int:
        """k of the session that goes on; 0 between two."""
        return self._round

    def publish(self, vector: Array, transitions: int, now: float) -> None:
        """The next session begins with these."""
        self._own, self.published, self._wanted = self._finite(vector, self._size), transitions, True
        self._go_on(now)

    def total(self) -> StatisticsTotal:
        """N x as of the last closed round; complete from the round on in which the stop rule fired, until the next session begins."""
        there = int(np.count_nonzero(self._x[self._places]))
        vector = there * self._x[: self._size]
        vector.flags.writeable = False
        return StatisticsTotal(vector, self._fired, len(self._members) - there, there)

    # --- what happens -------------------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Close the round that is due and begin the next one. `now` in seconds."""
        if now >= self.machine.wake():
            self.machine.tick(now)
        self._go_on(now)

    def wake(self) -> float:
        """The deadline of the open round, or the next one."""
        if self.machine.open:
            return self.machine.wake()
        return self._next if self._round or self._wanted or self._pulled() else inf

    def outgoing(self) -> list[Send]:
        """Messages of the averaging rule that are to be sent now."""
        return [*super().outgoing(), *self.machine.outgoing()]

    def concerns(self, message: Message) -> bool:
        """Averaging of parameters is another conversation."""
        return isinstance(message, Average) and epoch_of(message.layout, self.basis) is not None

    def peer_dead(self, peer: str, now: float) -> None:
        """No round waits for `peer`; one that goes on misses it, and its session is not complete."""
        self.machine.peer_dead(peer, now)
        self._go_on(now)

    def peer_alive(self, peer: str, incarnation: int, now: float) -> None:
        """`peer` takes part from the next session on."""
        self.machine.peer_alive(peer, incarnation, now)

    def settle(self, now: float) -> None:
        """Close the open round."""
        self.machine.close(now)
        self._take(now)

    def state(self) -> dict[str, Array]:
        """Everything, between two rounds."""
        numbers = [self.published, self._session, self._round, self._broken, self._fired, self._wanted, not self.machine.open]
        state = {"own": self._own.copy(), "x": self._x.copy(), "numbers": np.array(numbers, np.int64)}
        return state | {f"machine/{name}": array for name, array in self.machine.state().items()}

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Restore; `ValueError` for what does not fit."""
        try:
            published, session, number, broken, fired, wanted, whole = map(int, state["numbers"])
            own, x = np.array(state["own"], np.float64), np.array(state["x"], np.float64)
        except KeyError as error:
            raise ValueError(f"the state of the sums lacks {error}") from None
        if own.shape != self._own.shape or x.shape != self._x.shape:
            raise ValueError(f"the statistics in the checkpoint are {own.size} numbers of so many members, not {self._size}")
        self.published, self._session, self._round = published, session, number
        self._broken, self._fired, self._wanted = bool(broken) or not whole, bool(fired), bool(wanted)
        self._own, self._x = own, x
        self.machine.load_state(part(state, "machine/"))

    # --- inside -------------------------------------------------------------------------------------------------------------------

    def _receive(self, src: str, message: Message, arrays: Mapping[str, Array], now: float) -> None:
        if not isinstance(message, Average):
            raise BadMessage("E_DECODE", f"{type(message).__name__} is no message of averaging")
        if self._epoch_of(src, message.layout, self.basis) is not None:
            self.machine.receive(src, message, arrays, now)
            self._go_on(now)

    def _pulled(self) -> bool:
        return self.machine.newest_round // MOST > self._session

    def _go_on(self, now: float) -> None:
        """Rounds follow each other until one has to wait."""
        self._take(now)
        while not self.machine.open and now >= self._next:
            if self._pulled():
                self._begin_session(self.machine.newest_round // MOST)
            elif not self._round:
                if not self._wanted:
                    return
                self._begin_session(self._session + 1)
            if (self._round - 1) % self._check == 0:
                projected = self._convergence_test.project(self._sum())
                self._x[-_TAIL:] = np.full(_TAIL, FAR) if self._broken else np.concatenate([-projected, projected])
            self._begun = now
            self.machine.begin(self._session * MOST + self._round, self._x, now)
            self._take(now)

    def _begin_session(self, session: int) -> None:
        self._session, self._round = session, 1
        self._broken = self._fired = self._wanted = False
        self._x[:] = 0.0
        self._x[: self._size] = self._own
        self._x[self._place] = 1.0

    def _take(self, now: float) -> None:
        for event in self.machine.events():
            self._closed(event, now)

    def _closed(self, event: RoundClosed, now: float) -> None:
        if event.round // MOST != self._session:
            return
        reported = self._report is not None and self._round % self._report == 0
        before = self._sketch() if reported else None
        self._x[:-_TAIL] += event.delta[:-_TAIL]
        if before is not None:
            self._events.append(MixingRoundClosed((self._session - 1) * self._most + self._round, np.stack([before, self._sketch()])))
        self._x[-_TAIL:] = self.machine.limits
        self._next = max(now, self._begun + self._every)
        self.counters["rounds"] += 1
        if event.missing and not self._broken:
            self._broken = True
            self.counters["sessions.broken"] += 1
        if self._broken:
            self._x[-_TAIL:] = FAR
        if self._round % self._check == 0 and not self._broken:
            self._fired = self._convergence_test.agree(-self._x[-_TAIL:-ROWS], self._x[-ROWS:])
        if self._fired or self._round >= self._most:
            self.counters["sessions.agreed" if self._fired else "sessions.given_up"] += 1
            self._round = 0
            self._total_changed()
        else:
            self._round += 1

    def _sketch(self) -> Sketch:
        """Of the statistics in x."""
        return self._projection.sketch(self._x[: self._size])

    def _sum(self) -> Vector:
        """N x, `[P + n]`."""
        return int(np.count_nonzero(self._x[self._places])) * self._x[: self._places.stop]
