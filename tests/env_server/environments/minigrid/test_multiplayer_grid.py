"""All agents in every copy of a MiniGrid environment: what they see of one another, rewards, episodes, presence, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from env_server.environments.environment_contracts import TickResult
from env_server.environments.minigrid.grid_copies import VectorMiniGrid
from env_server.environments.minigrid.multiplayer_grid import SharedMiniGrid
from env_server.environments.minigrid.settings import MiniGridOptions
from env_server.environments.registry import create, describe, is_single_player, problems
from env_server.settings import EnvironmentSettings
from protocols.conversations.stepping.stepping_messages import Flag
from protocols.spaces.grid_space import AGENT, Grids
from protocols.spaces.layout import GridInfo
from tests.env_server.environments.flag_rules import FlagRules

LEFT, RIGHT, FORWARD, PICKUP, DROP, TOGGLE, DONE = range(7)
NAMES = ("agent-0", "agent-1", "agent-2")
SEED = 3


def make(name: str, agents: int = 3, copies: int = 2, **options: Any) -> SharedMiniGrid:
    return SharedMiniGrid(name, MiniGridOptions(players="all", **options), NAMES[:agents], copies, SEED)


def grids(environment: SharedMiniGrid | VectorMiniGrid) -> Grids:
    info = environment.layout("agent-0").grid
    assert info is not None
    return Grids.from_info(info)


def cells(environment: SharedMiniGrid, outcome: TickResult, agent: str, which: str = "full", copy: int = 0) -> np.ndarray:
    """One of the grids that an agent sees, [x][y][channel]."""
    part = getattr(grids(environment), which)
    return outcome.agents[agent].observation[copy, part.cells].reshape(part.width, part.height, 3)


def act(environment: SharedMiniGrid, *actions: int) -> TickResult:
    """One step: the agents' actions, the same in all copies."""
    given = {agent: np.full((environment.copies, 1), action, np.int32) for agent, action in zip(environment.agents, actions, strict=False)}
    return environment.step(given)


def put(environment: SharedMiniGrid, *places: tuple[tuple[int, int], int]) -> None:
    """All agents in copy 0 at a place (x, y) and a direction."""
    for body, (cell, direction) in zip(environment._crowds[0].bodies, places, strict=True):
        body.cell, body.direction = cell, direction


# --- one agent --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("view", ["full", "both", "partial"])
@pytest.mark.parametrize(
    "name",
    [
        "MiniGrid-KeyCorridorS3R1-v0",
        "MiniGrid-DoorKey-6x6-v0",
        "MiniGrid-Dynamic-Obstacles-6x6-v0",
        "MiniGrid-LavaGapS5-v0",
        "BabyAI-PutNextLocal-v0",
    ],
)
def test_one_agent_plays_to_the_bit_what_it_plays_in_copies_of_its_own(name: str, view: Any) -> None:
    short = {} if name.startswith("BabyAI") else {"arguments": {"max_steps": 40}}
    alone = VectorMiniGrid(name, MiniGridOptions(view=view, **short), NAMES[:1], 3, SEED)
    shared = make(name, 1, 3, view=view, **short)
    one, other = alone.reset(), shared.reset()
    alone.evaluate(2, aligned=False)
    shared.evaluate(2, aligned=False)
    random, records, choices = np.random.default_rng(7), 0, alone.layout("agent-0").actions[0]
    skipped = grids(shared).size - grids(alone).size
    for _ in range(150):
        mine, theirs = one.agents["agent-0"], other.agents["agent-0"]
        np.testing.assert_array_equal(mine.observation, theirs.observation[:, skipped:])
        np.testing.assert_array_equal(mine.reward, theirs.reward)
        np.testing.assert_array_equal(mine.flags, theirs.flags)
        np.testing.assert_array_equal(one.episode, other.episode)
        if grids(shared).crowd is not None:
            np.testing.assert_array_equal(theirs.observation[:, :skipped], mine.observation)
        found, again = alone.finished(), shared.finished()
        assert [(record.episode, record.rewards, record.lengths, record.evaluation, record.metrics["success"]) for record in found] == [
            (record.episode, record.rewards, record.lengths, record.evaluation, record.metrics["success.agent-0"]) for record in again
        ]
        records += len(found)
        action = {"agent-0": random.integers(0, choices, (3, 1)).astype(np.int32)}
        one, other = alone.step(action), shared.step(action)
    assert records >= (0 if name.startswith("BabyAI") else 9)


