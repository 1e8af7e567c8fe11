"""MiniGrid's environments in K copies: the bytes agents see, the lifecycle of an episode, the owners of copies, and what is refused."""

from __future__ import annotations

import sys
from typing import Any

import gymnasium
import numpy as np
import pytest
from minigrid.wrappers import FullyObsWrapper

from env_server.environments.environment_contracts import AgentBatch, RestartableEnvironment, TickResult
from env_server.environments.environment_factory import EnvironmentProblem
from env_server.environments.episode_schedule import episode_generator
from env_server.environments.minigrid.grid_copies import VectorMiniGrid
from env_server.environments.minigrid.multiplayer_grid import SharedMiniGrid
from env_server.environments.minigrid.settings import MiniGridOptions
from env_server.environments.registry import create, describe, problems
from env_server.settings import EnvironmentSettings
from protocols.conversations.stepping.stepping_messages import Flag
from protocols.runtime.seeds import Stream
from protocols.spaces.grid_space import Grids
from protocols.spaces.layout import GridInfo
from tests.env_server.environments.flag_rules import FlagRules

CORRIDOR = "MiniGrid-KeyCorridorS3R1-v0"
LEFT, RIGHT, FORWARD, PICKUP, DROP, TOGGLE, DONE = range(7)
ONE = ("agent-0",)
SEED = 3


def make(name: str = CORRIDOR, copies: int = 1, agents: tuple[str, ...] = ONE, seed: int = SEED, **options: Any) -> VectorMiniGrid:
    return VectorMiniGrid(name, MiniGridOptions(**options), agents, copies, seed)


def grids(environment: VectorMiniGrid) -> Grids:
    info = environment.layout(environment.agents[0]).grid
    assert info is not None
    return Grids.from_info(info)


def cells(environment: VectorMiniGrid, outcome: TickResult, copy: int = 0) -> np.ndarray:
    """The whole grid, [x][y][channel], of the first agent."""
    part = grids(environment).whole
    return outcome.agents[environment.agents[0]].observation[copy, part.cells].reshape(part.width, part.height, 3)


def play(environment: VectorMiniGrid, *actions: int) -> AgentBatch:
    for action in actions:
        outcome = environment.step({environment.agents[0]: np.full((environment.copies, 1), action, np.int32)})
    return outcome.agents[environment.agents[0]]


@pytest.mark.parametrize(
    "name",
    [
        "MiniGrid-KeyCorridorS3R1-v0",
        "MiniGrid-ObstructedMaze-1Dlh-v0",  # keys in boxes, 11 x 6 cells
        "MiniGrid-Dynamic-Obstacles-6x6-v0",  # things that move on their own
        "MiniGrid-LavaGapS5-v0",
        "MiniGrid-MultiRoom-N2-S4-v0",
        "MiniGrid-Playground-v0",
        "BabyAI-GoToObjMaze-v0",  # looks at its own observations while it is stepped
    ],
)
def test_all_that_is_seen_is_what_minigrid_shows(name: str) -> None:
    """Against the package's own wrapper and its own egocentric view, with random actions through several episodes."""
    short = {"max_steps": 50}
    environment = make(name, view="both", arguments=short)
    there = grids(environment)
    assert there.partial is not None and there.full is not None
    reference = FullyObsWrapper(gymnasium.make(name, disable_env_checker=True, **short))
    random = np.random.default_rng(5)
    outcome, episode, ended = environment.reset(), 0, True
    for _ in range(240):
        seen = outcome.agents["agent-0"]
        if ended:
            seed = int(episode_generator(SEED, episode, Stream.ENVIRONMENT).integers(2**31))
            observation, _ = reference.reset(seed=seed)
            episode, ended = episode + 1, False
            assert seen.flags[0] == Flag.MEMBER | Flag.FIRST
        row = seen.observation[0]
        world = reference.unwrapped
        np.testing.assert_array_equal(row[there.full.cells], observation["image"].reshape(-1))
        np.testing.assert_array_equal(row[there.partial.cells], world.gen_obs()["image"].reshape(-1))
        carried = list(world.carrying.encode()[:2]) if world.carrying else [1, 5]
        assert row[there.full.carried].tolist() == row[there.partial.carried].tolist() == carried
        action = int(random.integers(world.action_space.n))
        observation, reward, terminated, truncated, _ = reference.step(action)
        outcome = environment.step({"agent-0": np.array([[action]], np.int32)})
        assert outcome.agents["agent-0"].reward[0] == np.float32(reward)
        ended = terminated or truncated
        assert bool(outcome.agents["agent-0"].flags[0] & Flag.OVER) == ended
        if ended:  # the grid in which it ended, and then the one in which the next begins
            last = outcome.agents["agent-0"].observation[0]
            np.testing.assert_array_equal(last[there.full.cells], observation["image"].reshape(-1))
            outcome = environment.step({})
    assert episode > 3
    environment.close()


