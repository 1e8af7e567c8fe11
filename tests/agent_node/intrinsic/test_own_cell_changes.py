"""Whose changes reach a goal that is a cell: those of the agent's own last step, or those of any agent."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from agent_node.contracts import Frame
from agent_node.intrinsic.active_goals import ActiveGoals, OwnCellChanges, changed
from agent_node.intrinsic.amigo_teacher import AmigoTeacher
from agent_node.intrinsic.settings import AmigoTeacherSettings
from agent_node.session.observation_features import Features
from env_server.environments.minigrid.grid_copies import VectorMiniGrid
from env_server.environments.minigrid.multiplayer_grid import SharedMiniGrid
from env_server.environments.minigrid.settings import MiniGridOptions
from protocols.conversations.stepping.stepping_messages import Flag
from protocols.spaces.grid_space import AGENT, WALL
from tests.agent_node.grid_worlds import BALL, FIRST, HEIGHT, KEY, MEMBER, WIDTH, door, grid, number

RIGHT, DOWN, LEFT, UP = range(4)
NAMES = ("agent-0", "agent-1")
PICKUP, TOGGLE, DONE = 3, 5, 6
Cells = NDArray[np.uint8]


def with_thing(cells: Cells, place: tuple[int, int], thing: tuple[int, int, int]) -> Cells:
    cells = cells.copy()
    cells[place] = thing
    return cells


def own(before: Cells, after: Cells, goal: tuple[int, int]) -> bool:
    (found,) = OwnCellChanges(WIDTH, HEIGHT)(after.reshape(1, -1), before.reshape(1, -1), np.array([number(*goal)])).tolist()
    return bool(found)


facing = grid((1, 1), RIGHT)


@pytest.mark.parametrize(
    ("what", "before", "after", "goal", "wanted"),
    [
        ("entered", grid((1, 1), RIGHT), grid((2, 1), RIGHT), (2, 1), True),
        ("left", grid((1, 1), RIGHT), grid((2, 1), RIGHT), (1, 1), True),
        ("turned", grid((1, 1), RIGHT), grid((1, 1), DOWN), (1, 1), True),
        ("opened to the right", with_thing(facing, (2, 1), door(1)), with_thing(facing, (2, 1), door(0)), (2, 1), True),
        ("opened below", with_thing(grid((2, 1), DOWN), (2, 2), door(1)), with_thing(grid((2, 1), DOWN), (2, 2), door(0)), (2, 2), True),
        ("taken to the left", with_thing(grid((2, 1), LEFT), (1, 1), (KEY, 1, 0)), grid((2, 1), LEFT), (1, 1), True),
        ("put down above", grid((2, 2), UP), with_thing(grid((2, 2), UP), (2, 1), (BALL, 1, 0)), (2, 1), True),
        ("where the level has put it", grid((1, 1), RIGHT), grid((3, 2), RIGHT), (3, 2), True),
        ("behind its back", grid((2, 2), UP), with_thing(grid((2, 2), UP), (1, 2), (BALL, 1, 0)), (1, 2), False),
        ("where it now looks", grid((2, 2), UP), with_thing(grid((2, 2), LEFT), (1, 2), (BALL, 1, 0)), (1, 2), False),
        ("two cells ahead", grid((1, 1), RIGHT), with_thing(grid((1, 1), RIGHT), (3, 1), (BALL, 1, 0)), (3, 1), False),
        ("ahead, but as it was", with_thing(facing, (2, 1), door(0)), with_thing(grid((1, 1), UP), (2, 1), door(0)), (2, 1), False),
    ],
)  # fmt: skip
def test_what_an_agent_may_have_done(what: str, before: Cells, after: Cells, goal: tuple[int, int], wanted: bool) -> None:
    assert own(before, after, goal) == wanted, what


def test_at_the_edge_nothing_is_ahead_in_the_next_column() -> None:
    """Cell numbers go on from the lowest row to the next column's first."""
    before = grid((1, HEIGHT - 1), DOWN)
    assert not own(before, with_thing(before, (2, 0), door(0)), (2, 0))


def test_what_another_has_done_pays_neither_then_nor_later() -> None:
    """A door that another agent has opened: the agent faces it afterwards, and at last goes through."""
    shut = with_thing(grid((1, 1), RIGHT), (3, 1), door(1))
    opened = with_thing(shut, (3, 1), door(0))
    near, looks = with_thing(grid((2, 1), RIGHT), (3, 1), door(0)), with_thing(grid((2, 1), UP), (3, 1), door(0))
    inside = grid((3, 1), RIGHT)
    for scheduled_faults, reached in ((OwnCellChanges(WIDTH, HEIGHT), [False, False, False, False, True]), (None, [True] * 5)):
        active_goals = ActiveGoals(1, shut.size, changed, "terminal_grid", scheduled_faults)
        rewards, goal, chance = np.zeros(1, np.float32), np.array([number(3, 1)]), np.zeros(1, np.float32)
        active_goals.tick(shut.reshape(1, -1), rewards, np.array([FIRST], np.uint16), True)
        found = []
        for cells in (opened, near, looks, near, inside):
            if not found or found[-1]:
                active_goals.set(np.array([0]), shut.reshape(1, -1), goal, chance, np.array([False]))
            found.append(bool(active_goals.tick(cells.reshape(1, -1), rewards, np.array([MEMBER], np.uint16), True).reached[0]))
        assert found == reached