# --- what they see ----------------------------------------------------------------------------------------------------------------------


def test_layouts_say_which_grid_comes_first() -> None:
    def layout(view: str) -> Any:
        settings = EnvironmentSettings(id="minigrid:MiniGrid-Empty-8x8-v0", options={"players": "all", "view": view}, copies=1)
        return describe(settings, NAMES).layouts["agent-2"]

    full, both, part = layout("full"), layout("both"), layout("partial")
    assert full.grid == GridInfo(width=8, height=8, longest=256, crowd=True) and full.shape == [2 * (8 * 8 * 3 + 2)]
    assert both.grid == GridInfo(width=8, height=8, partial=7, longest=256) and both.shape == [149 + 194]
    assert part.grid == GridInfo(partial=7, longest=256) and part.shape == [149]
    first, last = Grids.from_info(full.grid).seen, Grids.from_info(full.grid).whole
    assert (first.start, first.stop, last.start, last.stop) == (0, 194, 194, 388)
    for wrong in (GridInfo(partial=7, longest=5, crowd=True), GridInfo(width=3, height=3, partial=7, longest=5, crowd=True)):
        with pytest.raises(ValueError, match="never beside an egocentric one"):
            Grids.from_info(wrong)


def test_the_first_grid_shows_everybody_and_the_last_one_oneself() -> None:
    environment = make("MiniGrid-Empty-8x8-v0")
    environment.reset()
    put(environment, ((1, 1), 0), ((4, 2), 1), ((6, 4), 2))
    outcome = act(environment, DONE, DONE, DONE)
    bodies = {"agent-0": ((1, 1), 0), "agent-1": ((4, 2), 1), "agent-2": ((6, 4), 2)}
    for agent, (cell, direction) in bodies.items():
        crowd, alone = cells(environment, outcome, agent, "crowd"), cells(environment, outcome, agent)
        assert np.argwhere(alone[..., 0] == AGENT).tolist() == [list(cell)]
        assert alone[cell].tolist() == crowd[cell].tolist() == [AGENT, 0, direction]
        others = [(number, *bodies[other]) for number, other in enumerate((name for name in NAMES if name != agent), start=1)]
        for number, there, looks in others:
            assert crowd[there].tolist() == [AGENT, number, looks] and alone[there].tolist() == [1, 0, 0]
            crowd[there] = (1, 0, 0)
        np.testing.assert_array_equal(crowd, alone)


def test_what_others_do_is_in_the_whole_grid_and_where_they_are_is_not() -> None:
    environment = make("MiniGrid-DoorKey-6x6-v0", 2, fix_layout=True, layout_seed=2)  # the key at (1, 4), a door at (3, 2)
    environment.reset()
    put(environment, ((1, 1), 0), ((2, 4), 2))
    before = cells(environment, act(environment, DONE, DONE), "agent-0")
    for action in (LEFT, FORWARD, RIGHT):
        np.testing.assert_array_equal(cells(environment, act(environment, DONE, action), "agent-0"), before)
    outcome = act(environment, DONE, PICKUP)
    after = cells(environment, outcome, "agent-0")
    assert before[1, 4].tolist() == [5, 4, 0] and after[1, 4].tolist() == [1, 0, 0]
    after[1, 4] = before[1, 4]
    np.testing.assert_array_equal(after, before)
    part = grids(environment).whole
    hands = [outcome.agents[agent].observation[0, part.carried].tolist() for agent in NAMES[:2]]
    assert hands == [[1, 5], [5, 4]], "one's own hands alone"


