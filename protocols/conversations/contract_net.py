"""Who pursues whose goal: a contract net (Smith, IEEE Transactions on Computers C-29, 1980) over goals that come up while episodes go on.

A *proposer* calls for bids on a goal; neighbours that would pursue it bid with a goal of their own; the proposer awards it to one of them,
and from then on each pursues the other's. What became of a goal is reported to its proposer. What goals are, and what they are worth, is
none of this module's affair: it carries numbers.

    proposer                 neighbour
    call(number)   ------>   Called
    Bids           <------   bid(number, own)
    award          ------>   Awarded                    no agent waits longer than `deadline`; meanwhile each pursues its own goal
    Taken/Refused  <------   reply(taken)
    Reported       <------   report(number)

Two neighbours whose goals came up together award each other the same exchange: each award is then the answer to the other one, which is
taken. Messages are sent once. Where a call, a bid or an award is lost nothing is exchanged; where an answer is lost, both pursue one of the
two goals, and neither the other: the proposer of that one learns nothing from it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

import numpy as np

from protocols.conversations.conversation import Array, EdgeConversation, Send, columns, pack_rows, require
from protocols.runtime.errors import BadMessage
from protocols.runtime.waits import PendingWait
from protocols.wire.message_registry import register_conversation, route
from protocols.wire.messages import Message


class GoalCall(Message):
    """Agent -> neighbours: a call for bids for the goals that its teacher has proposed. AM1.

    Frames: `number[n] i8` (of the goals of this incarnation of the proposer), `copy[n] i4`, `episode[n] i8`, `goal[n] i4`.
    """


class GoalBid(Message):
    """Neighbour -> caller: an offer to exchange its own goal. AM1, answers a `GoalCall`.

    Frames: `number[n] i8` (that was called), `own[n] i8`, `goal[n] i4` (the bidder's), `value[n] f4`, `kept[n] f4` (what the called goal
    and its own goal are worth to the bidder's policy).
    """


class GoalAward(Message):
    """Caller -> bidder: each pursues the other's goal from now on, if it still can. AM1. Frames: `number[n] i8` (the caller's), `own[n]
    i8` (the bidder's)."""


class GoalReply(Message):
    """Bidder -> caller: whether it takes the goal. AM1, answers a `GoalAward`. Frames: `number[n] i8`, `own[n] i8`, `taken[n] u1`."""


class GoalReport(Message):
    """Agent that pursued a goal -> its proposer: the outcome. AM1; a goal whose report is lost is not learnt from.

    Frames: `number[n] i8`, `duration[n] i4` (steps; 0: never pursued), `reached[n] u1`, `reward[n] f4` (the environment's, in the step that
    ended it).
    """


register_conversation(
    "contract_net",
    route("peer", "agent", "agent", GoalCall, GoalBid, GoalAward, GoalReply, GoalReport),
)


_FRAMES: dict[type[Message], dict[str, str]] = {
    GoalCall: {"number": "i8", "copy": "i4", "episode": "i8", "goal": "i4"},
    GoalBid: {"number": "i8", "own": "i8", "goal": "i4", "value": "f4", "kept": "f4"},
    GoalAward: {"number": "i8", "own": "i8"},
    GoalReply: {"number": "i8", "own": "i8", "taken": "u1"},
    GoalReport: {"number": "i8", "duration": "i4", "reached": "u1", "reward": "f4"},
}
Row = tuple[float, ...]


@dataclass(frozen=True)
class GoalTask:
    """A goal with the `number` that its proposer gave it, in one episode of one copy of the environment."""

    number: int
    copy: int
    episode: int
    goal: int


@dataclass(frozen=True)
class CallReceived:
    """`src` asks who would pursue its goal."""

    src: str
    task: GoalTask


@dataclass(frozen=True)
class Bid:
    """`src` would pursue the called goal, which is worth `value` to it, in the place of its own one, which is worth `kept`."""

    src: str
    own: int
    goal: int
    value: float
    kept: float


@dataclass(frozen=True)
class BidsReceived:
    """All bids on an own goal, in the order of the bidders' names; there is at least one. `award` one of them, or none."""

    task: GoalTask
    bids: tuple[Bid, ...]


@dataclass(frozen=True)
class AwardReceived:
    """`src` gives its goal `number` for the own goal `own`: to be answered by `reply`."""

    src: str
    number: int
    own: int


@dataclass(frozen=True)
class AwardAnswered:
    """The award of the own goal `number` is answered: whether its bidder pursues it from now on."""

    number: int
    bid: Bid
    taken: bool


@dataclass(frozen=True)
class ReportReceived:
    """What became of the own goal `number` with whom it was exchanged."""

    src: str
    number: int
    duration: int
    reached: bool
    reward: float


ContractNetEvent = CallReceived | BidsReceived | AwardReceived | AwardAnswered | ReportReceived


@dataclass
class _Open:
    task: GoalTask
    deadline: float
    missing: set[str]
    bids: dict[str, Bid] = field(default_factory=dict)


@dataclass
class _Award:
    bid: Bid
    deadline: float


class ContractNet(EdgeConversation[ContractNetEvent]):
    """One agent's side. `neighbours`: who is asked; `deadline`: seconds that bids, and then the answer to an award, are waited for."""

    message_types = (GoalCall, GoalBid, GoalAward, GoalReply, GoalReport)

    def __init__(self, name: str, neighbours: Collection[str], deadline: float) -> None:
        super().__init__()
        self.name = name
        self._neighbours = frozenset(neighbours) - {name}
        self._alive: set[str] = set()
        self._deadline = deadline
        self._calls: dict[int, _Open] = {}
        self._awards: dict[int, _Award] = {}
        self._rows: dict[tuple[str, type[Message]], list[Row]] = defaultdict(list)

    # --- the proposer -----------------------------------------------------------------------------------------------------------------

    def call(self, tasks: Sequence[GoalTask], now: float) -> None:
        """Own goals that neighbours may bid on."""
        if not self._alive:
            return
        for task in tasks:
            self._calls[task.number] = _Open(task, now + self._deadline, set(self._alive))
            for peer in sorted(self._alive):  # a set's order differs between processes, and what is sent must not
                self._say(peer, GoalCall, (task.number, task.copy, task.episode, task.goal))
        self.counters["called"] += len(tasks)

    def award(self, task: GoalTask, bid: Bid, now: float) -> None:
        """Give the goal to a bidder, for its own one; `AwardAnswered` follows, at the latest after the deadline."""
        self._awards[task.number] = _Award(bid, now + self._deadline)
        self._say(bid.src, GoalAward, (task.number, bid.own))
        self.counters["awarded"] += 1

    def promised(self, number: int) -> bool:
        """Whether this own goal has been awarded and the award is not answered yet. An award for it that was received before must be
        refused: otherwise two agents would pursue it, and none the goal for which it was given."""
        return number in self._awards

    def withdraw(self, numbers: Collection[int]) -> None:
        """These own goals are over: no bid on them counts, and an award that has not been answered is refused."""
        for number in numbers:
            self._calls.pop(number, None)
            if (award := self._awards.pop(number, None)) is not None:
                self._events.append(AwardAnswered(number, award.bid, False))

    # --- the neighbour ----------------------------------------------------------------------------------------------------------------

    def bid(self, src: str, number: int, own: GoalTask, value: float, kept: float) -> None:
        """Offer the own goal for the one that `src` has called, which is worth `value`, and the own one `kept`."""
        self._say(src, GoalBid, (number, own.number, own.goal, value, kept))
        self.counters["bids"] += 1

    def reply(self, awarded: AwardReceived, taken: bool) -> None:
        """Answer an award: with `taken`, this agent pursues the awarded goal from now on instead of its own."""
        self._say(awarded.src, GoalReply, (awarded.number, awarded.own, float(taken)))

    def report(self, dst: str, number: int, duration: int, reached: bool, reward: float) -> None:
        """Report the outcome of a pursued goal to its proposer `dst`: `duration` in steps, whether it was `reached`, and the
        environment's reward in its last step."""
        self._say(dst, GoalReport, (number, duration, float(reached), reward))

    # --- messages ---------------------------------------------------------------------------------------------------------------------

    def _say(self, dst: str, kind: type[Message], row: Row) -> None:
        self._rows[dst, kind].append(row)

    def outgoing(self) -> list[Send]:
        """One message of each kind to each neighbour that is there, with all its rows."""
        rows, self._rows = self._rows, defaultdict(list)
        for (dst, kind), given in rows.items():
            if dst in self._alive:
                self._sends.append(Send(dst, kind(), pack_rows(given, _FRAMES[kind])))
        return super().outgoing()

    def _receive(self, src: str, message: Message, arrays: Mapping[str, Array], now: float) -> None:
        if src not in self._neighbours or type(message) not in _FRAMES:
            raise BadMessage("E_UNKNOWN_NODE", f"{type(message).__name__} from {src} is no message of a neighbour about goals")
        found = columns(arrays, _FRAMES[type(message)])
        for name, values in zip(_FRAMES[type(message)], found, strict=True):
            require(np.isfinite(values) if values.dtype.kind == "f" else values >= 0, f"{name} is negative or not finite")
        for row in zip(*(values.tolist() for values in found), strict=True):
            self._take(src, type(message), row, now)

    def _take(self, src: str, kind: type[Message], row: Row, now: float) -> None:
        number = int(row[0])
        if kind is GoalCall:
            self._events.append(CallReceived(src, GoalTask(number, int(row[1]), int(row[2]), int(row[3]))))
        elif kind is GoalBid:
            self._received_bid(number, Bid(src, int(row[1]), int(row[2]), row[3], row[4]))
        elif kind is GoalAward:
            self._received_award(AwardReceived(src, number, int(row[1])))
        elif kind is GoalReply:
            award = self._awards.get(number)
            if award is None or (award.bid.src, award.bid.own) != (src, row[1]):
                self.counters["late"] += 1
                return
            self._answered(number, award, bool(row[2]))
        else:
            self._events.append(ReportReceived(src, number, int(row[1]), bool(row[2]), row[3]))
            self.counters["reports"] += 1

    def _received_bid(self, number: int, bid: Bid) -> None:
        call = self._calls.get(number)
        if call is None or bid.src not in call.missing:
            self.counters["late"] += 1
            return
        call.missing.discard(bid.src)
        call.bids[bid.src] = bid
        if not call.missing:
            self._close(call)

    def _received_award(self, awarded: AwardReceived) -> None:
        own = self._awards.get(awarded.own)
        if own is None:
            self._events.append(awarded)
        elif (own.bid.src, own.bid.own) == (awarded.src, awarded.number):
            self.reply(awarded, True)
            self._answered(awarded.own, own, True)
        else:
            self.reply(awarded, False)  # promised to another agent

    def _answered(self, number: int, award: _Award, taken: bool) -> None:
        del self._awards[number]
        self._events.append(AwardAnswered(number, award.bid, taken))
        self.counters["taken" if taken else "refused"] += 1

    def _close(self, call: _Open) -> None:
        del self._calls[call.task.number]
        if call.bids:
            self._events.append(BidsReceived(call.task, tuple(call.bids[src] for src in sorted(call.bids))))

    # --- time and peers ---------------------------------------------------------------------------------------------------------------

    def wake(self) -> float:
        """Earliest deadline in seconds; infinite when nothing is pending."""
        calls, awards = self._calls.values(), self._awards.values()
        return min((*(call.deadline for call in calls), *(award.deadline for award in awards)), default=inf)

    def waits(self) -> list[PendingWait]:
        """For bids, and for the answers to awards."""
        calls = [
            PendingWait("bids for goals", tuple(sorted(call.missing)), call.deadline - self._deadline, call.deadline)
            for call in self._calls.values()
        ]
        return calls + [
            PendingWait("the answer to an award", (award.bid.src,), award.deadline - self._deadline, award.deadline)
            for award in self._awards.values()
        ]

    def tick(self, now: float) -> None:
        """Close calls whose deadline has passed, with the bids that have come; awards without an answer are refused."""
        for call in [call for call in self._calls.values() if call.deadline <= now]:
            self._close(call)
        for number, award in list(self._awards.items()):
            if award.deadline <= now:
                self._answered(number, award, False)

    def peer_dead(self, peer: str, now: float) -> None:
        """End what waits for that neighbour."""
        self._alive.discard(peer)
        for call in list(self._calls.values()):
            call.missing.discard(peer)
            call.bids.pop(peer, None)
            if not call.missing:
                self._close(call)
        for number, award in list(self._awards.items()):
            if award.bid.src == peer:
                self._answered(number, award, False)

    def peer_alive(self, peer: str, incarnation: int, now: float) -> None:
        """`peer` receives calls for proposals from now on."""
        if peer in self._neighbours:
            self._alive.add(peer)