def test_a_locked_corridor_walked_by_hand() -> None:
    """Each action changes the bytes that it should, and none else; a layout found by its seed, so that actions are known."""
    environment = make("MiniGrid-DoorKey-5x5-v0", fix_layout=True, layout_seed=4)
    before = cells(environment, environment.reset())
    x, y = np.argwhere(before[..., 0] == 10)[0]
    assert before[x, y].tolist()[:2] == [10, 0] and before.shape == (5, 5, 3)
    direction = int(before[x, y, 2])
    turned = play(environment, RIGHT).observation[0]
    after = turned[grids(environment).whole.cells].reshape(5, 5, 3)
    assert after[x, y].tolist() == [10, 0, (direction + 1) % 4]
    after[x, y] = before[x, y]
    np.testing.assert_array_equal(after, before)


def test_rows_and_columns_are_not_confused() -> None:
    layout = describe(EnvironmentSettings(id=f"minigrid:{CORRIDOR}"), ONE).layouts["agent-0"]
    assert layout.grid == GridInfo(width=7, height=3, longest=270)
    assert layout.shape == [7 * 3 * 3 + 2] and layout.dtype == "u1" and layout.actions == [7]
    environment = make()
    whole = cells(environment, environment.reset())
    assert (whole[:, 0, 0] == 2).all() and (whole[:, 2, 0] == 2).all(), "walls above and below"
    both = describe(EnvironmentSettings(id=f"minigrid:{CORRIDOR}", options={"view": "both"}), ONE).layouts["agent-0"]
    assert both.grid == GridInfo(width=7, height=3, partial=7, longest=270) and both.shape == [149 + 65]
    part = describe(EnvironmentSettings(id=f"minigrid:{CORRIDOR}", options={"view": "partial"}), ONE).layouts["agent-0"]
    assert part.grid == GridInfo(partial=7, longest=270) and part.shape == [149]


def test_the_life_of_an_episode_and_its_time_out() -> None:
    arguments = {"max_steps": 3}
    for timeout, mark in (("terminal", Flag.TERMINATED), ("truncated", Flag.TRUNCATED)):
        environment = make("MiniGrid-Empty-8x8-v0", timeout=timeout, arguments=arguments)
        outcomes = [environment.reset()] + [environment.step({}) for _ in range(5)]
        flags = [int(outcome.agents["agent-0"].flags[0]) for outcome in outcomes]
        assert flags == [3, 1, 1, int(Flag.MEMBER | Flag.OVER | mark), 3, 1]
        assert [int(outcome.episode[0]) for outcome in outcomes] == [0, 0, 0, 0, 1, 1]
        (record,) = environment.finished()
        assert record.lengths == (3,) and record.rewards == (0.0,) and record.metrics == {"success": 0.0}
        assert grids(environment).longest == 3


def test_success_is_rewarded_by_its_steps_and_terminates_whatever_a_time_out_means() -> None:
    """Empty-5x5: two forward, right, two forward is the shortest way to the goal, and the last possible step."""
    environment = make("MiniGrid-Empty-5x5-v0", timeout="truncated", arguments={"max_steps": 5})
    environment.reset()
    batch = play(environment, FORWARD, FORWARD, RIGHT, FORWARD, FORWARD)
    assert batch.reward[0] == pytest.approx(1 - 0.9) and int(batch.flags[0]) == int(Flag.MEMBER | Flag.TERMINATED | Flag.OVER)
    assert environment.finished()[0].metrics == {"success": 1.0}
    assert play(environment, DONE).flags[0] == Flag.MEMBER | Flag.FIRST


