"""Episodes of particle worlds in K copies: flags, records, evaluations, copies that wait, refused settings, pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from env_server.environments.environment_contracts import HeldEnvironment, TickResult
from env_server.environments.environment_factory import EnvironmentProblem
from env_server.environments.particles.particle_environment import VectorParticles
from env_server.environments.registry import create, describe, options_class, problems
from env_server.settings import EnvironmentSettings
from protocols.conversations.stepping.stepping_messages import Flag
from tests.env_server.environments.flag_rules import FlagRules
from tests.env_server.environments.particles.particle_reference import make, motion

M, FIRST, OVER, EVALUATION = (int(flag) for flag in (Flag.MEMBER, Flag.FIRST, Flag.OVER, Flag.EVALUATION))
EVERY: list[tuple[str, int, dict[str, Any]]] = [
    ("simple_spread", 3, {}),
    ("simple_spread", 1, {"actions": "continuous", "reward": "team"}),
    ("simple_tag", 4, {}),
    ("simple_tag", 3, {"prey": "scripted", "sight": 0.25, "actions": "continuous"}),
    ("simple_tag", 2, {"obstacles": 0}),
    ("rescue", 2, {}),
    ("two_basins", 2, {}),
]


def at_random(environment: VectorParticles, generator: np.random.Generator) -> dict[str, np.ndarray]:
    actions: dict[str, np.ndarray] = {}
    for agent in environment.agents:
        layout = environment.layout(agent)
        if layout.actions:
            actions[agent] = generator.integers(0, 5, (environment.copies, 1)).astype(np.int32)
        else:
            actions[agent] = generator.uniform(-1.5, 1.5, (environment.copies, len(layout.low))).astype(np.float32)
    return actions


def flags(result: TickResult) -> list[int]:
    return [int(flag) for flag in result.agents["agent-0"].flags]


@pytest.mark.parametrize(("world", "agents", "options"), EVERY)
def test_flags_and_records_keep_the_contract(world: str, agents: int, options: dict[str, Any]) -> None:
    environment = make(world, agents, 4, horizon=7, **options)
    rules, generator, records = FlagRules(environment), np.random.default_rng(1), []
    rules.check(environment.reset(2))
    for _ in range(40):
        rules.check(environment.step(at_random(environment, generator)))
        records += environment.finished()
    rules.check_records(records)
    assert len(records) == 4 * (40 // 8) and {record.lengths for record in records} == {(7,) * agents}
    assert sorted(record.episode for record in records) == list(range(20))


@pytest.mark.parametrize(("world", "agents", "options"), EVERY)
def test_resets_repeat_themselves_and_results_belong_to_the_receiver(world: str, agents: int, options: dict[str, Any]) -> None:
    environment = make(world, agents, 3, horizon=6, **options)

    def run(spoil: bool) -> list[TickResult]:
        generator = np.random.default_rng(0)
        results = [environment.reset(9, 50)]
        for _ in range(15):
            results.append(environment.step(at_random(environment, generator)))
        kept = [TickResult(dict(result.agents), result.episode.copy()) for result in results]
        for result in results if spoil else []:
            for batch in result.agents.values():
                batch.observation[:] = 99
        return kept

    once, again = run(False), run(False)
    copies = [{agent: batch.observation.copy() for agent, batch in result.agents.items()} for result in once]
    run(True)
    for seen, one, other in zip(copies, once, again, strict=True):
        assert np.array_equal(one.episode, other.episode)
        for agent, batch in one.agents.items():
            assert np.array_equal(batch.observation, seen[agent]) and np.array_equal(batch.observation, other.agents[agent].observation)
            assert np.array_equal(batch.reward, other.agents[agent].reward)


def test_an_episode_depends_on_seed_and_number_alone() -> None:
    first, second = make("simple_spread", 2, 5), make("simple_spread", 2, 1)
    many, one = first.reset(3, 10), second.reset(3, 14)
    assert np.array_equal(many.agents["agent-1"].observation[4], one.agents["agent-1"].observation[0])
    assert not np.array_equal(many.agents["agent-1"].observation[4], second.reset(4, 14).agents["agent-1"].observation[0])


def test_evaluations_are_flagged_and_recorded() -> None:
    environment = make("simple_spread", 2, 2, horizon=2)
    assert flags(environment.reset(0)) == [M | FIRST] * 2
    environment.evaluate(3, aligned=False)
    marks = [flags(environment.step({})) for _ in range(8)]
    assert marks[2] == [M | EVALUATION | FIRST] * 2 and marks[5] == [M | EVALUATION | FIRST, M | FIRST]
    assert [record.evaluation for record in environment.finished()] == [False, False, True, True, True, False]
    environment.evaluate(4, aligned=False)
    assert environment.cancel_evaluation() == (4, 0)


def test_copies_that_are_held_wait_while_others_play() -> None:
    environment = make("simple_tag", 3, 3, prey="scripted", horizon=2)
    assert isinstance(environment, HeldEnvironment) and environment.seats(1) == environment.agents
    environment.reset(0)
    environment.hold(np.array([False, True, False]))
    environment.reset(0)
    results = [environment.step({}) for _ in range(3)]
    assert [flags(result)[1] for result in results] == [0] * 3 and all(result.episode[1] == -1 for result in results)
    environment.hold(np.zeros(3, bool))
    end = M | OVER | int(Flag.TRUNCATED)
    for expected in ([M, M | FIRST, M], [end, M, end], [M | FIRST, end, M | FIRST], [M, M | FIRST, M]):
        result = environment.step({})
        assert flags(result) == expected, "the copy that waited is out of step with the others"
    assert len(environment.finished()) == 5
    environment.abandon(np.array([True, False, False]))
    assert flags(environment.step({})) == [M | FIRST, M, end]
    assert len(environment.finished()) == 1, "an abandoned episode has no record"


def test_actions_are_checked_or_moved_to_their_bounds() -> None:
    discrete = make("simple_spread", 2, 3)
    discrete.reset(0)
    with pytest.raises(ValueError, match=r"agent-1 chose 5 in copy 2; actions are 0 to 4"):
        discrete.step({"agent-1": np.array([[0], [4], [5]], np.int32)})
    continuous = make("simple_spread", 1, 3, actions="continuous")
    continuous.reset(0)
    result = continuous.step({"agent-0": np.array([[7, -7], [1, -1], [np.nan, 0]], np.float32)})
    assert result.agents["agent-0"].observation[:, :2] == pytest.approx(np.array([[0.5, -0.5], [0.5, -0.5], [0, 0]]))


def test_layouts_name_the_parts_of_an_observation() -> None:
    environment = make("simple_tag", 4, 1)
    predator, prey = environment.layout("agent-0"), environment.layout("agent-3")
    assert (predator.shape, prey.shape, predator.actions) == ([16], [14], [5])
    parts = [(field.name, field.start, field.size) for field in predator.fields]
    assert parts == [("velocity", 0, 2), ("position", 2, 2), ("obstacles", 4, 4), ("bodies", 8, 6), ("prey_velocity", 14, 2)]
    spread = make("simple_spread", 3, 1, actions="continuous").layout("agent-0")
    assert spread.shape == [18] and spread.low == [-1, -1] and spread.high == [1, 1] and sum(field.size for field in spread.fields) == 18


@pytest.mark.parametrize(
    ("identifier", "options", "count", "path", "texts"),
    [
        ("particles:simple_sprad", {"local_ratio": 0}, 3, "environment.id", ['did you mean "simple_spread"', "there are rescue, simple_"]),
        ("particles", {}, 3, "environment.id", ["no such particle world"]),
        ("particles:simple_spread", {"sight": 0.25}, 3, "environment.options.sight", ["unknown option"]),
        ("particles:simple_tag", {"sigt": 0.25}, 3, "environment.options.sigt", ['did you mean "sight"?']),
        ("particles:rescue", {}, 3, "agents.count", ["has 2 agents", "agents.count is 3", "write 2"]),
        ("particles:simple_tag", {}, 1, "agents.count", ["at least 2", "prey: scripted"]),
    ],
)
def test_what_cannot_be_played_names_place_rule_and_cure(
    identifier: str, options: dict[str, Any], count: int, path: str, texts: list[str]
) -> None:
    settings, names = EnvironmentSettings(id=identifier, options=options, copies=2), [f"agent-{i}" for i in range(count)]
    (found,) = problems(settings, names)
    assert ".".join(map(str, found.path)) == path and all(text in found.message for text in texts), found
    with pytest.raises(EnvironmentProblem):
        create(settings, names)


def test_each_world_has_options_of_its_own() -> None:
    spread, tag = (options_class(f"particles:{world}") for world in ("simple_spread", "simple_tag"))
    assert spread is not None and tag is not None and spread is not tag
    assert "local_ratio" in spread.model_fields and "local_ratio" not in tag.model_fields
    description = describe(EnvironmentSettings(id="particles:rescue", copies=500), ["agent-0", "agent-1"])
    assert description.layouts["agent-1"].shape == [12] and description.goal_space is None


@pytest.mark.parametrize(("world", "agents", "options"), EVERY)
def test_pictures_show_the_copy(world: str, agents: int, options: dict[str, Any]) -> None:
    environment = make(world, agents, 2, **options)
    environment.reset(0)
    generator = np.random.default_rng(0)
    first = environment.render(0)
    for _ in range(5):
        environment.step(at_random(environment, generator))
    later, other = environment.render(0), environment.render(1)
    assert first.shape == (480, 480, 3) and first.dtype == np.uint8
    assert (first != later).any() and (later != other).any()


def test_a_picture_widens_for_bodies_outside_the_square() -> None:
    environment = make("simple_spread", 1)
    environment.reset(0)
    physics = motion(environment).physics
    physics.position[:, :, 0] = [[3.0, 0.0], [0.0, 0.0]]
    picture = environment.render(0)
    scale = 480 / (2 * 3.25)
    column = round((3.0 + 3.25) * scale)
    assert tuple(picture[240, column]) == (31, 119, 200), "the agent is drawn inside the picture"
