"""Another number of agents in each episode: absent ones neither act nor count, and the rest is the world of those that are there."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
import torch

from agent_node.contracts import EntityGroup
from agent_node.learners.library.entity_encoders import EntityEncoder
from agent_node.learners.network_settings import EntityPart, entities_of
from env_server.environments.particles.particle_environment import VectorParticles
from env_server.environments.registry import problems, scripted_policies
from env_server.settings import EnvironmentSettings
from murmuration.testing import check_environment
from protocols.conversations.stepping.stepping_messages import Flag
from tests.env_server.environments.flag_rules import FlagRules
from tests.env_server.environments.particles.particle_reference import make, motion

MOST = 5
SIZES = [3, 4, 5]


def chosen(environment: VectorParticles, random: np.random.Generator) -> dict[str, np.ndarray]:
    return {agent: random.integers(0, 5, (environment.copies, 1)).astype(np.int32) for agent in environment.agents}


def alone(environment: VectorParticles, copy: int, world: str, **options: Any) -> tuple[VectorParticles, list[int]]:
    """A world of the agents that are present in that copy, at the same places, and their numbers in the copy."""
    bodies = np.flatnonzero(motion(environment).present[:, copy])
    members = bodies[bodies < len(environment.agents)].tolist()
    small = make(world, len(members), **options)
    small.reset()
    motion(small).physics.position[:, :, 0] = motion(environment).physics.position[bodies, :, copy]
    motion(small).physics.velocity[:] = 0.0
    return small, members


@pytest.mark.parametrize("world", ["simple_spread", "simple_tag"])
@pytest.mark.parametrize("prey", ["learning", "scripted"])
def test_it_obeys_the_contract(world: str, prey: str) -> None:
    options = {"team_sizes": SIZES, "horizon": 10} | ({"prey": prey} if world == "simple_tag" else {})
    check_environment(f"particles:{world}", options, agents=MOST, steps=100)


def test_sizes_and_members_are_drawn_uniformly_and_from_the_seed() -> None:
    environment = make("simple_spread", MOST, copies=300, seed=3, team_sizes=SIZES, horizon=1)
    rules, random = FlagRules(environment), np.random.default_rng(0)
    rules.check(environment.reset(3))
    members = []
    for _ in range(20):
        tick = environment.step(chosen(environment, random))
        rules.check(tick)
        members.append(np.stack([(tick.agents[agent].flags & Flag.MEMBER) != 0 for agent in environment.agents]))
    records = environment.finished()
    rules.check_records(records)
    assert len(records) == 3000 and {len(record.members) for record in records} == set(SIZES)
    share = np.bincount([len(record.members) for record in records])[3:] / len(records)
    np.testing.assert_allclose(share, 1 / 3, atol=0.04)
    taking = [sum(agent in record.members for record in records) / len(records) for agent in environment.agents]
    np.testing.assert_allclose(taking, 4 / 5, atol=0.04)
    again = make("simple_spread", MOST, copies=300, seed=3, team_sizes=SIZES, horizon=1)
    again.reset(3)
    again.step({})
    assert [record.members for record in again.finished()] == [record.members for record in records[:300]]


def test_absent_agents_see_nothing_earn_nothing_and_move_nothing() -> None:
    environment = make("simple_spread", MOST, copies=40, seed=1, team_sizes=[2, 5], horizon=8)
    tick, random = environment.reset(1), np.random.default_rng(0)
    for _ in range(8):
        absent = ~motion(environment).present[:MOST]
        before = motion(environment).physics.position[:MOST].copy()
        tick = environment.step(chosen(environment, random))
        moved = (motion(environment).physics.position[:MOST] != before).any(axis=1)
        assert not moved[absent].any()
        for i, agent in enumerate(environment.agents):
            batch = tick.agents[agent]
            assert (batch.flags[absent[i]] == 0).all() and (batch.flags[~absent[i]] & Flag.MEMBER).all()
            assert not batch.observation[absent[i]].any() and not batch.reward[absent[i]].any()
    assert moved[~absent].any()
    assert absent.any() and environment.render(int(np.flatnonzero(absent.any(axis=0))[0])).shape == (480, 480, 3)


@pytest.mark.parametrize("reward", ["mpe2", "team", "inverse_distance"])
def test_spreading_with_absent_agents_is_the_world_of_those_present(reward: str) -> None:
    options = {"reward": reward, "horizon": 20}
    environment = make("simple_spread", MOST, copies=30, seed=2, team_sizes=SIZES, **options)
    environment.reset(2)
    small = [alone(environment, copy, "simple_spread", **options) for copy in range(30)]
    assert {len(members) for _, members in small} == set(SIZES)
    random = np.random.default_rng(0)
    for _ in range(20):
        actions = chosen(environment, random)
        tick = environment.step(actions)
        for copy, (one, members) in enumerate(small):
            n = len(members)
            found = one.step({f"agent-{i}": actions[f"agent-{m}"][copy : copy + 1] for i, m in enumerate(members)})
            for i, m in enumerate(members):
                batch, expected = tick.agents[f"agent-{m}"], found.agents[f"agent-{i}"]
                assert batch.reward[copy] == pytest.approx(float(expected.reward[0]), rel=1e-6)
                whole = batch.observation[copy]
                others = [j - (j > m) for j in members if j != m]
                landmarks, agents = whole[4:14].reshape(5, 2), whole[14:22].reshape(4, 2)
                parts = [whole[:4], landmarks[:n].ravel(), agents[others].ravel(), np.zeros(2 * n - 2)]
                np.testing.assert_allclose(np.concatenate(parts), expected.observation[0], atol=1e-6)
                assert not landmarks[n:].any() and not np.delete(agents, others, axis=0).any() and not whole[22:].any()
    records = {record.episode: record for record in environment.finished()}
    for copy, (one, _) in enumerate(small):
        (record,) = one.finished()
        assert records[copy].metrics == pytest.approx(record.metrics)
        assert records[copy].rewards == pytest.approx(record.rewards)


def test_the_prey_is_always_there_and_flees_from_those_present() -> None:
    environment = make("simple_tag", MOST, copies=60, seed=2, team_sizes=[2, 5], horizon=15)
    environment.reset(2)
    small = [alone(environment, copy, "simple_tag", horizon=15) for copy in range(60)]
    assert {len(members) for _, members in small} == {2, 5} and all(members[-1] == MOST - 1 for _, members in small)
    random = np.random.default_rng(0)
    for _ in range(15):
        actions = chosen(environment, random)
        tick = environment.step(actions)
        for copy, (one, members) in enumerate(small):
            found = one.step({f"agent-{i}": actions[f"agent-{m}"][copy : copy + 1] for i, m in enumerate(members)})
            rewards = [float(tick.agents[f"agent-{m}"].reward[copy]) for m in members]
            assert rewards == pytest.approx([float(found.agents[f"agent-{i}"].reward[0]) for i in range(len(members))], rel=1e-6)


def test_scripted_policies_take_absent_entities_for_none() -> None:
    settings = EnvironmentSettings(id="particles:simple_spread", options={"team_sizes": SIZES})
    cover = scripted_policies(settings, [f"agent-{i}" for i in range(MOST)])["cover"]
    environment = make("simple_spread", MOST, copies=100, seed=5, team_sizes=SIZES, horizon=25)
    tick = environment.reset(5)
    for _ in range(25):
        seen = tick.agents
        tick = environment.step({name: cover(name, environment.layout(name), seen[name].observation) for name in environment.agents})
    returns: dict[int, list[float]] = {}
    for record in environment.finished():
        returns.setdefault(len(record.members), []).append(float(np.mean(record.rewards)))
    for size, published in ((3, -10.0), (5, -15.4)):  # with 5 % random actions
        assert np.mean(returns[size]) == pytest.approx(published, abs=2.0)


@pytest.mark.parametrize("network", ["entities", "entity_attention"])
def test_networks_over_entities_see_what_they_see_without_absent_ones(network: Literal["entities", "entity_attention"]) -> None:
    """Masked entities change nothing, permuted ones neither, and the parameters are those for any number."""

    def encoder(agents: int) -> EntityEncoder:
        parts = [
            EntityPart(name="own", size=4), EntityPart(name="landmarks", count=agents, size=2),
            EntityPart(name="others", count=agents - 1, size=2), EntityPart(name="others", count=agents - 1, size=2),
        ]  # fmt: skip
        groups = tuple(EntityGroup(name, tuple(places)) for name, places in entities_of(parts, 6 * agents).items())
        return EntityEncoder(network, groups, 6 * agents, torch.Generator().manual_seed(0))

    environment = make("simple_spread", MOST, copies=30, seed=2, team_sizes=SIZES)
    tick = environment.reset(2)
    for copy in range(30):
        one, members = alone(environment, copy, "simple_spread")
        large, small = encoder(MOST), encoder(len(members))
        assert [tensor.shape for tensor in large.parameters()] == [tensor.shape for tensor in small.parameters()]
        order = np.random.default_rng(copy).permutation(len(members))
        motion(one).physics.position[: len(members), :, 0] = motion(environment).physics.position[np.array(members)[order], :, copy]
        for i, seen in enumerate(motion(one).observe()):
            whole = tick.agents[f"agent-{members[order[i]]}"].observation[copy : copy + 1]
            torch.testing.assert_close(large(torch.from_numpy(whole)), small(torch.from_numpy(seen)), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(
    ("world", "options", "goals", "text"),
    [
        ("simple_spread", {"team_sizes": [3, 4]}, None, "the greatest is 4, and agents.count is 5; write agents.count: 4, or null"),
        ("simple_tag", {"team_sizes": [1, 5]}, None, "1 is too few: the prey is one of the agents"),
        ("simple_spread", {"team_sizes": SIZES}, {"of": f"{__name__}:nothing", "count": 2}, "the members of an episode with goals"),
    ],
)
def test_what_does_not_fit_is_refused(world: str, options: dict[str, Any], goals: Any, text: str) -> None:
    settings = EnvironmentSettings.model_validate({"id": f"particles:{world}", "options": options, "goals": goals})
    (found,) = problems(settings, [f"agent-{i}" for i in range(MOST)])
    assert text in found.message and found.path == ("environment", "options", "team_sizes")


def nothing(environment: Any, agent: str, observation: Any) -> Any:
    return np.full(len(observation), -1)