def test_the_next_layout_is_nobodys_deed_and_judged_as_ever() -> None:
    active_goals = ActiveGoals(1, grid().size, changed, "reset_grid", OwnCellChanges(WIDTH, HEIGHT))
    rewards = np.zeros(1, np.float32)
    active_goals.tick(grid().reshape(1, -1), rewards, np.array([FIRST], np.uint16), True)
    active_goals.set(np.array([0]), grid().reshape(1, -1), np.array([number(0, 0)]), rewards, np.array([False]))
    done = int(Flag.MEMBER | Flag.TERMINATED | Flag.OVER)
    active_goals.tick(grid().reshape(1, -1), rewards, np.array([done], np.uint16), True)
    other = with_thing(grid(), (0, 0), door(0)).reshape(1, -1)
    assert active_goals.tick(other, rewards, np.array([FIRST], np.uint16), True).late.tolist() == [True]


# --- in worlds --------------------------------------------------------------------------------------------------------------------------


def teachers(environment: VectorMiniGrid | SharedMiniGrid, **settings: Any) -> list[AmigoTeacher]:
    """One for each way to judge, else alike."""
    grids = Features(environment.layout("agent-0"), 1).grids
    kinds = ("own", "any_agent")
    return [AmigoTeacher(AmigoTeacherSettings(changed_by=kind, **settings), grids, environment.copies, 5, 6) for kind in kinds]


@pytest.mark.parametrize("boundary", ["terminal_grid", "reset_grid", "ignored"])
@pytest.mark.parametrize("name", ["MiniGrid-KeyCorridorS3R1-v0", "MiniGrid-DoorKey-6x6-v0"])
def test_for_one_agent_alone_both_are_the_same(name: str, boundary: Any) -> None:
    """Random actions, random goals that are no walls, mostly near the agent; now and then a tick is missed."""
    environment = VectorMiniGrid(name, MiniGridOptions(arguments={"max_steps": 50}), NAMES[:1], 8, 3)
    height = environment.layout("agent-0").grid.height  # type: ignore[union-attr]

    def drawn(row: Cells) -> int:
        there, agent = np.flatnonzero(row[::3] != WALL), int((row[::3] == AGENT).argmax())
        near = there[np.isin(there, agent + np.array((0, 1, -1, height, -height)))]
        return int(random.choice(near if random.random() < 0.9 else there))

    mine, anybodys = (teacher.active_goals for teacher in teachers(environment, boundary=boundary))
    random, outcome, reached = np.random.default_rng(4), environment.reset(), 0
    for tick in range(600):
        batch = outcome.agents["agent-0"]
        cells = batch.observation[:, :-2]
        steps = [active_goals.tick(cells, batch.reward, batch.flags, tick % 97 != 96) for active_goals in (mine, anybodys)]
        for field in ("reached", "late", "wanting"):
            np.testing.assert_array_equal(getattr(steps[0], field), getattr(steps[1], field))
        reached += int(steps[0].reached.sum())
        rows = steps[0].wanting
        goals = np.array([drawn(row) for row in cells[rows]], np.int64)
        for active_goals in (mine, anybodys):
            active_goals.set(rows, cells[rows], goals, np.zeros(len(rows), np.float32), np.zeros(len(rows), bool))
        outcome = environment.step({"agent-0": random.integers(0, 7, (8, 1)).astype(np.int32)})
    assert reached > 140, "and not since nothing was reached"


def test_a_key_that_another_takes_reaches_ones_goal_only_if_anybodys_changes_count() -> None:
    options = MiniGridOptions(players="all", fix_layout=True, layout_seed=2)  # the key at (1, 4)
    environment = SharedMiniGrid("MiniGrid-DoorKey-6x6-v0", options, NAMES, 1, 3)
    environment.reset()
    for body, (cell, direction) in zip(environment._crowds[0].bodies, (((1, 1), 0), ((2, 4), 2)), strict=True):
        body.cell, body.direction = cell, direction
    judges = {agent: teachers(environment) for agent in NAMES}
    paid: dict[str, list[bool]] = {}
    for actions in ((DONE, DONE), (DONE, PICKUP)):
        outcome = environment.step({agent: np.array([[action]], np.int32) for agent, action in zip(NAMES, actions, strict=True)})
        for agent, both in judges.items():
            batch = outcome.agents[agent]
            frame = Frame(batch.observation, batch.reward, batch.flags, True)
            paid[agent] = [bool(judge.step(frame).reward[0] > 0) for judge in both]
            for judge in both:
                cells = batch.observation[:, judge.part.cells]
                judge.active_goals.set(np.array([0]), cells, np.array([number(1, 4, 6)]), np.zeros(1, np.float32), np.array([False]))
    assert paid == {"agent-0": [False, True], "agent-1": [True, True]}
