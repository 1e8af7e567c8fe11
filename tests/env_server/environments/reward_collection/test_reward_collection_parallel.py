"""The PettingZoo form of reward collection."""

from __future__ import annotations

import numpy as np
import pytest
from pettingzoo.test import parallel_api_test, parallel_seed_test

from env_server.environments.reward_collection import parallel_env
from env_server.environments.reward_collection.collection_environment import VectorRewardCollection
from env_server.environments.reward_collection.settings import RewardCollectionOptions

VARIANTS = [
    {},
    {"agents": 1, "variant": "far"},
    {"agents": 3, "reward": "team", "exclusive": True, "action_cost": 1, "process_noise": 0.2, "horizon": 40},
]


@pytest.mark.parametrize("options", VARIANTS)
def test_pettingzoo_api_and_seeds(options: dict[str, object]) -> None:
    parallel_api_test(parallel_env(**options), num_cycles=300)
    parallel_seed_test(lambda: parallel_env(**options))


@pytest.mark.parametrize("options", [{}, {"reward": "team", "exclusive": True, "action_cost": 1}])
def test_it_plays_as_the_vector_environment_does(options: dict[str, object]) -> None:
    vector = VectorRewardCollection(RewardCollectionOptions(**options), [f"agent-{i}" for i in range(4)], 1, seed=6)
    parallel, generator = parallel_env(agents=4, gain_seed=6, **options), np.random.default_rng(0)
    vector.reset()
    parallel.reset(seed=123)
    assert np.array_equal(vector.gains, parallel.gains), "the seed of an episode leaves them alone"
    team = np.zeros(4)
    for step in range(1, 101):
        actions = generator.uniform(-1.2, 1.2, (4, 2)).astype(np.float32)
        outcome = vector.step({f"agent-{i}": actions[i : i + 1] for i in range(4)})
        seen, rewards, terminated, truncated, infos = parallel.step({f"agent_{i}": actions[i] for i in range(4)})
        for i in range(4):
            batch, name = outcome.agents[f"agent-{i}"], f"agent_{i}"
            assert np.array_equal(batch.observation[0], seen[name]) and batch.reward[0] == np.float32(rewards[name])
            assert parallel.observation_space(name).contains(seen[name])
            assert terminated[name] is False and truncated[name] == (step == 100) and infos[name]["step"] == step
            team[i] += infos[name]["own_reward"]
        assert infos["agent_0"]["team_reward"] == pytest.approx(sum(infos[name]["own_reward"] for name in infos))
    (record,) = vector.finished()
    assert record.rewards == pytest.approx(team) and parallel.agents == []
    assert record.metrics["sites.visited"] == infos["agent_0"]["visited"] / infos["agent_0"]["sites"]
    assert infos["agent_0"]["sites"] == 10
    assert parallel.step({}) == ({}, {}, {}, {}, {})


def test_gains_last_as_long_as_the_environment() -> None:
    environment = parallel_env(gain_seed=1)
    gains = environment.gains.copy()
    for seed in (None, 1, 2):
        environment.reset(seed=seed)
        assert np.array_equal(environment.gains, gains)
    assert not np.isclose(parallel_env(gain_seed=2).gains, gains).any()


def test_the_seed_of_an_episode_is_that_of_its_noise() -> None:
    environment = parallel_env(process_noise=0.5)

    def way(seed: int | None) -> np.ndarray:
        environment.reset(seed=seed)
        return np.array([environment.step({})[0]["agent_0"] for _ in range(40)])

    first, following = way(3), way(None)
    assert not np.array_equal(first, following)
    assert np.array_equal(way(3), first) and np.array_equal(way(None), following)


def test_what_cannot_be_made_and_how_it_is_drawn() -> None:
    with pytest.raises(ValueError, match="rgb_array"):
        parallel_env(render_mode="human")
    with pytest.raises(ValueError, match="at least one agent"):
        parallel_env(agents=0)
    blind = parallel_env()
    blind.reset(seed=0)
    assert blind.render() is None
    drawn = parallel_env(render_mode="rgb_array")
    drawn.reset(seed=0)
    assert drawn.render().shape == (480, 480, 3)
