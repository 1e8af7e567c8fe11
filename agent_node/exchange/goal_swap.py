"""Exchange of goals between teachers: a neighbour in the same environment pursues a goal of the own teacher, where both policies gain.

An agent with a new goal calls for bids on it; a neighbour bids with the goal that it pursues itself. With V_i(s_i, g) the return that the
policy of agent i expects for goal g, two goals are exchanged where that raises the sum of both expected returns by more than `margin`:

    gain = V_i(s_i, g_j) + V_j(s_j, g_i) - V_i(s_i, g_i) - V_j(s_j, g_j)

Each teacher learns from the goals that it proposed, whichever agent pursued them. The conversation is
`protocols.conversations.contract_net`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from agent_node.contracts import Array, Component, GoalOutcome, Learner, Metrics, ObservedTick, Teacher
from agent_node.exchange.settings import ContractNetSettings
from agent_node.session.roles import LEARNER, TEACHER
from agent_node.session.session_context import SessionContext
from protocols.conversations.contract_net import (
    AwardAnswered,
    AwardReceived,
    Bid,
    BidsReceived,
    CallReceived,
    ContractNet,
    ContractNetEvent,
    GoalTask,
    ReportReceived,
)
from protocols.runtime.errors import ConfigurationError

_INCARNATION_BITS = 40
"""bits for the numbers of the goals of one incarnation"""
KEPT = 16
"""times K: calls of others, and own goals away, that are kept in mind; the oldest are forgotten"""
Place = tuple[int, int]
"""a copy, and a goal there"""


class GoalSwap(Component):
    """Negotiation `contract_net`; `machine` is the conversation. It starts in `joined`, which raises `ConfigurationError` for a teacher
    without "swappable_goals" or a learner without "values"."""

    machine: ContractNet

    def __init__(self, settings: ContractNetSettings) -> None:
        self.settings = settings

    def joined(self, context: SessionContext) -> None:
        """Negotiate with the neighbours about the goals of the own teacher."""
        kind, teacher, learner = self.settings.kind, context.components.get(TEACHER), context.components[LEARNER]
        if teacher is None or "swappable_goals" not in teacher.capabilities:
            raise ConfigurationError(f"exchange.negotiation: {kind} exchanges goals of a teacher, and agents.teacher sets none")
        if "values" not in learner.capabilities:
            raise ConfigurationError(f"exchange.negotiation: {kind} compares the values of goals, which this learner does not estimate")
        first = context.agent_spec.incarnation << _INCARNATION_BITS
        encodings = cast(NDArray[np.float32], context.components.encodings)  # a table, since goals of teachers are numbers
        self.start(context.name, context.neighbourhood.all_neighbours, teacher, learner, encodings, first)
        context.converse(self.machine)

    def start(
        self,
        name: str,
        neighbours: Collection[str],
        teacher: Teacher,
        learner: Learner,
        encodings: NDArray[np.float32],
        first: int,
    ) -> None:
        """`encodings[|G| + 1, L]`: goals as the policy sees them. `first`: number of the first own goal, so that goals of another
        incarnation have other numbers."""
        self.machine = ContractNet(name, neighbours, self.settings.deadline)
        self._margin = self.settings.margin
        self._teacher, self._learner = teacher, learner
        self._encodings = encodings
        self._first = first
        copies = len(teacher.current_goals())
        self._own = np.full(copies, -1, np.int64)
        """`[K]` numbers of the own goals that may change hands"""
        self._episode = np.full(copies, -1, np.int64)
        self._called: dict[tuple[str, int], GoalTask] = {}
        """goals of others, by whose they are and their numbers"""
        self._swapped_in: dict[int, tuple[str, int]] = {}
        """by copy: whose goal is pursued there, and its number"""
        self._swapped_out: dict[int, str] = {}
        """own goals that are away, and who has them"""

    def observed(self, tick: ObservedTick) -> None:
        """Process the events of the conversation at a tick, after the own actions were sent: calls, bids, awards and outcomes of goals."""
        self._observe(tick.episode, tick.now)
        events = self.machine.events()
        goal_values = self._goal_values(tick.features, events)
        for event in events:
            match event:
                case CallReceived(src, task) if self._shared(task):
                    row = task.copy
                    self._called[src, task.number] = task
                    own = self._task(row)
                    self.machine.bid(src, task.number, own, goal_values[row, task.goal], goal_values[row, own.goal])
                case BidsReceived(task, bids) if self._own[task.copy] == task.number:
                    self._award(task, bids, goal_values, tick.now)
                case AwardReceived():
                    self._accept(event)
                case AwardAnswered(number, bid, True):
                    self._taken(number, bid)
                case ReportReceived(src, number, duration, reached, reward) if self._swapped_out.get(number) == src:
                    del self._swapped_out[number]
                    self._teacher.swap_ended(number - self._first, GoalOutcome(duration, reached, reward))
        for known in (self._called, self._swapped_out):
            for key in list(known)[: -KEPT * len(tick.episode)]:
                del known[key]  # type: ignore[arg-type]

    def _observe(self, episode: NDArray[np.int64], now: float) -> None:
        """Report what is over, and call for bids on what is new."""
        for row, outcome in self._teacher.finished_swaps():
            if (goal_owner := self._swapped_in.pop(row, None)) is not None:
                self.machine.report(*goal_owner, outcome.duration, outcome.reached, outcome.reward)
        own = self._teacher.swappable()
        own = np.where((own >= 0) & (episode >= 0), own + self._first, -1)
        before, self._own, self._episode = self._own, own, episode
        self.machine.withdraw(before[(before >= 0) & (before != own)].tolist())
        self.machine.call([self._task(row) for row in np.flatnonzero((own >= 0) & (before != own)).tolist()], now)

    def _task(self, row: int) -> GoalTask:
        return GoalTask(int(self._own[row]), row, int(self._episode[row]), int(self._teacher.current_goals()[row]))

    def _shared(self, task: GoalTask) -> bool:
        """Whether that goal can be bid on: it is one of an episode that both play, in which an own goal is in force."""
        row = task.copy
        known = row < len(self._own) and task.goal < self._encodings.shape[0] - 1
        return known and bool(self._own[row] >= 0) and task.episode == self._episode[row]

    def _places(self, events: Sequence[ContractNetEvent]) -> Iterator[Place]:
        for event in events:
            match event:
                case CallReceived(_, task) if self._shared(task):
                    yield task.copy, task.goal
                    yield task.copy, int(self._teacher.current_goals()[task.copy])
                case BidsReceived(task, bids):
                    yield task.copy, task.goal
                    for bid in bids:
                        yield task.copy, self._goal(bid)

    def _goal(self, bid: Bid) -> int:
        """The goal of a bid; none (-1) where there is no such goal."""
        return bid.goal if bid.goal < self._encodings.shape[0] - 1 else -1

    def _goal_values(self, features: Array, events: Sequence[ContractNetEvent]) -> dict[Place, float]:
        """V(s, g) of all places that the events need, in one pass through the network."""
        places = list(dict.fromkeys(self._places(events)))
        if not places:
            return {}
        rows, goals = np.array(places).T
        return dict(zip(places, self._learner.values(features[rows], self._encodings[goals]).tolist(), strict=True))

    def _award(self, task: GoalTask, bids: Sequence[Bid], goal_values: dict[Place, float], now: float) -> None:
        def gain(bid: Bid) -> float:
            return goal_values[task.copy, self._goal(bid)] - goal_values[task.copy, task.goal] + bid.value - bid.kept

        best = max((bid for bid in bids if self._goal(bid) >= 0), key=gain, default=None)
        if best is not None and gain(best) > self._margin:
            self.machine.award(task, best, now)

    def _accept(self, awarded: AwardReceived) -> None:
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
            self.machine.report(bid.src, bid.own, 0, False, 0.0)  # the own goal is over: the bid's goal is not pursued

    def _give(self, row: int, other: str, number: int, goal: int) -> None:
        """The own goal of that copy for another's."""
        own = int(self._own[row])
        self._own[row] = -1
        self.machine.withdraw([own])
        self._teacher.swap_in(row, goal, own - self._first)
        self._swapped_in[row] = other, number
        self._swapped_out[own] = other

    def metrics(self) -> Metrics:
        """`goal_swap.called`, `goal_swap.bids`, `goal_swap.awarded`, `goal_swap.exchanged` (of those awarded), `goal_swap.reports`: since
        the start of the process; `goal_swap.active`: copies in which a neighbour's goal is pursued now."""
        counters = self.machine.counters
        values = {name: float(counters[name]) for name in ("called", "bids", "awarded", "reports")}
        values |= {"exchanged": float(counters["taken"]), "active": float(len(self._swapped_in))}
        return {f"goal_swap.{name}": value for name, value in values.items()}