def test_the_square_shows_others_as_they_stand_to_oneself_and_not_through_walls() -> None:
    environment = make("MiniGrid-DoorKey-6x6-v0", 3, view="both", fix_layout=True, layout_seed=2)
    environment.reset()
    put(environment, ((1, 2), 0), ((2, 3), 3), ((4, 2), 1))  # a wall with a locked door between them and the third
    outcome = act(environment, DONE, DONE, DONE)
    square = cells(environment, outcome, "agent-0", "partial")
    # Looking right: one ahead and one to the right is [4][5]; who looks up in the grid looks left in the square.
    assert square[4, 5].tolist() == [AGENT, 1, 2]
    assert (square[..., 0] == AGENT).sum() == 1, "the third is hidden, and in one's own cell is what is carried"
    assert square[3, 6].tolist() == [1, 0, 0]
    assert not (cells(environment, outcome, "agent-2", "partial")[..., 0] == AGENT).any()
    back = cells(environment, outcome, "agent-1", "partial")  # looking up from (2, 3): the other is ahead to the left and looks right
    assert back[2, 5].tolist() == [AGENT, 1, 0]
    assert (cells(environment, outcome, "agent-1")[..., 0] == AGENT).sum() == 1
    put(environment, ((1, 2), 0), ((2, 2), 0), ((4, 2), 1))
    ahead = cells(environment, act(environment, DONE, DONE, DONE), "agent-0", "partial")
    assert ahead[3, 5].tolist() == [AGENT, 1, 3], "who looks where one looks oneself looks up"


def test_after_five_others_colours_begin_anew() -> None:
    names = tuple(f"agent-{i}" for i in range(8))
    environment = SharedMiniGrid("MiniGrid-Empty-8x8-v0", MiniGridOptions(players="all"), names, 1, SEED)
    seen = cells(environment, environment.reset(), "agent-7", "crowd")
    bodies = seen[seen[..., 0] == AGENT]
    assert sorted(bodies[:, 1].tolist()) == [0, 1, 1, 2, 2, 3, 4, 5]


# --- rewards and episodes ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reward", ["team", "own"])
def test_a_success_of_one_ends_the_episode_for_all(reward: Any) -> None:
    environment = make("MiniGrid-Empty-8x8-v0", copies=1, reward=reward, timeout="truncated")
    environment.reset()
    put(environment, ((1, 1), 0), ((5, 6), 0), ((3, 3), 0))
    outcome = act(environment, LEFT, FORWARD, LEFT)
    paid = pytest.approx(1 - 0.9 / 256)
    flags = {int(outcome.agents[agent].flags[0]) for agent in NAMES}
    assert flags == {int(Flag.MEMBER | Flag.TERMINATED | Flag.OVER)}
    earned = [float(outcome.agents[agent].reward[0]) for agent in NAMES]
    assert earned == ([paid] * 3 if reward == "team" else [0, paid, 0])
    (record,) = environment.finished()
    assert record.members == NAMES and record.lengths == (1, 1, 1) and record.rewards == (0, paid, 0), "what each has earned itself"
    assert record.metrics == {"success": 1.0, "success.agent-0": 0.0, "success.agent-1": 1.0, "success.agent-2": 0.0}
    again = act(environment, LEFT, LEFT, LEFT)
    assert {int(again.agents[agent].flags[0]) for agent in NAMES} == {int(Flag.MEMBER | Flag.FIRST)} and again.episode.tolist() == [1]


@pytest.mark.parametrize("timeout", ["terminal", "truncated"])
def test_time_is_up_for_all_at_once(timeout: Any) -> None:
    environment = make("MiniGrid-Empty-8x8-v0", timeout=timeout, arguments={"max_steps": 3})
    environment.reset()
    ends = [act(environment, LEFT, LEFT, LEFT).agents["agent-2"].flags.tolist() for _ in range(3)]
    last = int(Flag.MEMBER | Flag.OVER | (Flag.TERMINATED if timeout == "terminal" else Flag.TRUNCATED))
    assert ends == [[1, 1], [1, 1], [last, last]]


