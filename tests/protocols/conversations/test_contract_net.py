"""Goals exchanged between neighbours: with all messages every goal is pursued by exactly one agent, and no agent waits after losses."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest

from protocols.conversations.contract_net import (
    AwardAnswered,
    AwardReceived,
    Bid,
    BidsReceived,
    CallReceived,
    ContractNet,
    GoalAward,
    GoalBid,
    GoalCall,
    GoalReport,
    GoalTask,
    ReportReceived,
)
from protocols.conversations.conversation import Send
from protocols.wire.codec import decode, encode

DEADLINE = 1.0


class Proposer:
    """An agent in one copy: its own goal's number, and what it pursues, as (proposer, number). It awards to the highest bid."""

    def __init__(self, name: str, others: list[str], number: int, kept: float, deadline: float) -> None:
        self.net = ContractNet(name, others, deadline)
        for other in others:
            self.net.peer_alive(other, 1, 0.0)
        self.task = GoalTask(number, 0, 7, number)
        self.pursued = (name, number)
        self.kept = kept
        self.promised = False
        self.reports: list[ReportReceived] = []

    @property
    def own(self) -> bool:
        return self.pursued == (self.net.name, self.task.number)

    def live(self, now: float) -> None:
        self.net.tick(now)
        for event in self.net.events():
            match event:
                case CallReceived(src, task):
                    if self.own:
                        self.net.bid(src, task.number, self.task, value=5.0, kept=self.kept)
                case BidsReceived(task, bids):
                    if self.own:
                        self.promised = True
                        self.net.award(task, max(bids, key=lambda bid: (bid.value - bid.kept, bid.src)), now)
                case AwardReceived(src, number, own):
                    taken = self.own and own == self.task.number and not self.net.promised(own)
                    if taken:
                        self.net.withdraw([own])
                        self.pursued = (src, number)
                    self.net.reply(event, taken)
                case AwardAnswered(number, bid, taken):
                    if taken and self.own and number == self.task.number:
                        self.pursued = (bid.src, bid.own)
                    self.promised = False
                case ReportReceived():
                    self.reports.append(event)


def through_the_wire(send: Send) -> Send:
    message, arrays = decode([bytes(part) for part in encode(send.message, send.arrays)])
    return Send(send.dst, message, arrays)


