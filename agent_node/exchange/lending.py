"""Teachers that negotiate: a goal that mine proposes is pursued by a neighbour in the same world, if that suits both policies better.

Whoever has a new goal calls for bids on it; a neighbour bids with the goal that it pursues itself. With V_i(s_i, g) what the policy of
agent i expects of goal g, two goals change hands where that raises the sum of what both policies expect by more than `margin`:

    gain = V_i(s_i, g_j) + V_j(s_j, g_i) - V_i(s_i, g_i) - V_j(s_j, g_j)

Each teacher learns from its own goals, whoever has pursued them. The conversation is `protocols.negotiation.contract_net`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from agent_node.contracts import Array, Lender, Outcome, Valuing
from agent_node.settings import ContractNetSettings
from protocols.negotiation.contract_net import Awarded, Bid, Bids, Called, ContractNet, Event, Reported, Taken, Task

KEPT = 16
"""times K: calls of others, and own goals away, that are kept in mind; the oldest are forgotten"""
Place = tuple[int, int]
"""a copy, and a goal there"""


class GoalLending:
    """One agent's side; `machine` is the conversation. `encodings[|G| + 1, L]`: goals as the policy sees them. `first`: what the own goals
    are numbered from, so that those of another life have other numbers."""

    def __init__(
        self,
        settings: ContractNetSettings,
        name: str,
        neighbours: Collection[str],
        teacher: Lender,
        learner: Valuing,
        encodings: NDArray[np.float32],
        first: int,
    ) -> None:
        self.machine = ContractNet(name, neighbours, settings.deadline)
        self._margin = settings.margin
        self._teacher, self._learner = teacher, learner
        self._encodings = encodings
        self._first = first
        copies = len(teacher.in_force())
        self._own = np.full(copies, -1, np.int64)
        """`[K]` numbers of the own goals that may change hands"""
        self._episode = np.full(copies, -1, np.int64)
        self._called: dict[tuple[str, int], Task] = {}
        """goals of others, by whose they are and their numbers"""
        self._borrowed: dict[int, tuple[str, int]] = {}
        """by copy: whose goal is pursued there, and its number"""
        self._lent: dict[int, str] = {}
        """own goals that are away, and who has them"""

    def consider(self, features: Array, episode: NDArray[np.int64], now: float) -> None:
        """A tick, after the own actions: `features[K, F]` of what is seen, and the episodes `[K]` that are played."""
        self._observe(episode, now)
        events = self.machine.events()
        worth = self._worth(features, events)
        for event in events:
            match event:
                case Called(src, task) if self._shared(task):
                    row = task.copy
                    self._called[src, task.number] = task
                    own = self._task(row)
                    self.machine.bid(src, task.number, own, worth[row, task.goal], worth[row, own.goal])
                case Bids(task, bids) if self._own[task.copy] == task.number:
                    self._award(task, bids, worth, now)
                case Awarded():
                    self._accept(event)
                case Taken(number, bid, True):
                    self._taken(number, bid)
                case Reported(src, number, duration, reached, reward) if self._lent.get(number) == src:
                    del self._lent[number]
                    self._teacher.told(number - self._first, Outcome(duration, reached, reward))
        for known in (self._called, self._lent):
            for key in list(known)[: -KEPT * len(episode)]:
                del known[key]  # type: ignore[arg-type]

    def _observe(self, episode: NDArray[np.int64], now: float) -> None:
        """Report what is over, and call for bids on what is new."""
        for row, outcome in self._teacher.returned():
            if (lender := self._borrowed.pop(row, None)) is not None:
                self.machine.report(*lender, outcome.duration, outcome.reached, outcome.reward)
        own = self._teacher.lendable()
        own = np.where((own >= 0) & (episode >= 0), own + self._first, -1)
        before, self._own, self._episode = self._own, own, episode
        self.machine.withdraw(before[(before >= 0) & (before != own)].tolist())
        self.machine.call([self._task(row) for row in np.flatnonzero((own >= 0) & (before != own)).tolist()], now)

    def _task(self, row: int) -> Task:
        return Task(int(self._own[row]), row, int(self._episode[row]), int(self._teacher.in_force()[row]))

    def _shared(self, task: Task) -> bool:
        """Whether that goal can be bid on: it is one of an episode that both play, in which an own goal is in force."""
        row = task.copy
        known = row < len(self._own) and task.goal < len(self._encodings) - 1
        return known and bool(self._own[row] >= 0) and task.episode == self._episode[row]

    def _places(self, events: Sequence[Event]) -> Iterator[Place]:
        for event in events:
            match event:
                case Called(_, task) if self._shared(task):
                    yield task.copy, task.goal
                    yield task.copy, int(self._teacher.in_force()[task.copy])
                case Bids(task, bids):
                    yield task.copy, task.goal
                    for bid in bids:
                        yield task.copy, self._goal(bid)

    def _goal(self, bid: Bid) -> int:
        """The goal of a bid; none (-1) where there is no such goal."""
        return bid.goal if bid.goal < len(self._encodings) - 1 else -1

    def _worth(self, features: Array, events: Sequence[Event]) -> dict[Place, float]:
        """V(s, g) at all places of which the events ask, in one pass through the network."""
        places = list(dict.fromkeys(self._places(events)))
        if not places:
            return {}
        rows, goals = np.array(places).T
        return dict(zip(places, self._learner.values(features[rows], self._encodings[goals]).tolist(), strict=True))

    def _award(self, task: Task, bids: Sequence[Bid], worth: dict[Place, float], now: float) -> None:
        def gain(bid: Bid) -> float:
            return worth[task.copy, self._goal(bid)] - worth[task.copy, task.goal] + bid.value - bid.kept

        best = max((bid for bid in bids if self._goal(bid) >= 0), key=gain, default=None)
        if best is not None and gain(best) > self._margin:
            self.machine.award(task, best, now)

    def _accept(self, awarded: Awarded) -> None:
        task = self._called.get((awarded.src, awarded.number))
        free = not self.machine.promised(awarded.own)
        taken = free and task is not None and self._own[task.copy] == awarded.own and task.episode == self._episode[task.copy]
        self.machine.reply(awarded, taken)
        if taken and task is not None:
            self._give(task.copy, awarded.src, awarded.number, task.goal)

    def _taken(self, number: int, bid: Bid) -> None:
        rows = np.flatnonzero(self._own == number)
        if len(rows):
            self._give(int(rows[0]), bid.src, bid.own, bid.goal)
        else:
            self.machine.report(bid.src, bid.own, 0, False, 0.0)  # the own goal is over: nobody pursues theirs

    def _give(self, row: int, other: str, number: int, goal: int) -> None:
        """The own goal of that copy for another's."""
        own = int(self._own[row])
        self._own[row] = -1
        self.machine.withdraw([own])
        self._teacher.borrow(row, goal, own - self._first)
        self._borrowed[row] = other, number
        self._lent[own] = other

    def figures(self) -> dict[str, float]:
        """`lending.called`, `lending.bids`, `lending.awarded`, `lending.exchanged` (of those awarded), `lending.reports`: since the start
        of the process; `lending.borrowed`: copies in which a neighbour's goal is pursued now."""
        counters = self.machine.counters
        values = {name: float(counters[name]) for name in ("called", "bids", "awarded", "reports")}
        values |= {"exchanged": float(counters["taken"]), "borrowed": float(len(self._borrowed))}
        return {f"lending.{name}": value for name, value in values.items()}