def test_flags_obey_the_rules_of_all_environments() -> None:
    environment = make("MiniGrid-Empty-5x5-v0", 2, 4, reward="own", arguments={"max_steps": 30})
    rules, random = FlagRules(environment), np.random.default_rng(1)
    rules.check(environment.reset(8))
    played = 0
    for step in range(200):
        if step in (60, 90):
            environment.set_present(NAMES[:1] if step == 60 else NAMES[:2])
        actions = {agent: random.integers(0, 7, (4, 1)).astype(np.int32) for agent in environment.agents}
        rules.check(environment.step(actions))
        records = environment.finished()
        rules.check_records(records)
        played += len(records)
    assert played > 20


def walk(seed: int, copies: int = 3, **options: Any) -> list[bytes]:
    """What is seen in copy 0 in 40 steps, all of one episode."""
    environment = make("MiniGrid-FourRooms-v0", 3, copies, **options)
    outcomes, random = [environment.reset(seed)], np.random.default_rng(2)
    for _ in range(40):
        drawn = random.integers(0, 3, 3)
        outcomes.append(act(environment, *drawn.tolist()))
    return [outcome.agents["agent-1"].observation[0].tobytes() for outcome in outcomes]


def test_equal_seeds_repeat_whatever_else_is_played() -> None:
    assert walk(1) == walk(1) == walk(1, copies=1) != walk(2)
    first = walk(1, fix_layout=True)
    assert first[0] == walk(2, fix_layout=True)[0] != walk(1, fix_layout=True, layout_seed=9)[0], "bodies belong to the layout"


def test_the_order_is_drawn_anew_for_every_step() -> None:
    """Two who walk towards one cell between them: now the one is first, now the other."""
    environment = make("MiniGrid-Empty-8x8-v0", 2, 1)
    environment.reset()
    winners = ""
    for _ in range(40):
        put(environment, ((1, 1), 0), ((3, 1), 2))
        outcome = act(environment, FORWARD, FORWARD)
        winners += "0" if cells(environment, outcome, "agent-0")[2, 1, 0] == AGENT else "1"
    assert 10 < winners.count("0") < 30 and "00" in winners and "11" in winners and "01" in winners
    again = make("MiniGrid-Empty-8x8-v0", 2, 1)
    again.reset()
    for winner in winners:
        put(again, ((1, 1), 0), ((3, 1), 2))
        assert (cells(again, act(again, FORWARD, FORWARD), "agent-0")[2, 1, 0] == AGENT) == (winner == "0")


# --- presence, evaluation, pictures -----------------------------------------------------------------------------------------------------


def test_who_leaves_stays_to_the_end_of_the_episode_and_who_comes_waits_for_the_next() -> None:
    environment = make("MiniGrid-Empty-8x8-v0", copies=1, arguments={"max_steps": 4})
    environment.reset()
    act(environment, DONE, DONE, DONE)
    environment.set_present(("agent-0", "agent-2"))
    direction = cells(environment, act(environment, DONE, DONE, DONE), "agent-1")[2, 1, 2].item()
    outcome = environment.step({"agent-0": np.array([[DONE]]), "agent-2": np.array([[DONE]])})
    assert cells(environment, outcome, "agent-1")[2, 1, 2] == (direction - 1) % 4, "the action of a missing agent is to turn left"
    act(environment, DONE, DONE, DONE)
    outcome = act(environment, DONE, DONE, DONE)
    assert not outcome.agents["agent-1"].flags.any() and not outcome.agents["agent-1"].observation.any()
    crowd = cells(environment, outcome, "agent-0", "crowd")
    assert sorted(crowd[crowd[..., 0] == AGENT][:, 1].tolist()) == [0, 2], "the others keep their colours"
    environment.set_present(NAMES)
    for _ in range(4):
        outcome = act(environment, DONE, DONE, DONE)
        assert not outcome.agents["agent-1"].flags.any()
    assert act(environment, DONE, DONE, DONE).agents["agent-1"].flags.tolist() == [int(Flag.MEMBER | Flag.FIRST)]
    assert [record.members for record in environment.finished()] == [NAMES, ("agent-0", "agent-2")]
    environment.set_present(("agent-1",))
    environment.reset()
    assert environment._games[0].members == NAMES, "who was there is forgotten, so that a run that goes on from a checkpoint is the same"


