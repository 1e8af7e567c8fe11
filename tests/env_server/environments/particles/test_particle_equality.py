"""Particle worlds beside mpe2: equal positions, observations and rewards at every step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.env_server.environments.particles.particle_reference import (
    LONG,
    bodies,
    copy_state,
    make,
    motion,
    random_actions,
    reference,
    step_both,
)

WORLDS = [("simple_spread", 3, {}), ("simple_spread", 5, {"local_ratio": 0.2}), ("simple_tag", 4, {}), ("simple_tag", 13, {})]


def different_starts(environment: Any, generator: np.random.Generator, half_side: float) -> None:
    physics = motion(environment).physics
    physics.position[:] = generator.uniform(-half_side, half_side, physics.position.shape)
    physics.velocity[:] = 0.0


@pytest.mark.parametrize("continuous", [False, True], ids=["discrete", "continuous"])
@pytest.mark.parametrize(("world", "agents", "options"), WORLDS, ids=[f"{world}-{agents}" for world, agents, _ in WORLDS])
def test_25_steps_of_several_starts_are_bit_for_bit_those_of_mpe2(
    world: str, agents: int, options: dict[str, Any], continuous: bool
) -> None:
    """Copies start in squares of different sizes, with few and with many contacts, and one where a prey leaves the plane."""
    environment = make(world, agents, 4, horizon=LONG, actions="continuous" if continuous else "discrete", **options)
    environment.reset(0)
    references = [reference(world, agents, continuous, **options) for _ in range(environment.copies)]
    generator, touched = np.random.default_rng(agents), 0
    physics = motion(environment).physics
    for half_side in (1.0, 0.2, 1.3):
        different_starts(environment, generator, half_side)
        copy_state(environment, references)
        for _ in range(25):
            actions = random_actions(generator, agents, environment.copies, continuous)
            ours, theirs = step_both(environment, references, actions)
            for copy, made in enumerate(references):
                observed, rewarded = theirs[copy][:2]
                place = np.array([body.state.p_pos for body in bodies(made)])
                speed = np.array([agent.state.p_vel for agent in made.unwrapped.world.agents])
                np.testing.assert_array_equal(physics.position[:, :, copy], place)
                np.testing.assert_array_equal(physics.velocity[:, :, copy], speed)
                for name, own in zip(made.possible_agents, environment.agents, strict=True):
                    np.testing.assert_array_equal(ours.agents[own].observation[copy], observed[name])
                    assert ours.agents[own].reward[copy] == np.float32(rewarded[name])
                    touched += rewarded[name] > 0
            if world == "simple_spread":
                touched += int(motion(environment).touching().sum())  # type: ignore[attr-defined]
    assert touched > 10, "there were contacts"


@pytest.mark.parametrize("continuous", [False, True], ids=["discrete", "continuous"])
@pytest.mark.parametrize(("world", "agents"), [("simple_spread", 3), ("simple_tag", 4)])
def test_1000_random_steps_of_one_episode_stay_equal(world: str, agents: int, continuous: bool) -> None:
    environment = make(world, agents, 1, horizon=LONG, actions="continuous" if continuous else "discrete")
    environment.reset(1)
    references = [reference(world, agents, continuous)]
    copy_state(environment, references)
    generator = np.random.default_rng(2)
    for _ in range(1000):
        ours, theirs = step_both(environment, references, random_actions(generator, agents, 1, continuous))
        for name, own in zip(references[0].possible_agents, environment.agents, strict=True):
            np.testing.assert_array_equal(ours.agents[own].observation[0], theirs[0][0][name])
            assert ours.agents[own].reward[0] == np.float32(theirs[0][1][name])


def test_semi_implicit_steps_move_by_the_new_velocity() -> None:
    explicit, other = (make("simple_spread", 1, horizon=LONG, integration=kind) for kind in ("explicit", "semi_implicit"))
    right = {"agent-0": np.full((1, 1), 2, np.int32)}
    for environment, expected in ((explicit, [0, 0.05, 0.1375]), (other, [0.05, 0.1375, 0.253125])):
        start = environment.reset(0).agents["agent-0"].observation[0, 2]
        moved = [environment.step(right).agents["agent-0"].observation[0, 2] - start for _ in range(3)]
        assert moved == pytest.approx(expected, abs=1e-6), "speeds 0.5, 0.875, 1.15625"


def test_starts_have_the_distribution_of_mpe2() -> None:
    environment = make("simple_tag", 4, 2000)
    environment.reset(0)
    position = motion(environment).physics.position
    movers, obstacles = position[:4], position[4:]
    assert abs(movers).max() <= 1 and abs(movers).max() > 0.999 and abs(obstacles).max() <= 0.9 and abs(obstacles).max() > 0.899
    assert abs(movers.mean()) < 0.03 and abs(movers.std() - 3**-0.5) < 0.02
    assert (motion(environment).physics.velocity == 0).all()
