"""The prey that moves by a rule, speeds, and what a predator with a limited sight sees."""

from __future__ import annotations

import numpy as np
import pytest

from env_server.environments.particles.particle_environment import VectorParticles
from env_server.environments.particles.scripted_prey import CANDIDATES, WAY_POINTS, ScriptedPrey
from env_server.environments.particles.settings import TagOptions
from env_server.environments.particles.tag_world import TagWorld
from tests.env_server.environments.particles.particle_reference import make, motion


def by_loops(offsets: np.ndarray, prey: np.ndarray, bodies: np.ndarray, reach: np.ndarray, moving: int) -> np.ndarray:
    """The rule for one copy: `offsets[C, 2]`, `prey[2]`, `bodies[B, 2]`."""
    best, force = -1.0, np.zeros(2)
    for offset in offsets:
        way = [prey + offset * step / WAY_POINTS for step in range(1, WAY_POINTS + 1)]
        if any(np.linalg.norm(point - body) < close for point in way for body, close in zip(bodies, reach, strict=True)):
            continue
        score = sum(float(np.linalg.norm(way[-1] - body)) for body in bodies[:moving])
        if score > best:
            best, force = score, offset
    return force


@pytest.mark.parametrize("crowd", [0.3, 1.0])
def test_the_rule_is_that_of_loops(crowd: float) -> None:
    generator, copies, count, moving = np.random.default_rng(0), 40, 7, 5
    offsets = generator.uniform(-0.7, 0.7, (copies, 2, CANDIDATES))
    prey, bodies = generator.uniform(-1, 1, (2, copies)), generator.uniform(-crowd, crowd, (count, 2, copies))
    bodies += prey
    reach, present = generator.uniform(0.05, 0.25, count), np.ones((moving, copies), bool)
    force = ScriptedPrey.best(offsets, prey, bodies, reach, present)
    for copy in range(copies):
        expected = by_loops(offsets[copy].T, prey[:, copy], bodies[:, :, copy], reach, moving)
        np.testing.assert_array_equal(force[:, copy], expected)
    unhindered = ScriptedPrey.best(offsets, prey, bodies, np.zeros(count), present)
    assert (force != unhindered).any(axis=0).sum() > 0, "best candidates were refused"


def test_absent_predators_do_not_count() -> None:
    generator = np.random.default_rng(0)
    offsets, prey = generator.uniform(-0.7, 0.7, (20, 2, CANDIDATES)), np.zeros((2, 20))
    bodies = np.concatenate([generator.uniform(-1, 1, (2, 2, 20)), np.full((1, 2, 20), 1000.0)])
    present = np.ones((3, 20), bool)
    present[2] = False
    found = ScriptedPrey.best(offsets, prey, bodies, np.full(3, 0.1), present)
    np.testing.assert_array_equal(found, ScriptedPrey.best(offsets, prey, bodies[:2], np.full(2, 0.1), present[:2]))


def test_an_enclosed_prey_stays() -> None:
    generator = np.random.default_rng(0)
    offsets = generator.uniform(-0.7, 0.7, (1, 2, CANDIDATES))
    angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    ring = 0.2 * np.stack([np.cos(angles), np.sin(angles)], axis=1)[:, :, None]
    assert (ScriptedPrey.best(offsets, np.zeros((2, 1)), ring, np.full(12, 0.2), np.ones((12, 1), bool)) == 0).all()


def chase(environment: VectorParticles, steps: int) -> float:
    """The largest speed of the prey while all predators stand far away to its left."""
    physics = motion(environment).physics
    fastest = 0.0
    for _ in range(steps):
        environment.step({})
        fastest = max(fastest, float(np.hypot(*physics.velocity[-1]).max()))
    return fastest


