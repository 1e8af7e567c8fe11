"""Goals that change hands: who is paid for them, whose teacher learns from them, and when two agents exchange theirs."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest
from numpy.typing import NDArray

from agent_node.contracts import Batch, GoalOutcome, Learner, Metrics, ObservedTick, PolicyOutput
from agent_node.exchange.goal_swap import GoalSwap
from agent_node.exchange.settings import ContractNetSettings
from agent_node.intrinsic.amigo_teacher import AmigoTeacher
from protocols.conversations.contract_net import GoalAward, GoalReply
from protocols.wire.codec import decode, encode
from tests.agent_node.grid_worlds import DONE, FIRST, LONGEST, MEMBER, grid, number
from tests.agent_node.intrinsic.test_amigo_teacher import force, teacher, tick

HERE, THERE, CORNER = (1, 1), (2, 1), (3, 2)


def started(goal: tuple[int, int], place: tuple[int, int] = HERE) -> AmigoTeacher:
    """A teacher in an episode in which this is the goal."""
    one = teacher()
    tick(one, grid(place), flags=FIRST)
    force(one, goal, grid(place))
    return one


# --- the teacher ----------------------------------------------------------------------------------------------------------------------


def test_a_swapped_goal_begins_with_the_next_tick_and_pays_the_policy() -> None:
    one = started(CORNER)
    (own,) = one.swappable().tolist()
    one.swap_in(0, number(*THERE), own)
    assert one.current_goals().tolist() == [number(*CORNER)] and one.swappable().tolist() == [-1], "promised, and not twice"
    assert tick(one, grid(THERE)).goals.tolist() == [number(*THERE)]
    tick(one, grid(THERE))
    teacher_output = tick(one, grid((1, 2)))  # left: its cell has changed, two steps after it was taken over
    assert teacher_output.reward.tolist() == pytest.approx([1 - 0.9 * 2 / LONGEST])
    assert one.finished_swaps() == [(0, GoalOutcome(2, True, 0.0))] and one.finished_swaps() == []
    assert one.waiting == 0, "its teacher belongs to another agent"
    assert one.swappable().tolist() != [-1], "a goal of its own is in force again"


def test_a_teacher_learns_from_its_goal_whoever_has_pursued_it() -> None:
    swapped_out, kept = started(CORNER), started(CORNER)
    (own,) = swapped_out.swappable().tolist()
    swapped_out.swap_in(0, number(*THERE), own)
    tick(swapped_out, grid((1, 2)))
    swapped_out.swap_ended(own, GoalOutcome(9, True, 0.5))
    for step in range(8):
        tick(kept, grid((1, 2) if step % 2 else HERE))
    tick(kept, grid(CORNER), reward=0.5)
    assert swapped_out.waiting == kept.waiting == 1
    for name in ("snapshot", "goal", "log_probability", "duration", "reached", "reward"):
        assert np.array_equal(kept._queue[name], swapped_out._queue[name]), name
    swapped_out.swap_ended(own, GoalOutcome(9, True, 0.5))
    assert swapped_out.waiting == 1, "once"


@pytest.mark.parametrize("outcome", [GoalOutcome(0, False, 0.0), GoalOutcome(LONGEST + 1, True, 0.0)])
def test_nothing_is_learnt_from_what_nobody_pursued_or_what_can_not_be(outcome: GoalOutcome) -> None:
    one = started(CORNER)
    (own,) = one.swappable().tolist()
    one.swap_in(0, number(*THERE), own)
    tick(one, grid(HERE))
    one.swap_ended(own, outcome)
    one.swap_ended(77, GoalOutcome(9, True, 0.0))
    assert one.waiting == 0


@pytest.mark.parametrize(("flags", "continuous"), [(DONE, True), (FIRST, True), (MEMBER, False)])
def test_an_episode_that_is_over_takes_no_goal_over(flags: int, continuous: bool) -> None:
    one = started(CORNER)
    (own,) = one.swappable().tolist()
    one.swap_in(0, number(*THERE), own)
    tick(one, grid(HERE), flags=flags, continuous=continuous)
    assert one.finished_swaps() == [(0, GoalOutcome(0, False, 0.0))]
    assert (one.waiting == 1) == (flags == DONE), "an own goal that ended before it was given is an own goal"


def test_an_own_goal_that_was_reached_in_time_is_learnt_from_once() -> None:
    """It was promised, and reached with the very step that came before the exchange."""
    one = started(THERE)
    (own,) = one.swappable().tolist()
    one.swap_in(0, number(*CORNER), own)
    assert tick(one, grid(THERE)).goals.tolist() == [number(*CORNER)]
    one.swap_ended(own, GoalOutcome(5, True, 0.0))
    assert one.waiting == 1 and one._queue["duration"].tolist() == [1]


# --- two agents -----------------------------------------------------------------------------------------------------------------------


class Distance(Learner):
    """A policy's values: how near the goal is to a place, in a world 5 cells wide and 4 high."""

    def __init__(self, place: tuple[int, int]) -> None:
        self.place = place

    def act(self, *_: object) -> PolicyOutput:
        raise NotImplementedError

    def learn(self, batch: Batch) -> Metrics:
        raise NotImplementedError

    def values(self, observations: NDArray[np.float32], goals: NDArray[np.float32]) -> NDArray[np.float32]:
        x, y = np.divmod(goals.argmax(axis=1), 4)
        return np.asarray(-np.abs(x - self.place[0]) - np.abs(y - self.place[1]), np.float32)


