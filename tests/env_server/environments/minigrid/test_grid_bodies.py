"""Several bodies in one MiniGrid environment: where they begin, whose turn it is, what they may do to one another, and what they carry."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from minigrid.core.grid import Grid
from minigrid.core.world_object import Ball, Box, Door, Floor, Goal, Key, Lava, Wall, WorldObj

from env_server.environments.environment_factory import EnvironmentProblem
from env_server.environments.minigrid.grid_bodies import SharedGridBodies, nearest_cells

LEFT, RIGHT, FORWARD, PICKUP, DROP, TOGGLE, DONE = range(7)
EAST, SOUTH, WEST, NORTH = range(4)
Placed = tuple[tuple[int, int], int]


def crowd(*places: Placed, name: str = "MiniGrid-Empty-8x8-v0", seed: int = 0, **arguments: Any) -> tuple[Any, SharedGridBodies]:
    """The environment, and bodies in it at (x, y) with a direction each."""
    environment: Any = gymnasium.make(name, disable_env_checker=True, **arguments).unwrapped
    several = SharedGridBodies(environment)
    environment.reset(seed=seed)
    several.enter(len(places), np.random.default_rng(0))
    for body, (cell, direction) in zip(several.bodies, places, strict=True):
        body.cell, body.direction = cell, direction
    return environment, several


def where(several: SharedGridBodies) -> list[tuple[int, int]]:
    return [body.cell for body in several.bodies]


# --- where they begin -------------------------------------------------------------------------------------------------------------------


def corridor(*things: WorldObj | None) -> Grid:
    """One row of cells from (1, 1) on, between walls."""
    grid = Grid(len(things) + 2, 3)
    grid.wall_rect(0, 0, grid.width, 3)
    for x, thing in enumerate(things):
        grid.set(x + 1, 1, thing)
    return grid


def test_they_begin_on_the_nearest_cells() -> None:
    grid = Grid(7, 7)
    grid.wall_rect(0, 0, 7, 7)
    assert nearest_cells(grid, (3, 3), 6) == [(3, 3), (4, 3), (3, 4), (2, 3), (3, 2), (5, 3)]
    assert len(set(nearest_cells(grid, (1, 1), 25))) == 25
    with pytest.raises(EnvironmentProblem, match=r"26 agents .* only 25 free cells"):
        nearest_cells(grid, (1, 1), 26)


@pytest.mark.parametrize(
    ("between", "passed"),
    [
        (Door("red"), False),
        (Door("red", is_locked=True), False),
        (Door("red", is_open=True), True),
        (Ball("red"), True),
        (Box("red"), True),
        (Goal(), False),
        (Lava(), False),
        (Wall(), False),
    ],
)
def test_nobody_begins_behind_what_must_be_opened_or_ends_the_episode(between: WorldObj, passed: bool) -> None:
    grid = corridor(None, between, None)
    if passed:
        assert nearest_cells(grid, (1, 1), 2) == [(1, 1), (3, 1)], "behind it, and not where it is"
    else:
        with pytest.raises(EnvironmentProblem, match="only 1 free cells"):
            nearest_cells(grid, (1, 1), 2)


def test_floor_is_as_good_as_nothing() -> None:
    assert nearest_cells(corridor(None, Floor("blue"), None), (1, 1), 3) == [(1, 1), (2, 1), (3, 1)]


def test_the_first_has_the_place_of_the_level_and_directions_are_drawn() -> None:
    environment, several = crowd(*[((1, 1), 0)] * 4, name="MiniGrid-FourRooms-v0")
    seen = set()
    for seed in range(12):
        environment.reset(seed=seed)
        several.enter(4, np.random.default_rng(seed))
        first, *others = several.bodies
        assert first.cell == tuple(environment.agent_pos) and first.direction == environment.agent_dir
        assert len(set(where(several))) == 4
        seen |= {body.direction for body in others}
    assert seen == {EAST, SOUTH, WEST, NORTH}


# --- turns ------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_who_is_first_gets_the_cell_that_two_want(order: list[int]) -> None:
    _, several = crowd(((1, 1), EAST), ((3, 1), WEST))
    several.take_turns([FORWARD, FORWARD], order)
    assert several.bodies[order[0]].cell == (2, 1) and several.bodies[order[1]].cell in ((1, 1), (3, 1))


@pytest.mark.parametrize(("order", "followed"), [([0, 1], True), ([1, 0], False)])
def test_whoever_makes_room_first_can_be_followed(order: list[int], followed: bool) -> None:
    _, several = crowd(((2, 1), EAST), ((1, 1), EAST))
    several.take_turns([FORWARD, FORWARD], order)
    assert where(several) == [(3, 1), (2, 1) if followed else (1, 1)]


def test_one_step_is_one_step_however_many_act() -> None:
    environment, several = crowd(((1, 1), EAST), ((3, 3), EAST), ((5, 6), EAST), max_steps=10)
    assert not several.take_turns([LEFT, LEFT, DONE], [0, 1, 2]).truncated and environment.step_count == 1
    turns = several.take_turns([LEFT, LEFT, FORWARD], [0, 1, 2])
    assert turns.earned == [0, 0, pytest.approx(1 - 0.9 * 2 / 10)] and turns.terminated and environment.step_count == 2
    _, blocked = crowd(((1, 1), EAST), ((2, 1), WEST), max_steps=2)
    assert not blocked.take_turns([FORWARD] * 2, [0, 1]).truncated
    assert blocked.take_turns([FORWARD] * 2, [0, 1]).truncated, "although no agent could act"


@pytest.mark.parametrize(("order", "turned"), [([0, 1], False), ([1, 0], True)])
def test_after_the_end_nobody_acts(order: list[int], turned: bool) -> None:
    _, several = crowd(((5, 6), EAST), ((1, 1), EAST))
    turns = several.take_turns([FORWARD, LEFT], order)
    assert turns.terminated and turns.earned[0] > 0 and turns.earned[1] == 0
    assert (several.bodies[1].direction == NORTH) == turned


# --- bodies in the way ------------------------------------------------------------------------------------------------------------------


def test_nobody_walks_drops_or_shuts_doors_where_another_is() -> None:
    environment, several = crowd(((1, 1), EAST), ((2, 1), EAST))
    door, ball = Door("red", is_open=True), Ball("blue")
    environment.grid.set(2, 1, door)
    several.bodies[0].carried = ball
    for action in (FORWARD, DROP, TOGGLE, PICKUP):
        several.take_turns([action, DONE], [0, 1])
        assert where(several) == [(1, 1), (2, 1)] and door.is_open and several.bodies[0].carried is ball
        assert environment.grid.get(2, 1) is door
    several.take_turns([RIGHT, DONE], [0, 1])
    assert several.bodies[0].direction == SOUTH, "it may turn away"
    several.take_turns([LEFT, FORWARD], [1, 0])
    several.take_turns([TOGGLE, DONE], [0, 1])
    assert not door.is_open, "once the other has left"


def test_a_level_that_punishes_collisions_does_not_punish_for_meeting_others() -> None:
    name = "MiniGrid-Dynamic-Obstacles-6x6-v0"
    environment, several = crowd(((1, 1), EAST), ((2, 1), WEST), name=name, n_obstacles=0)
    turns = several.take_turns([FORWARD, FORWARD], [0, 1])
    assert turns.earned == [0, 0] and not turns.terminated
    environment.grid.set(2, 1, Ball("blue"))
    several.bodies[1].cell = (4, 4)
    turns = several.take_turns([FORWARD, LEFT], [0, 1])
    assert turns.earned == [-1, 0] and turns.terminated


def test_things_that_move_on_their_own_do_not_move_onto_anybody() -> None:
    environment, several = crowd(*[((1, 1), 0)] * 4, name="MiniGrid-Dynamic-Obstacles-6x6-v0")
    moved = 0
    for seed in range(20):
        environment.reset(seed=seed)
        several.enter(4, np.random.default_rng(seed))
        before = [tuple(ball.cur_pos) for ball in environment.obstacles]
        for _ in range(20):
            several.take_turns([LEFT] * 4, [3, 1, 0, 2])
            assert all(environment.grid.get(*cell) is None for cell in where(several))
        moved += before != [tuple(ball.cur_pos) for ball in environment.obstacles]
        several.leave()
    assert moved == 20


# --- things ---------------------------------------------------------------------------------------------------------------------------


def test_everybody_carries_something_of_its_own() -> None:
    environment, several = crowd(((1, 1), EAST), ((1, 3), EAST))
    key, ball = Key("yellow"), Ball("blue")
    door = Door("yellow", is_locked=True)
    for cell, thing in (((2, 1), key), ((2, 3), ball), ((1, 2), door)):
        environment.grid.set(*cell, thing)
    several.take_turns([PICKUP, PICKUP], [1, 0])
    assert [body.carried for body in several.bodies] == [key, ball]
    assert environment.grid.get(2, 1) is None and environment.grid.get(2, 3) is None
    several.take_turns([RIGHT, LEFT], [0, 1])
    several.take_turns([DONE, TOGGLE], [0, 1])
    assert door.is_locked, "the other has the key"
    several.take_turns([TOGGLE, DONE], [0, 1])
    assert door.is_open and not door.is_locked
    several.take_turns([DONE, RIGHT], [0, 1])
    several.take_turns([DONE, DROP], [0, 1])
    assert environment.grid.get(2, 3) is ball and [body.carried for body in several.bodies] == [key, None]
    several.bodies[0].cell, several.bodies[0].direction = (2, 2), SOUTH
    several.take_turns([PICKUP, DONE], [0, 1])
    assert several.bodies[0].carried is key, "its hands are full"
    several.take_turns([DONE, PICKUP], [0, 1])
    assert several.bodies[1].carried is ball


def test_a_mission_of_babyai_remembers_what_each_of_them_carried() -> None:
    """It takes a thing for picked up if nothing was carried before: by the body that picks it up, not by the one that acted last."""
    environment, several = crowd(((1, 1), 0), ((1, 1), 0), name="BabyAI-PickupDist-v0", seed=3)
    wanted = environment.instrs.desc.obj_set[0]
    x, y = wanted.cur_pos
    (free,) = [d for d, (dx, dy) in enumerate([(1, 0), (0, 1), (-1, 0), (0, -1)]) if environment.grid.get(x - dx, y - dy) is None][:1]
    dx, dy = [(1, 0), (0, 1), (-1, 0), (0, -1)][free]
    one, two = several.bodies
    one.cell, one.direction = (x - dx, y - dy), free
    elsewhere = next(
        (i, j)
        for i in range(1, environment.width - 1)
        for j in range(1, environment.height - 1)
        if environment.grid.get(i, j) is None and abs(i - x) + abs(j - y) > 3
    )
    two.cell, two.carried = elsewhere, Key("grey")
    several.take_turns([DONE, DONE], [0, 1])
    turns = several.take_turns([PICKUP, DONE], [1, 0])
    assert turns.terminated and turns.earned[0] > 0