def settle(agents: dict[str, Proposer], random: np.random.Generator, loss: float = 0.0, rounds: int = 60) -> None:
    """Messages arrive in any order, some of them never, until no agent waits."""
    now, way = 0.0, []
    for _ in range(rounds):
        now += 0.1
        for name, agent in agents.items():
            agent.live(now)
            way += [(name, through_the_wire(send)) for send in agent.net.outgoing() if random.random() >= loss]
        random.shuffle(way)
        arrive, way = way[: max(1, len(way) // 2)], way[max(1, len(way) // 2) :]
        for src, send in arrive:
            agents[send.dst].net.receive(src, send.message, send.arrays, now)


def proposers(names: list[str], kept: list[float], deadline: float = DEADLINE) -> dict[str, Proposer]:
    return {name: Proposer(name, [other for other in names if other != name], 10 + i, kept[i], deadline) for i, name in enumerate(names)}


def test_a_goal_goes_to_the_best_bidder_who_gives_its_own_for_it() -> None:
    agents = proposers(["a", "b", "c"], [0.0, 3.0, 1.0])
    agents["a"].net.call([agents["a"].task], 0.0)
    settle(agents, np.random.default_rng(0))
    assert agents["a"].pursued == ("c", 12) and agents["c"].pursued == ("a", 10) and agents["b"].own
    assert agents["a"].net.counters["taken"] == 1 and agents["a"].net.wake() == inf


@pytest.mark.parametrize("seed", range(30))
def test_without_losses_every_goal_is_pursued_by_exactly_one(seed: int) -> None:
    random = np.random.default_rng(seed)
    # A reply that comes after the deadline is as good as lost, and of a hundred steps no message takes all.
    agents = proposers(["a", "b", "c", "d"][: int(random.integers(2, 5))], random.uniform(0, 4, 4).tolist(), deadline=10.0)
    for agent in agents.values():
        if random.random() < 0.8:
            agent.net.call([agent.task], 0.0)
    settle(agents, random, rounds=250)
    assert sorted(agent.pursued for agent in agents.values()) == sorted((name, agent.task.number) for name, agent in agents.items())
    assert all(agent.net.wake() == inf and not agent.promised for agent in agents.values())


def test_a_goal_that_was_promised_since_an_award_came_is_not_given_away() -> None:
    """The last bid, and the award of another, come with the same step: b has promised its goal to c before it looks at d's award."""
    agents = proposers(["b", "c", "d"], [0.0, 0.0, 0.0])
    b = agents["b"]
    b.net.call([b.task], 0.0)
    for name in ("c", "d"):
        agents[name].net.bid("b", 10, agents[name].task, value=5.0 + (name == "c"), kept=0.0)
    agents["d"].net.award(agents["d"].task, Bid("b", 10, 10, 5.0, 0.0), 0.0)
    for name in ("c", "d"):
        for send in agents[name].net.outgoing():
            if send.dst == "b":
                b.net.receive(name, send.message, send.arrays, 0.1)
    b.live(0.1)
    assert b.net.promised(10) and b.own
    said = {(send.dst, type(send.message).__name__): send.arrays for send in b.net.outgoing()}
    assert ("c", "GoalAward") in said and not said["d", "GoalReply"]["taken"].any()


def test_two_who_award_each_other_at_once_have_agreed() -> None:
    agents = proposers(["a", "b"], [0.0, 0.0])
    for agent in agents.values():
        agent.net.call([agent.task], 0.0)
    for now in (0.1, 0.2, 0.3, 0.4):  # in lockstep: messages arrive with the next step
        sends = []
        for name, agent in agents.items():
            agent.live(now)
            sends += [(name, send) for send in agent.net.outgoing()]
        for src, send in sends:
            agents[send.dst].net.receive(src, send.message, send.arrays, now)
    assert agents["a"].pursued == ("b", 11) and agents["b"].pursued == ("a", 10)


@pytest.mark.parametrize("seed", range(30))
def test_with_losses_nobody_waits_longer_than_the_deadline(seed: int) -> None:
    random = np.random.default_rng(100 + seed)
    agents = proposers(["a", "b", "c"], random.uniform(0, 4, 3).tolist())
    for agent in agents.values():
        agent.net.call([agent.task], 0.0)
    settle(agents, random, loss=0.4)
    everything = {(name, agent.task.number) for name, agent in agents.items()}
    assert all(agent.pursued in everything and agent.net.wake() == inf and not agent.promised for agent in agents.values())


def test_nobody_waits_for_the_dead() -> None:
    agents = proposers(["a", "b", "c"], [0.0, 0.0, 0.0])
    net = agents["a"].net
    net.call([agents["a"].task], 0.0)
    net.receive("b", GoalBid(), bid_of(10, 11), 0.0)
    net.peer_dead("c", 0.1)
    (event,) = net.events()
    assert event == BidsReceived(agents["a"].task, (Bid("b", 11, 11, 5.0, 0.0),))
    net.award(agents["a"].task, event.bids[0], 0.1)
    net.peer_dead("b", 0.2)
    assert net.events() == [AwardAnswered(10, event.bids[0], False)] and net.wake() == inf
    net.call([agents["a"].task], 0.3)
    assert net.wake() == inf and {send.dst for send in net.outgoing()} == set()


def bid_of(number: int, own: int) -> dict[str, np.ndarray]:
    return {
        "number": np.array([number]), "own": np.array([own]), "goal": np.array([own], np.int32),
        "value": np.array([5.0], np.float32), "kept": np.array([0.0], np.float32),
    }  # fmt: skip


def test_a_goal_that_is_over_is_exchanged_no_more() -> None:
    a = proposers(["a", "b"], [0.0, 0.0])["a"]
    a.net.call([a.task], 0.0)
    a.net.withdraw([10])
    a.net.receive("b", GoalBid(), bid_of(10, 11), 0.0)
    assert a.net.events() == [] and a.net.counters["late"] == 1
    a.net.award(a.task, Bid("b", 11, 11, 5.0, 0.0), 0.0)
    a.net.withdraw([10])
    assert a.net.events() == [AwardAnswered(10, Bid("b", 11, 11, 5.0, 0.0), False)]


def test_rows_of_one_kind_travel_in_one_message_and_reports_arrive() -> None:
    agents = proposers(["a", "b"], [0.0, 0.0])
    a, b = agents["a"].net, agents["b"].net
    a.call([GoalTask(n, n, 7, n) for n in range(3)], 0.0)
    b.report("a", 1, 12, True, 0.5)
    b.report("a", 2, 0, False, 0.0)
    (call,), (report,) = a.outgoing(), b.outgoing()
    assert isinstance(call.message, GoalCall) and len(call.arrays["number"]) == 3 and isinstance(report.message, GoalReport)
    a.receive("b", *through_the_wire(report)[1:], 0.0)
    assert a.events() == [ReportReceived("b", 1, 12, True, 0.5), ReportReceived("b", 2, 0, False, 0.0)]


@pytest.mark.parametrize(
    ("message", "arrays"),
    [
        (GoalBid(), {}),
        (GoalBid(), bid_of(10, 11) | {"value": np.array([np.nan], np.float32)}),
        (GoalBid(), bid_of(10, 11) | {"own": np.array([11, 12])}),
        (GoalBid(), bid_of(10, -1)),
        (GoalAward(), {"number": np.array([[1]]), "own": np.array([1])}),
        (GoalReport(), {"number": np.array([1]), "duration": np.array([1]), "reached": np.array([1], np.uint8)}),
    ],
)
def test_what_breaks_the_format_is_dropped_and_counted(message: GoalBid, arrays: dict[str, np.ndarray]) -> None:
    a = proposers(["a", "b"], [0.0, 0.0])["a"]
    a.net.call([a.task], 0.0)
    a.net.receive("b", message, arrays, 0.0)
    assert a.net.events() == [] and a.net.counters["bad.E_FRAME"] == 1
    a.net.receive("z", GoalBid(), bid_of(10, 11), 0.0)
    assert a.net.counters["bad.E_UNKNOWN_NODE"] == 1