def at(episode: int, now: float) -> ObservedTick:
    """A tick of one copy."""
    return ObservedTick(*(np.zeros((1, 1), np.float32) for _ in range(4)), np.array([episode]), now)


class Pair:
    """Two agents in one world, in lockstep: a message sent at a tick arrives at the next one."""

    def __init__(self, goals: dict[str, tuple[int, int]], places: dict[str, tuple[int, int]], margin: float = 0.0) -> None:
        self.places, self.now, self.episode = places, 0.0, 5
        self.teachers = {name: started(goal, places[name]) for name, goal in goals.items()}
        settings = ContractNetSettings(deadline="200ms", margin=margin)
        encodings = np.eye(21, 20, dtype=np.float32)
        self.goal_swap = {name: GoalSwap(settings) for name in self.teachers}
        for i, (name, goal_swap) in enumerate(self.goal_swap.items()):
            goal_swap.start(name, goals, self.teachers[name], Distance(places[name]), encodings, first=1000 * i)
            for other in goals:
                if other != name:
                    goal_swap.machine.peer_alive(other, 1, 0.0)

    def talk(self, lost: str = "") -> None:
        """A tick's talk; messages of the kind `lost` don't arrive."""
        sends = []
        for name, goal_swap in self.goal_swap.items():
            goal_swap.observed(at(self.episode, self.now))
            sends += [(name, send) for send in goal_swap.machine.outgoing() if type(send.message).__name__ != lost]
        self.now += 0.01
        for src, send in sends:
            message, arrays = decode([bytes(part) for part in encode(send.message, send.arrays)])
            self.goal_swap[send.dst].machine.receive(src, message, arrays, self.now)
            self.goal_swap[send.dst].machine.tick(self.now)

    def step(self, flags: int = MEMBER) -> None:
        for name, one in self.teachers.items():
            tick(one, grid(self.places[name]), flags=flags)

    def goals(self) -> list[int]:
        return [int(one.current_goals()[0]) for one in self.teachers.values()]


def crossed(margin: float = 0.0) -> Pair:
    """Each stands where the other's goal is near."""
    return Pair({"a": CORNER, "b": (1, 2)}, {"a": HERE, "b": (3, 1)}, margin)


