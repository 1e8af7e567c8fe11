"""Policies of checkpoints: the same actions as the agent's own components compute, for one copy and several, with goals and memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import murmuration
from orchestrator.results.playback.checkpoint_episodes import CheckpointPlayback
from orchestrator.results.playback.checkpoint_sources import find
from tests.orchestrator.cli.conftest import CONFIG
from tests.orchestrator.cli.test_play_policies import GRID, POLE, make_run

ROOT = Path(__file__).resolve().parents[2]
RECURRENT = "agents.learner={kind: impala, recurrent: {cell: lstm}, hidden: [16]}"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    make_run(folder / "ring", CONFIG, "environment.options.horizon=12")
    make_run(folder / "pole", POLE)
    make_run(folder / "grid", GRID, "environment.options.arguments.max_steps=20", "agents.count=2")
    return folder


def load(runs: Path, name: str) -> murmuration.Run:
    return murmuration.load(name, runs_dir=runs)


def test_it_acts_as_the_agent_that_is_played(runs: Path) -> None:
    """`orchestrate test` builds its players for an environment; the policy gets the same observations from here."""
    playback = CheckpointPlayback(find(runs, "pole", None), True, 3, pictures=False)
    player, policy = playback.players["agent-0"], load(runs, "pole").policy("agent-0", seed=3)
    act, pairs = player.act, []

    def recording(observation: np.ndarray, *others: np.ndarray) -> np.ndarray:
        actions = act(observation, *others)
        pairs.append((observation[0].copy(), int(actions[0, 0])))
        return actions

    player.act = recording  # type: ignore[method-assign]
    list(playback.play(3))
    assert len(pairs) > 20 and [policy.act(observation) for observation, _ in pairs] == [action for _, action in pairs]


def test_what_it_sees_and_does(runs: Path) -> None:
    policy = load(runs, "pole").policy("agent-0")
    assert (policy.observation_shape, policy.observation_dtype, policy.num_actions) == ((4,), np.float32, (2,))
    assert policy.training == {"step": 7, "updates": 7, "episodes": 3, "steps": 30} and policy.checkpoint.suffix == ".json"
    action = policy.act([0.0, 0.1, 0.0, -0.1])
    assert type(action) is int and action in (0, 1)
    grid = load(runs, "grid").policy("agent-1")
    assert grid.observation_dtype == np.uint8 and type(grid.act(np.zeros(grid.observation_shape))) is int
    ring = load(runs, "ring").policy("agent-2")
    action = ring.act(np.zeros(ring.observation_shape), goal=1)
    assert action.shape == (len(ring.num_actions),) and action.dtype == np.int32


def test_copies_act_independently(runs: Path) -> None:
    random = np.random.default_rng(0)
    run = load(runs, "ring")
    single, several = run.policy("agent-0"), run.policy("agent-0", copies=5)
    observations = random.standard_normal((5, *single.observation_shape)).astype(np.float32)
    goals = random.integers(0, 3, 5)
    expected = []
    for observation, goal in zip(observations, goals, strict=True):
        single.reset()
        expected.append(single.act(observation, goal=goal))
    assert np.array_equal(several.act(observations, goal=goals), expected)
    assert several.act(observations, goal=2).shape == (5, len(single.num_actions))


def test_goals_may_be_vectors(tmp_path: Path) -> None:
    make_run(tmp_path / "reach", ROOT / "configs" / "goals" / "point_reach.yaml")
    policy = load(tmp_path, "reach").policy("agent-0", copies=2)
    seen = np.zeros((2, *policy.observation_shape))
    one, each = policy.act(seen, goal=[0.5, -0.5]), policy.act(seen, goal=[[0.5, -0.5], [-0.5, 0.5]])
    assert one.dtype == np.float32 and np.array_equal(one[0], one[1]) and np.array_equal(each[0], one[0]) and not np.array_equal(*each)
    low, high = policy.action_bounds
    assert policy.num_actions == () and ((low <= each) & (each <= high)).all()
    for wrong in (1.0, [0.5], [[0.5, -0.5]]):
        with pytest.raises(ValueError, match=r"one goal here has the shape \(2,\)"):
            policy.act(seen, goal=wrong)


def test_memory_lasts_until_reset(tmp_path: Path) -> None:
    make_run(tmp_path / "memory", POLE, RECURRENT)
    run = load(tmp_path, "memory")
    policy, probe = run.policy("agent-0", copies=2), np.ones((2, 4), np.float32)

    def actions(reset: list[bool] | None) -> list[list[int]]:
        found = [policy.act(probe * scale).tolist() for scale in (5.0, -5.0, 0.1, -0.1)]
        policy.reset(reset)
        return found

    policy.reset()
    first = actions(None)
    assert actions([True, False]) == first, "a new episode begins with an empty memory"
    with pytest.raises(ValueError, match="acts in 2 copies"):
        policy.reset([True])


def test_sampled_actions_are_drawn_as_in_training(tmp_path: Path) -> None:
    make_run(tmp_path / "drawn", POLE, "agents.learner={kind: ppo, hidden: [16]}")
    policy = load(tmp_path, "drawn").policy("agent-0", seed=1)
    observation = np.zeros(4)
    greedy = {policy.act(observation) for _ in range(50)}
    sampled = [policy.act(observation, deterministic=False) for _ in range(50)]
    assert len(greedy) == 1 and len(set(sampled)) == 2
    again = load(tmp_path, "drawn").policy("agent-0", seed=1)
    assert [again.act(observation, deterministic=False) for _ in range(50)] == sampled


def test_what_does_not_fit(runs: Path) -> None:
    pole, ring = load(runs, "pole"), load(runs, "ring")
    with pytest.raises(ValueError, match=r"shape \(3,\), but agent-0 observes \(4,\)"):
        pole.policy("agent-0").act(np.zeros(3))
    with pytest.raises(ValueError, match=r"agent-0 observes \(2, 4\)"):
        pole.policy("agent-0", copies=2).act(np.zeros(4))
    with pytest.raises(ValueError, match="has no goals"):
        pole.policy("agent-0").act(np.zeros(4), goal=1)
    policy = ring.policy("agent-0")
    for goal in (99, [1, 2]):
        with pytest.raises(ValueError, match="goal"):
            policy.act(np.zeros(policy.observation_shape), goal=goal)
    with pytest.raises(murmuration.UsageError, match="agent-9: the agents of ring are agent-0 to agent-3"):
        ring.policy("agent-9")
    with pytest.raises(murmuration.UsageError, match="there is no run"):
        load(runs, "rong")


def test_a_given_checkpoint(runs: Path) -> None:
    run = load(runs, "ring")
    (checkpoint,) = run.checkpoints("agent-3")
    assert run.policy("agent-3", checkpoint).checkpoint == checkpoint
