"""Rewards of the particle worlds against their formulas, and against published results."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from env_server.environments.particles.particle_environment import VectorParticles
from env_server.environments.particles.rescue_world import SITES
from env_server.environments.particles.tag_world import leaving_cost
from tests.env_server.environments.particles.particle_reference import (
    LONG,
    copy_state,
    make,
    motion,
    random_actions,
    reference,
    step_both,
)


def returns(environment: VectorParticles, act: Callable[[np.random.Generator], np.ndarray], seed: int) -> np.ndarray:
    """Returns `[K, N]` of one episode of every copy."""
    generator = np.random.default_rng(seed)
    environment.reset(seed)
    while not (records := environment.finished()):
        actions = act(generator)
        environment.step({agent: actions[i] for i, agent in enumerate(environment.agents)})
    return np.array([record.rewards for record in records])


def test_the_team_reward_is_the_published_mapping_of_mpe2s_rewards() -> None:
    """r = 2 sum_i r_i - n + n [all landmarks are covered], with rewards of local_ratio 0.5."""
    environment = make("simple_spread", 3, 4, reward="team", actions="continuous", horizon=LONG)
    environment.reset(0)
    references = [reference("simple_spread", 3, True) for _ in range(4)]
    generator, physics, covered_before = np.random.default_rng(0), motion(environment).physics, 0
    for _ in range(40):
        physics.position[:] = generator.uniform(-1, 1, physics.position.shape)
        physics.position[3:, :, :2] = physics.position[:3, :, :2] + 0.05
        physics.velocity[:] = 0
        copy_state(environment, references)
        ours, theirs = step_both(environment, references, random_actions(generator, 3, 4, True))
        for copy, made in enumerate(references):
            world = made.unwrapped.world
            covered = all(min(np.hypot(*(a.state.p_pos - mark.state.p_pos)) for a in world.agents) < 0.1 for mark in world.landmarks)
            covered_before += covered
            expected = 2 * sum(theirs[copy][1].values()) - 3 + 3 * covered
            assert [batch.reward[copy] for batch in ours.agents.values()] == pytest.approx([expected] * 3, abs=1e-6)
    assert 60 < covered_before < 100


def test_random_forces_in_cooperative_navigation() -> None:
    """Team return of uniform forces: -231.6 (standard deviation 47) over 20,000 episodes of an independent script; mpe2 itself gives
    -236.1 over 400. The mean of 4,000 has a standard error of 0.75."""
    environment = make("simple_spread", 3, 4000, reward="team", actions="continuous")
    earned = returns(environment, lambda generator: generator.uniform(-1, 1, (3, 4000, 2)), 0)
    assert (earned == earned[:, :1]).all()
    assert abs(earned[:, 0].mean() + 231.6) < 3 and abs(earned[:, 0].std() - 47) < 2


def test_returns_of_omars_data_sets() -> None:
    """Random set of OMAR's cooperative navigation, by its data card: 159.57 +- 60.46 over 40,000 episodes. No action: 176.7 +- 82.1, from a
    script of 4,000 episodes. A return is the mean over agents."""
    environment = make("simple_spread", 3, 4000, reward="inverse_distance", actions="continuous", integration="semi_implicit")
    earned = returns(environment, lambda generator: generator.uniform(-1, 1, (3, 4000, 2)), 0).mean(axis=1)
    assert abs(earned.mean() - 159.57) < 4 and abs(earned.std() - 60.46) < 3
    idle = returns(environment, lambda generator: np.zeros((3, 4000, 2)), 1).mean(axis=1)
    assert abs(idle.mean() - 176.7) < 6 and abs(idle.std() - 82.1) < 4


def test_inverse_distance_by_hand() -> None:
    environment = make("simple_spread", 2, reward="inverse_distance", actions="continuous")
    environment.reset(0)
    physics = motion(environment).physics
    physics.position[:, :, 0] = np.array([(0, 0), (0.2, 0), (0.05, 0), (0.2, 0.5)])
    result = environment.step({})
    assert [batch.reward[0] for batch in result.agents.values()] == pytest.approx([10 + 2 - 5] * 2, abs=1e-6)


def test_the_cost_of_leaving_the_plane() -> None:
    position = np.array([[0.5, -0.95, 1.5, -9.0], [0.0, 0.9, 0.5, -1.0]])
    assert leaving_cost(position) == pytest.approx([0, 0.5, np.e, 11])


def test_covered_landmarks_are_a_metric() -> None:
    environment = make("simple_spread", 2, 2, horizon=1)
    environment.reset(0)
    physics = motion(environment).physics
    physics.position[:2, :, 0] = physics.position[:2, :, 1] = np.array([(-0.5, 0), (0.5, 0)])
    physics.position[2:, :, 0] = np.array([(-0.45, 0), (0.5, 0.05)])
    physics.position[2:, :, 1] = np.array([(-0.45, 0), (0.5, 0.1001)])
    environment.step({})
    assert [record.metrics for record in environment.finished()] == [{"landmarks.covered": 1.0}, {"landmarks.covered": 0.5}]


@pytest.mark.parametrize(
    ("places", "reward"),
    [
        ((0, 0), 1.0),
        ((1, 1), 0.3),
        ((2, 2), 0.3),
        ((0, 1), -0.5),
        ((None, 0), -0.5),
        ((1, 2), 0.0),
        ((2, None), 0.0),
        ((None, None), 0.0),
    ],
)
def test_rewards_of_the_three_sites(places: tuple[int | None, int | None], reward: float) -> None:
    environment = make("rescue", 2)
    environment.reset(0)
    physics = motion(environment).physics
    for agent, (place, shift) in enumerate(zip(places, (-0.1, 0.1), strict=True)):
        physics.position[agent, :, 0] = (0, 0) if place is None else SITES[place] + (shift, 0)
    result = environment.step({})
    assert [batch.reward[0] for batch in result.agents.values()] == pytest.approx([reward] * 2)


def test_an_agent_is_at_a_site_within_its_radius() -> None:
    for distance, reward in ((0.149, 1.0), (0.151, -0.5)):
        environment = make("rescue", 2)
        environment.reset(0)
        physics = motion(environment).physics
        physics.position[0, :, 0], physics.position[1, :, 0] = SITES[0], SITES[0] + (0, distance)
        assert environment.step({}).agents["agent-1"].reward[0] == pytest.approx(reward)
        assert environment.step({}).agents["agent-0"].observation[0, 4:10] == pytest.approx((SITES - SITES[0]).ravel(), abs=1e-6)


def game(copies: int, **options: Any) -> VectorParticles:
    environment = make("two_basins", 2, copies, **options)
    environment.reset(0)
    return environment


def states(result: Any) -> np.ndarray:
    """`[2, K]`."""
    return np.stack([result.agents[agent].observation[:, 0] for agent in ("agent-0", "agent-1")])


@pytest.mark.parametrize(
    ("centre", "off", "reward"), [(-0.5, 0.0, 5.0), (0.6, 0.0, 10.0), (-0.5, 0.4, 5 * np.exp(-0.5)), (0.6, 0.1, 10 * np.exp(-0.5))]
)
def test_basins(centre: float, off: float, reward: float) -> None:
    """At a standard deviation from the centre, a basin is exp(-1/2) of its height."""
    environment = make("two_basins", 2, 64)
    state = states(environment.reset(1))
    action = centre * state
    action[0] += off * state[0]
    result = environment.step({f"agent-{i}": action[i][:, None].astype(np.float32) for i in range(2)})
    for batch in result.agents.values():
        assert batch.reward == pytest.approx(reward, rel=1e-5)


def test_states_of_the_basins_are_independent_signs() -> None:
    environment = make("two_basins", 2, 200, horizon=60)
    seen = [states(environment.reset(0))] + [states(environment.step({})) for _ in range(60)]
    signs = np.array(seen)
    assert set(np.unique(signs)) == {-1.0, 1.0}
    assert abs(signs.mean()) < 0.03 and abs((signs[:, 0] * signs[:, 1]).mean()) < 0.03
    assert abs((signs[1:] * signs[:-1]).mean()) < 0.03 and abs((signs[26:] * signs[:-26]).mean()) < 0.04, "a block is not repeated"
