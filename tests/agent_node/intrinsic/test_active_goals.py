"""Goals that are cells: when they are reached, how long they took, and what an episode's end means to them."""

import numpy as np
import pytest
from numpy.typing import NDArray

from agent_node.intrinsic.active_goals import ActiveGoals, GoalTick, changed, occupied
from protocols.conversations.stepping.stepping_messages import Flag
from tests.agent_node.grid_worlds import BALL, DONE, FIRST, KEY, MEMBER, door, grid, number

CLOSED, OPEN = door(1), door(0)


def one(cells: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return cells.reshape(1, -1)


def with_thing(cells: NDArray[np.uint8], place: tuple[int, int], thing: tuple[int, int, int]) -> NDArray[np.uint8]:
    cells = cells.copy()
    cells[place] = thing
    return cells


before = with_thing(with_thing(grid((1, 1), 0), (3, 1), CLOSED), (2, 2), (KEY, 1, 0))


@pytest.mark.parametrize(
    ("what", "after", "goal", "wanted"),
    [
        ("entered", grid((2, 1), 0), (2, 1), True),
        ("left", grid((2, 1), 0), (1, 1), True),
        ("turned in place", grid((1, 1), 1), (1, 1), True),
        ("a door opened", with_thing(before, (3, 1), OPEN), (3, 1), True),
        ("a key taken", with_thing(before, (2, 2), (1, 0, 0)), (2, 2), True),
        ("a ball put down", with_thing(before, (3, 2), (BALL, 2, 0)), (3, 2), True),
        ("a wall", grid((2, 1), 0), (0, 0), False),
        ("nothing happened", before, (1, 1), False),
        ("elsewhere", with_thing(before, (3, 1), OPEN), (2, 2), False),
    ],
)
def test_a_goal_is_reached_when_its_cell_has_changed(what: str, after: NDArray[np.uint8], goal: tuple[int, int], wanted: bool) -> None:
    assert changed(one(after), one(before), np.array([number(*goal)])).tolist() == [wanted], what


def test_by_position_the_agent_must_stand_there() -> None:
    after = with_thing(grid((2, 1), 3), (3, 1), OPEN)
    for goal, wanted in (((2, 1), True), ((1, 1), False), ((3, 1), False)):
        assert occupied(one(after), one(before), np.array([number(*goal)])).tolist() == [wanted]


class Play:
    """One copy, tick by tick; every wanted goal is `goal`."""

    def __init__(self, boundary: str, goal: tuple[int, int]) -> None:
        self.active_goals = ActiveGoals(1, grid().size, changed, boundary)  # type: ignore[arg-type]
        self.goal = number(*goal)

    def __call__(self, cells: NDArray[np.uint8], flags: int = MEMBER, reward: float = 0.0, continuous: bool = True) -> GoalTick:
        step = self.active_goals.tick(one(cells), np.array([reward], np.float32), np.array([flags], np.uint16), continuous)
        rows = step.wanting
        evaluation = np.full(len(rows), bool(flags & Flag.EVALUATION))
        self.active_goals.set(rows, one(cells)[rows], np.full(len(rows), self.goal), np.full(len(rows), -1.0, np.float32), evaluation)
        return step


def test_the_clock_counts_the_step_that_reaches_and_begins_anew_with_the_next_goal() -> None:
    play = Play("terminal_grid", (2, 1))
    assert play(grid((1, 1)), FIRST).wanting.tolist() == [0]
    assert not play(grid((1, 1), 1)).reached[0]
    assert not play(grid((1, 1), 0)).reached[0]
    step = play(grid((2, 1), 0), reward=0.0)
    assert step.reached[0] and step.ended["duration"].tolist() == [3] and step.ended["reached"].tolist() == [True]
    assert np.array_equal(step.ended["snapshot"][0], grid((1, 1)).reshape(-1)), "the grid in which it was set, not the present one"
    step = play(grid((2, 1), 1))
    assert step.reached[0] and step.ended["duration"].tolist() == [1], "left or turned: the new goal is the same cell, and took one step"


def test_there_is_one_entry_for_the_last_step_even_if_it_reaches_the_goal() -> None:
    play = Play("terminal_grid", (2, 1))
    play(grid((1, 1)), FIRST)
    step = play(grid((2, 1)), DONE, reward=0.9)
    assert step.ended["row"].tolist() == [0] and step.ended["reached"].tolist() == [True]
    assert step.ended["reward"].tolist() == [np.float32(0.9)] and not len(step.wanting)
    following = play(grid((3, 2)), FIRST)
    assert not len(following.ended["row"]) and following.wanting.tolist() == [0] and not following.late[0]


@pytest.mark.parametrize(("boundary", "late"), [("terminal_grid", False), ("reset_grid", True), ("ignored", False)])
def test_another_layout_reaches_goals_only_if_the_reset_grid_counts(boundary: str, late: bool) -> None:
    """The goal is a wall that the next episode does not have."""
    play = Play(boundary, (0, 0))
    play(grid(), FIRST)
    ended = play(grid((2, 1)), DONE)
    assert not ended.reached[0]
    new = with_thing(grid((3, 2)), (0, 0), (1, 0, 0))
    following = play(new, FIRST)
    assert following.late[0] == late
    entries = ended.ended if boundary != "reset_grid" else following.ended
    others = following.ended if boundary != "reset_grid" else ended.ended
    assert entries["reached"].tolist() == [late] and entries["duration"].tolist() == [1] and not len(others["row"])


@pytest.mark.parametrize(("boundary", "reached"), [("terminal_grid", True), ("ignored", False), ("reset_grid", False)])
def test_what_the_last_step_does_counts_only_if_the_terminal_grid_counts(boundary: str, reached: bool) -> None:
    play = Play(boundary, (2, 1))
    play(grid((1, 1)), FIRST)
    assert play(grid((2, 1)), DONE).reached[0] == reached
    assert not play(grid((1, 1)), FIRST).late[0]


def test_after_missed_ticks_nobody_is_paid_and_goals_are_set_anew() -> None:
    play = Play("terminal_grid", (2, 1))
    play(grid((1, 1)), FIRST)
    step = play(grid((2, 1)), continuous=False)
    assert not step.reached[0] and not len(step.ended["row"]) and step.wanting.tolist() == [0]


def test_a_goal_of_an_evaluation_is_marked() -> None:
    play = Play("terminal_grid", (2, 1))
    play(grid((1, 1)), FIRST | Flag.EVALUATION)
    assert play(grid((2, 1)), MEMBER | Flag.EVALUATION).ended["evaluation"].tolist() == [True]


def test_copies_of_others_are_left_alone() -> None:
    play = Play("terminal_grid", (2, 1))
    assert not len(play(grid((1, 1)), 0).wanting)
    assert not len(play(grid((2, 1)), int(Flag.FIRST)).wanting)
