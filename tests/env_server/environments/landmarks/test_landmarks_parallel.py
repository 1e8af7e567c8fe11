"""The PettingZoo form of the landmarks arena."""

from __future__ import annotations

import numpy as np
import pytest
from pettingzoo.test import parallel_api_test, parallel_seed_test

from env_server.environments.landmarks import parallel_env

VARIANTS = [
    {},
    {"landmarks": 6, "members": 4},
    {"room": 200, "horizon": 30, "velocity": True, "scheme": "original"},
    {"landmarks": 2, "members": 1, "largest": 1},
]


@pytest.mark.parametrize("options", VARIANTS)
def test_pettingzoo_api_and_seeds(options: dict[str, object]) -> None:
    parallel_api_test(parallel_env(**options), num_cycles=300)
    parallel_seed_test(lambda: parallel_env(**options))


def test_goals_are_uniform_or_given_and_appended_to_the_observation() -> None:
    environment = parallel_env(landmarks=3)
    seen = set()
    for seed in range(80):
        observations, infos = environment.reset(seed=seed)
        for agent, observation in observations.items():
            assert np.array_equal(observation[-3:], environment.goal_space.encodings[infos[agent]["goal"]])
            assert environment.observation_space(agent).contains(observation)
            seen.add(infos[agent]["goal"])
    assert seen == set(range(6))
    _, infos = environment.reset(options={"goals": {"agent_1": 5}})
    assert infos["agent_1"]["goal"] == 5
    with pytest.raises(ValueError, match="goals 0 to 5"):
        environment.reset(options={"goals": {"agent_1": 6}})
    assert len(observations["agent_0"]) == 11, "the published length for three landmarks"


def test_who_is_done_leaves_and_its_body_stays() -> None:
    environment = parallel_env(room=200)
    environment.reset(seed=0, options={"goals": {"agent_0": 0, "agent_1": 1}})
    environment._bodies.position[0] = [[32, 175], [100, 100]]
    _, rewards, terminated, truncated, infos = environment.step({})
    assert rewards == {"agent_0": 0.5, "agent_1": 0.0} and terminated == {"agent_0": True, "agent_1": False}
    assert not any(truncated.values()) and environment.agents == ["agent_1"]
    assert infos["agent_0"]["touched"].tolist() == [1, 0, 0]
    for _ in range(5):
        observations, *_ = environment.step({"agent_1": np.array([0, 0]), "agent_0": np.array([1, 1])})
        assert list(observations) == ["agent_1"]
    assert environment._bodies.position[0, 0].tolist() == [32, 175], "an agent that has left moves no more"


def test_render_needs_its_mode() -> None:
    environment = parallel_env()
    environment.reset(seed=0)
    assert environment.render() is None
    with pytest.raises(ValueError, match="rgb_array"):
        parallel_env(render_mode="human")
    drawn = parallel_env(render_mode="rgb_array")
    drawn.reset(seed=0)
    assert drawn.render().shape == (480, 480, 3)