def test_copies_are_dealt_out_and_obey_their_owner_alone() -> None:
    agents = ("agent-0", "agent-1", "agent-2")
    environment = make("MiniGrid-Empty-5x5-v0", copies=5, agents=agents)
    outcome = environment.reset()
    owners = {agent: np.flatnonzero(outcome.agents[agent].flags & Flag.MEMBER).tolist() for agent in agents}
    assert owners == {"agent-0": [0, 3], "agent-1": [1, 4], "agent-2": [2]}
    for i, agent in enumerate(agents):
        assert not outcome.agents[agent].observation[np.arange(5) % 3 != i].any()
    for action in (FORWARD, FORWARD, RIGHT, FORWARD, FORWARD):
        mine = np.full((5, 1), action, np.int32)
        outcome = environment.step({"agent-1": mine, "agent-0": np.full((5, 1), LEFT, np.int32)})
    assert {record.members for record in environment.finished()} == {("agent-1",)}
    assert [outcome.agents[agent].reward.tolist() for agent in agents] == [
        [0] * 5, pytest.approx([0, 1 - 0.9 * 5 / 100, 0, 0, 1 - 0.9 * 5 / 100]), [0] * 5,
    ]  # fmt: skip


def test_one_agent_plays_the_same_alone_and_beside_others() -> None:
    """Copy 0 of three agents' run is copy 0 of one agent's run, to the bit."""
    alone, among = make(copies=1), make(copies=3, agents=("agent-0", "agent-1", "agent-2"))
    one, many = alone.reset(), among.reset()
    random = np.random.default_rng(0)
    for _ in range(60):
        np.testing.assert_array_equal(one.agents["agent-0"].observation[0], many.agents["agent-0"].observation[0])
        action = random.integers(0, 7, (3, 1)).astype(np.int32)
        one, many = alone.step({"agent-0": action[:1]}), among.step({"agent-0": action})


def test_an_agent_may_leave_an_episode_of_its_own() -> None:
    """The next one begins in the place of its action; not in a copy of another agent, nor in an evaluation."""
    environment = make("MiniGrid-Empty-5x5-v0", copies=4, agents=("agent-0", "agent-1"))
    outcome = environment.reset()
    environment.evaluate(1, aligned=False)  # the next episode of a copy of agent-0
    play(environment, FORWARD)
    assert outcome.episode.tolist() == [0, 1, 2, 3]
    environment.restart("agent-0", np.ones(4, bool))
    outcome = environment.step({})
    assert outcome.episode.tolist() == [4, 1, 5, 3]
    assert [int(flag) & int(Flag.FIRST) != 0 for flag in outcome.agents["agent-0"].flags] == [True, False, True, False]
    assert [(record.episode, record.lengths, record.rewards) for record in environment.finished()] == [(0, (1,), (0.0,)), (2, (1,), (0.0,))]
    environment.restart("agent-0", np.array([True, False, True, False]))
    outcome = environment.step({})
    evaluated = [bool(flag & Flag.EVALUATION) for flag in outcome.agents["agent-0"].flags]
    assert evaluated == [True, False, False, False] and outcome.episode.tolist() == [4, 1, 6, 3], "what is evaluated is played to its end"
    assert isinstance(environment, RestartableEnvironment) and not isinstance(make_shared(), RestartableEnvironment)


def make_shared() -> SharedMiniGrid:
    return SharedMiniGrid("MiniGrid-Empty-5x5-v0", MiniGridOptions(players="all"), ONE, 1, SEED)


def test_flags_obey_the_rules_of_all_environments() -> None:
    environment = make("MiniGrid-Empty-5x5-v0", copies=6, agents=("agent-0", "agent-1"), arguments={"max_steps": 30})
    rules, random = FlagRules(environment), np.random.default_rng(1)
    rules.check(environment.reset(8))
    played = 0
    for _ in range(200):
        actions = {agent: random.integers(0, 7, (6, 1)).astype(np.int32) for agent in environment.agents}
        rules.check(environment.step(actions))
        records = environment.finished()
        rules.check_records(records)
        played += len(records)
    assert played > 30