def test_evaluations_are_the_next_episodes() -> None:
    environment = make("MiniGrid-Empty-8x8-v0", copies=2, arguments={"max_steps": 3})
    environment.reset()
    environment.evaluate(3, aligned=True)
    for _ in range(16):
        act(environment, LEFT, LEFT, LEFT)
    assert [record.evaluation for record in environment.finished()] == [False] * 2 + [True] * 3 + [False] * 3


@pytest.mark.parametrize("view", ["full", "partial"])
def test_pictures_show_everybody(view: Any) -> None:
    environment = make("MiniGrid-Empty-8x8-v0", view=view)
    environment.reset()
    put(environment, ((1, 1), 0), ((4, 2), 1), ((6, 4), 2))
    picture = environment.render(0)
    assert picture.shape == (8 * 32, 8 * 32, 3) and picture.dtype == np.uint8
    middles = np.array([picture[y * 32 + 16, x * 32 + 16] for x, y in ((1, 1), (4, 2), (6, 4))])
    assert middles.tolist() == np.where(np.eye(3), 255, 0 if view == "full" else 76).tolist(), "red, green, blue"
    before = picture.copy()
    act(environment, DONE, RIGHT, DONE)
    after = environment.render(0)
    changed = np.argwhere((before != after).any(axis=2))
    if view == "full":
        assert (changed // 32 == (2, 4)).all() and len(changed)
    else:
        assert after[5 * 32 + 16, 5 * 32 + 16].tolist() != [0, 0, 0], "what is seen is lighter"
    own = VectorMiniGrid("MiniGrid-Empty-8x8-v0", MiniGridOptions(view=view), NAMES[:1], 1, SEED)
    single = make("MiniGrid-Empty-8x8-v0", 1, 1, view=view)
    own.reset()
    single.reset()
    assert np.abs(own.render(0).astype(int) - single.render(0)).max() <= 2, "one agent looks as ever, but for rounding"


# --- what is refused --------------------------------------------------------------------------------------------------------------------


def settings(name: str = "minigrid:MiniGrid-DoorKey-6x6-v0", **options: Any) -> EnvironmentSettings:
    return EnvironmentSettings(id=name, options=options, copies=1)


def test_copies_may_be_fewer_than_agents_only_where_all_play_together() -> None:
    assert not problems(settings(players="all"), NAMES)
    assert isinstance(create(settings(players="all"), NAMES), SharedMiniGrid)
    (found,) = problems(settings(), NAMES)
    assert found.path == ("environment", "copies") and "options.players: all" in found.message
    assert (
        is_single_player(settings())
        and not is_single_player(settings(players="all"))
        and is_single_player(settings("gymnasium:CartPole-v1"))
    )


def test_without_room_nothing_starts() -> None:
    (found,) = problems(settings("minigrid:MiniGrid-KeyCorridorS3R1-v0", players="all"), NAMES)
    assert found.path == ("agents", "count") and "3 agents" in found.message and "larger rooms" in found.message


@pytest.mark.parametrize("name", ["landmarks", "reward_collection", "gymnasium:CartPole-v1", "mpe2:simple_spread_v3"])
def test_players_belong_to_minigrid(name: str) -> None:
    found = problems(settings(name, players="all"), NAMES[:1] if "Cart" in name else NAMES)
    assert found[0].path[:2] == ("environment", "options") and "players" in (found[0].path[-1] + found[0].message)