def test_top_speeds() -> None:
    """A scripted prey is pushed by a vector of length 1 at most: 0.1 / 0.25 = 0.4. A predator reaches 1, and a prey that learns 1.3."""
    scripted = make("simple_tag", 3, 64, prey="scripted", horizon=200, obstacles=0)
    scripted.reset(0)
    motion(scripted).physics.position[:3] = -5.0
    assert 0.385 < chase(scripted, 60) <= 0.4
    learning = make("simple_tag", 2, 1, actions="continuous", horizon=200, obstacles=0)
    learning.reset(0)
    physics = motion(learning).physics
    physics.position[0], physics.position[1] = -5, 5
    push = {"agent-0": np.full((1, 2), -1, np.float32), "agent-1": np.ones((1, 2), np.float32)}
    for _ in range(60):
        learning.step(push)
    assert np.hypot(*physics.velocity[:, :, 0].T) == pytest.approx([1.0, 1.3])


def test_a_prey_flees_from_predators() -> None:
    environment = make("simple_tag", 3, 256, prey="scripted", obstacles=0, horizon=100)
    environment.reset(0)
    physics = motion(environment).physics
    physics.position[:3, 0], physics.position[:3, 1], physics.position[3] = -0.8, 0.0, 0.0
    for _ in range(30):
        environment.step({})
    assert (physics.position[3, 0] > 0.5).all()


@pytest.mark.parametrize(("predators", "size"), [(3, 16), (6, 22), (12, 34), (24, 58)])
def test_nothing_beyond_the_sight_is_seen(predators: int, size: int) -> None:
    sight, copies = 0.25, 16
    environment = make("simple_tag", predators, copies, prey="scripted", sight=sight, radius_scale=0.5 if predators == 24 else 1.0)
    blind = TagWorld(TagOptions(prey="scripted"), predators, copies)
    result, generator, physics = environment.reset(0), np.random.default_rng(0), motion(environment).physics
    seen_bodies = seen_prey = 0
    for _ in range(40):
        blind.physics.position[:], blind.physics.velocity[:] = physics.position, physics.velocity
        full = blind.observe()
        for i, agent in enumerate(environment.agents):
            observed = result.agents[agent].observation
            assert observed.shape == (copies, size)
            np.testing.assert_array_equal(observed[:, :4], full[i][:, :4], "own velocity and position are always seen")
            offset, entire = observed[:, 4:-2].reshape(copies, -1, 2), full[i][:, 4:-2].reshape(copies, -1, 2)
            near = np.linalg.norm(entire.astype(float), axis=2) <= sight
            np.testing.assert_array_equal(offset, entire * near[:, :, None])
            np.testing.assert_array_equal(observed[:, -2:], full[i][:, -2:] * near[:, -1:])
            seen_bodies, seen_prey = seen_bodies + near.sum(), seen_prey + near[:, -1].sum()
        actions = {agent: generator.integers(0, 5, (copies, 1)) for agent in environment.agents}
        result = environment.step(actions)
    assert seen_prey > 20 and seen_bodies > 2 * seen_prey


def test_predators_are_given_ten_for_each_contact() -> None:
    environment = make("simple_tag", 3, 1, prey="scripted", obstacles=0)
    environment.reset(0)
    physics = motion(environment).physics
    physics.position[:, :, 0] = np.array([(0.1, 0), (-0.1, 0), (0.9, 0.9), (0, 0)])
    result = environment.step({})
    assert [batch.reward[0] for batch in result.agents.values()] == [20, 20, 20]


def test_the_points_of_a_copy_depend_on_its_episode_alone() -> None:
    """Copy 2 of 3 plays episode 2; so does copy 0 when episodes are counted from 2."""

    def way(environment: VectorParticles, copy: int, first_episode: int) -> list[list[float]]:
        environment.reset(5, first_episode)
        places = []
        for _ in range(20):
            environment.step({})
            places.append(motion(environment).physics.position[3, :, copy].tolist())
        return places

    one, many = make("simple_tag", 3, 1, prey="scripted"), make("simple_tag", 3, 3, prey="scripted")
    assert way(one, 0, 2) == way(many, 2, 0)
    assert way(one, 0, 2) == way(one, 0, 2)
    assert way(one, 0, 2) != way(one, 0, 3)