def test_equal_seeds_repeat_and_episodes_differ() -> None:
    def walk(seed: int, **options: Any) -> list[bytes]:
        environment = make(copies=3, **options)
        first = environment.reset(seed)
        random = np.random.default_rng(2)
        later = [environment.step({"agent-0": random.integers(0, 7, (3, 1)).astype(np.int32)}) for _ in range(30)]
        return [outcome.agents["agent-0"].observation.tobytes() for outcome in (first, *later)]

    assert walk(1) == walk(1) != walk(2)
    assert walk(1, fix_layout=True) == walk(2, fix_layout=True) != walk(1, fix_layout=True, layout_seed=9)
    fixed = make(copies=3, fix_layout=True).reset(1).agents["agent-0"].observation
    assert (fixed == fixed[0]).all()


def test_evaluations_are_shared_out_equally() -> None:
    """Though one of them ends its episodes at once, and the other never before the limit."""
    environment = make("MiniGrid-Empty-5x5-v0", copies=4, agents=("agent-0", "agent-1"), arguments={"max_steps": 40})
    environment.reset()
    environment.evaluate(6, aligned=True)
    way, at = (FORWARD, FORWARD, RIGHT, FORWARD, FORWARD, DONE), 0
    evaluated: list[str] = []
    for _ in range(180):
        environment.step({"agent-0": np.full((4, 1), way[at % 6], np.int32)})
        at += 1
        evaluated += [record.members[0] for record in environment.finished() if record.evaluation]
    assert sorted(evaluated) == ["agent-0"] * 3 + ["agent-1"] * 3
    environment.evaluate(4, aligned=False)
    environment.set_present(["agent-0"])
    for _ in range(180):
        environment.step({"agent-0": np.full((4, 1), way[at % 6], np.int32)})
        at += 1
        evaluated += [record.members[0] for record in environment.finished() if record.evaluation]
    assert sorted(evaluated) == ["agent-0"] * 7 + ["agent-1"] * 3, "evaluations of who is gone become those of who is there"


def test_pictures() -> None:
    environment = make(copies=2)
    environment.reset()
    picture = environment.render(1)
    assert picture.shape == (3 * 32, 7 * 32, 3) and picture.dtype == np.uint8 and picture.std() > 20
    play(environment, RIGHT)
    assert not np.array_equal(environment.render(1), picture)


@pytest.mark.parametrize(
    ("settings", "path", "words"),
    [
        ({"id": "minigrid:MiniGrid-KeyCoridorS3R1-v0"}, ("environment", "id"), 'did you mean "MiniGrid-KeyCorridorS3R1-v0"'),
        ({"id": "minigrid:CartPole-v1"}, ("environment", "id"), "write gymnasium:CartPole-v1"),
        ({"options": {"view": "all"}}, ("environment", "options", "view"), "full"),
        ({"options": {"views": "full"}}, ("environment", "options", "views"), 'did you mean "view"?'),
        ({"options": {"arguments": {"colour": 3}}}, ("environment", "options", "arguments"), "colour"),
        ({"copies": 2}, ("environment", "copies"), "at least 3"),
    ],
)
def test_what_cannot_be_played_says_why(settings: dict[str, Any], path: tuple[str, ...], words: str) -> None:
    given = EnvironmentSettings(**{"id": f"minigrid:{CORRIDOR}", "copies": 4, **settings})
    found = problems(given, ("agent-0", "agent-1", "agent-2"))
    assert [problem.path for problem in found] == [path] and words in found[0].message
    with pytest.raises(EnvironmentProblem):
        create(given, ("agent-0", "agent-1", "agent-2"))


def test_without_the_package_the_cure_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "minigrid", None)
    monkeypatch.setattr("env_server.environments.minigrid.grid_factory.find_spec", lambda name: None)
    (found,) = problems(EnvironmentSettings(id=f"minigrid:{CORRIDOR}"), ONE)
    assert found.path == ("environment", "id") and "pip install minigrid" in found.message