def test_two_goals_change_hands_where_that_suits_both_better_and_each_teacher_hears_of_its_own() -> None:
    pair = crossed()
    for _ in range(6):
        pair.talk()
        pair.step()
    assert pair.goals() == [number(1, 2), number(*CORNER)]
    assert all(
        goal_swap.metrics()["goal_swap.exchanged"] + goal_swap.metrics()["goal_swap.active"] >= 1 for goal_swap in pair.goal_swap.values()
    )
    pair.places = {"a": (1, 2), "b": CORNER}
    pair.step()
    for _ in range(2):
        pair.talk()
    assert [one.waiting for one in pair.teachers.values()] == [1, 1], "both reached, each reported to who had proposed it"
    assert [one._queue["goal"].tolist() for one in pair.teachers.values()] == [[number(*CORNER)], [number(1, 2)]]
    assert all(one._queue["reached"].all() for one in pair.teachers.values())


@pytest.mark.parametrize("pair", [crossed(margin=6.5), Pair({"a": (1, 2), "b": CORNER}, {"a": HERE, "b": (3, 1)})])
def test_goals_stay_where_an_exchange_would_gain_nothing(pair: Pair) -> None:
    before = pair.goals()
    for _ in range(6):
        pair.talk()
        pair.step()
    assert pair.goals() == before and not pair.goal_swap["a"].machine.counters["awarded"]


@pytest.mark.parametrize("lost", ["GoalCall", "GoalBid", "GoalAward"])
def test_lost_messages_leave_goals_where_they_are(lost: str) -> None:
    pair = crossed()
    before = pair.goals()
    for _ in range(6):
        pair.talk(lost)
        pair.step()
    assert pair.goals() == before


def test_an_award_whose_answer_is_lost_leaves_one_goal_pursued_twice() -> None:
    pair = crossed()
    pair.goal_swap["b"].machine.call = lambda tasks, now: None  # type: ignore[method-assign]  # only a calls
    for _ in range(6):
        pair.talk("GoalReply")
        pair.step()
    assert pair.goals() == [number(*CORNER), number(*CORNER)]


def test_goals_of_another_episode_are_not_bid_on() -> None:
    pair = crossed()
    pair.goal_swap["a"].observed(at(5, 0.0))
    (send,) = pair.goal_swap["a"].machine.outgoing()
    pair.goal_swap["b"].machine.receive("a", send.message, send.arrays, 0.0)
    pair.goal_swap["b"].observed(at(6, 0.0))
    assert not pair.goal_swap["b"].machine.counters["bids"]


def test_a_goal_that_was_given_away_is_on_offer_no_more() -> None:
    pair = crossed()
    bidder = pair.goal_swap["b"].machine
    for lost in ("GoalBid", "GoalBid", ""):
        pair.talk(lost)  # both have called, and no call has arrived
    (called,) = pair.goal_swap["a"].machine._calls
    bidder.receive("a", GoalAward(), {"number": np.array([called]), "own": np.array([1001])}, pair.now)
    assert bidder.wake() < inf
    pair.goal_swap["b"].observed(at(5, pair.now))
    assert bidder.wake() == inf, "its own call is closed"


def test_an_award_of_a_goal_of_another_episode_is_refused() -> None:
    """An old goal for a new one: a correct agent does not offer that."""
    pair = crossed()
    pair.talk("GoalBid")
    pair.talk("GoalBid")
    (called,) = pair.goal_swap["a"].machine._calls
    tick(pair.teachers["b"], grid((3, 1)), flags=DONE)
    tick(pair.teachers["b"], grid((3, 1)), flags=FIRST)
    pair.episode = 6
    (own,) = pair.teachers["b"].swappable().tolist()
    bidder = pair.goal_swap["b"].machine
    bidder.receive("a", GoalAward(), {"number": np.array([called]), "own": np.array([1000 + own])}, pair.now)
    pair.goal_swap["b"].observed(at(6, pair.now))
    (reply,) = (send for send in bidder.outgoing() if isinstance(send.message, GoalReply))
    assert reply.arrays["taken"].tolist() == [0]
