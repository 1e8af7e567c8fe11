"""Fixed policies of the particle worlds: they reach the returns that offline data of their quality must have."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from env_server.environments import registry
from env_server.settings import EnvironmentSettings


def mean_return(world: str, policy: str, agents: int, epsilon: float = 0.0, episodes: int = 512, **options: Any) -> float:
    """Mean over episodes and agents of the sum of rewards."""
    settings = EnvironmentSettings(id=f"particles:{world}", copies=128, options=options)
    names = [f"agent-{i}" for i in range(agents)]
    environment = registry.create(settings, names, None, 3)
    act = registry.scripted_policies(settings, names)[policy]
    random, outcome, returns = np.random.default_rng(0), environment.reset(3), list[float]()
    while len(returns) < episodes:
        actions = {}
        for name in names:
            layout = environment.layout(name)
            actions[name] = act(name, layout, outcome.agents[name].observation)
            if epsilon:
                rows = np.flatnonzero(random.random(128) < epsilon)
                actions[name][rows] = random.integers(0, layout.actions[0], (len(rows), 1))
        outcome = environment.step(actions)
        returns += [float(np.mean(record.rewards)) for record in environment.finished()]
    return float(np.mean(returns))


@pytest.mark.parametrize(("agents", "published"), [(3, -10.0), (5, -15.4), (10, -27.0)])
def test_covering_landmarks(agents: int, published: float) -> None:
    """Returns of the reference data: one agent to each landmark, 5 % random actions."""
    assert mean_return("simple_spread", "cover", agents, 0.05) == pytest.approx(published, abs=1.0)


def test_half_random_and_leaving() -> None:
    assert mean_return("simple_spread", "cover", 3, 0.5) == pytest.approx(-14.6, abs=1.0)
    assert mean_return("simple_spread", "leave", 3) < -55  # random actions: -27


def test_continuous_covering_is_as_good_as_the_expert_data_of_omar() -> None:
    """Mean return of the published expert set: 530.95 +- 71.4, of its published normalisation 516.8."""
    found = mean_return("simple_spread", "cover", 3, actions="continuous", reward="inverse_distance", integration="semi_implicit")
    assert found > 516.8


def test_chasing_catches_more_than_chance() -> None:
    chased, random = mean_return("simple_tag", "chase", 3, prey="scripted"), mean_return("simple_tag", "chase", 3, 1.0, prey="scripted")
    assert chased > 2 * random > 0


def test_other_environments_have_none() -> None:
    assert not registry.scripted_policies(EnvironmentSettings(id="landmarks"), ["agent-0", "agent-1"])
    assert not registry.scripted_policies(EnvironmentSettings(id="mpe2:simple_spread_v3"), ["agent-0"])
