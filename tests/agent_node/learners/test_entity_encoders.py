"""Networks over entities: the order of entities does not matter, their number decides no parameter, and absent ones count for nothing."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
import torch

from agent_node.contracts import EntityGroup, Learner, PolicySpec
from agent_node.learners.discrete_sac import DiscreteSAC
from agent_node.learners.impala import IMPALA
from agent_node.learners.library.encoders import GridEncoder
from agent_node.learners.library.entity_encoders import EntityEncoder
from agent_node.learners.library.network_architectures import encoder_of, network_of
from agent_node.learners.network_settings import EntityPart, entities_of
from agent_node.learners.recurrent_double_dqn import double_dqn
from agent_node.learners.recurrent_ppo import ppo
from agent_node.learners.sac import SAC
from agent_node.learners.settings import (
    DiscreteSACSettings,
    DoubleDQNSettings,
    IMPALASettings,
    PPOSettings,
    SACSettings,
    TD3Settings,
)
from agent_node.learners.td3 import TD3
from murmuration.testing import check_learner
from protocols.runtime.errors import ConfigurationError

Network = Literal["entities", "entity_attention"]
ROWS = 64
NETWORKS: tuple[Network, ...] = ("entities", "entity_attention")


def spec(agents: int, discrete: bool = True, goal: int = 0) -> PolicySpec:
    """As in simple_spread with N agents: speed and place, N landmarks, N - 1 others, and their messages."""
    parts = [
        EntityPart(name="own", size=4), EntityPart(name="landmarks", count=agents, size=2),
        EntityPart(name="others", count=agents - 1, size=2), EntityPart(name="others", count=agents - 1, size=2),
    ]  # fmt: skip
    observed = 4 + 2 * agents + 4 * (agents - 1)
    groups = tuple(EntityGroup(name, tuple(places)) for name, places in entities_of(parts, observed).items())
    actions: dict[str, Any] = {"actions": (5,)} if discrete else {"actions": (), "low": (-1.0, -1.0), "high": (1.0, 1.0)}
    return PolicySpec((observed,), goal, **actions, entities=groups)


def permuted(observations: np.ndarray, one: PolicySpec, seed: int = 1) -> np.ndarray:
    """The same entities of each group in another order, another one in each row."""
    changed, random = observations.copy(), np.random.default_rng(seed)
    for group in one.entities:
        places = np.array(group.components)
        for row in range(len(changed)):
            changed[row, places] = observations[row, places[random.permutation(len(places))]]
    return changed


def learners(one: PolicySpec, network: Network) -> list[Learner]:
    given: dict[str, Any] = {"network": network, "hidden": [16]}
    if one.actions:
        return [
            ppo(PPOSettings(**given, evaluation="mode"), one, ROWS, 0),
            ppo(PPOSettings(**given, evaluation="mode", recurrent={}), one, ROWS, 0),
            double_dqn(DoubleDQNSettings(**given), one, ROWS, 0),
            DiscreteSAC(DiscreteSACSettings(**given), one, ROWS, 0),
            IMPALA(IMPALASettings(**given, evaluation="mode"), one, ROWS, 0),
        ]
    return [
        ppo(PPOSettings(**given, evaluation="mode"), one, ROWS, 0),
        SAC(SACSettings(**given, random_steps=0), one, ROWS, 0),
        TD3(TD3Settings(**given, random_steps=0), one, ROWS, 0),
    ]


def test_components_of_parts_with_one_name_are_joined() -> None:
    landmarks, others = spec(3).entities
    assert landmarks.components == ((4, 5), (6, 7), (8, 9))
    assert others.components == ((10, 11, 14, 15), (12, 13, 16, 17))


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("discrete", [True, False])
def test_the_order_of_entities_does_not_matter(network: Network, discrete: bool) -> None:
    one, random = spec(4, discrete), np.random.default_rng(0)
    seen, goals = random.standard_normal((ROWS, *one.observation)).astype(np.float32), np.zeros((ROWS, 0), np.float32)
    first, rows = np.ones(ROWS, bool), np.arange(ROWS)
    for learner in learners(one, network):
        expected = learner.act(seen, goals, rows, first, False).actions
        found = learner.act(permuted(seen, one), goals, rows, first, False).actions
        np.testing.assert_allclose(found, expected, atol=1e-5)
        changed = seen.copy()
        changed[:, one.entities[0].components[1]] += 3.0
        assert (learner.act(changed, goals, rows, first, False).actions != expected).any(), "entities are seen"


@pytest.mark.parametrize("network", NETWORKS)
def test_a_policy_acts_among_more_entities_than_it_was_made_for(network: Network) -> None:
    for few, many in zip(learners(spec(3), network), learners(spec(5), network), strict=True):
        for tensors, others in zip(few.parameter_groups().values(), many.parameter_groups().values(), strict=True):
            for tensor in others:
                tensor.zero_()
            assert [tensor.shape for tensor in tensors] == [tensor.shape for tensor in others]
        many.load_state_dict(few.state_dict())
        # Landmarks and agents that are given twice are the same maximum, mean and weights.
        random = np.random.default_rng(0)
        own, landmark, other = (random.standard_normal((8, size)).astype(np.float32) for size in (4, 2, 4))
        seen = [
            np.concatenate([own, *[landmark] * n, *[other[:, :2]] * (n - 1), *[other[:, 2:]] * (n - 1)], axis=1).astype(np.float32)
            for n in (3, 5)
        ]
        none, first = np.zeros((8, 0), np.float32), np.ones(8, bool)
        expected, found = (one.act(shown, none, None, first, False).actions for one, shown in ((few, seen[0]), (many, seen[1])))
        assert np.array_equal(expected, found)


@pytest.mark.parametrize("network", NETWORKS)
def test_absent_entities_count_for_nothing(network: Network) -> None:
    few, many = (EntityEncoder(network, spec(n).entities, spec(n).observation[0], torch.Generator().manual_seed(0)) for n in (3, 5))
    seen = torch.randn(6, 18, generator=torch.Generator().manual_seed(1))
    padded = torch.zeros(6, 4 + 10 + 16)
    padded[:, :10], padded[:, 14:18], padded[:, 22:26] = seen[:, :10], seen[:, 10:14], seen[:, 14:18]
    torch.testing.assert_close(many(padded), few(seen))
    none = torch.zeros(6, 18)
    none[:, :4] = seen[:, :4]
    found = few(none)
    assert torch.equal(found[:, :4], seen[:, :4]) and not found[:, 4:].any()


def test_the_pooled_values_are_those_of_the_formula() -> None:
    one = EntityEncoder("entities", (EntityGroup("a", ((1, 2), (3, 4))),), 5, torch.Generator().manual_seed(0))
    (group,) = one.groups
    seen = torch.tensor([[0.5, 1.0, -1.0, 2.0, 0.3]])
    each = [group.second(group.first(torch.cat([seen[0, :1], seen[0, place : place + 2]])).relu()).relu() for place in (1, 3)]
    expected = torch.cat([seen[0, :1], (each[0] + each[1]) / 2, torch.maximum(each[0], each[1])])
    torch.testing.assert_close(one(seen)[0], expected)
    assert one.outputs == 1 + 2 * 64


def test_which_network_is_chosen() -> None:
    random = torch.Generator().manual_seed(0)
    assert isinstance(encoder_of("auto", spec(3), random), EntityEncoder) and encoder_of("mlp", spec(3), random) is None
    assert not isinstance(encoder_of("auto", spec(3), random), GridEncoder)
    with pytest.raises(ConfigurationError, match=r"agents\.entities describes none"):
        network_of("entities", PolicySpec((18,), 0, (5,)), [8], 5, random, 1.0)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("kind", [PPOSettings, DoubleDQNSettings, SACSettings])
def test_contracts(kind: Any, network: Network) -> None:
    check_learner(kind(hidden=[8], network=network), spec(3, discrete=kind is not SACSettings, goal=2))


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ([{"name": "own", "size": 5}, {"name": "a", "count": 2, "size": 2}], "the parts have 9 components, and 10 are observed"),
        ([{"name": "a", "count": 2, "size": 2}, {"name": "a", "count": 3, "size": 2}], "a has 2 entities in one part and 3 in another"),
        ([{"name": "own", "size": 10}], "no part has a count"),
    ],
)
def test_descriptions_that_do_not_fit(parts: list[dict[str, Any]], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        entities_of([EntityPart.model_validate(part) for part in parts], 10)
