"""The checks of `murmuration.testing` pass for the components of this repository."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from agent_node.exchange.settings import CoordinationGameSettings
from agent_node.goals.settings import BanditGoalSettings, JointLearningProgressSettings, LearningProgressSettings, UniformGoalSettings
from agent_node.intrinsic.settings import RNDSettings
from agent_node.learners.network_settings import RecurrentSettings, ReplaySequenceSettings, SequenceSettings
from agent_node.learners.settings import DiscreteSACSettings, DoubleDQNSettings, IMPALASettings, PPOSettings, SACSettings, TD3Settings
from agent_node.learners.team.settings import MADDPGSettings, MASACSettings, QMIXSettings, VDNSettings
from agent_node.world_models.settings import EnsembleSettings, GPSettings
from murmuration.testing import (
    check_averaging_rule,
    check_conversation,
    check_environment,
    check_goal_source,
    check_goal_space,
    check_intrinsic_reward,
    check_learner,
    check_negotiation,
    check_world_model,
)
from murmuration.testing.goal_checks import VECTORS
from protocols.averaging.rule_settings import ROOM, rule_settings
from protocols.conversations.conversation import Conversation
from protocols.conversations.plan_exchange import PlanExchange
from protocols.runtime.component_registry import kinds
from protocols.spaces.discrete_goals import DiscreteGoals
from protocols.spaces.feature_sets import FeatureSets

LEARNERS = [
    DoubleDQNSettings(hidden=[8]),
    DiscreteSACSettings(hidden=[8]),
    SACSettings(hidden=[8]),
    TD3Settings(hidden=[8]),
    PPOSettings(hidden=[8]),
    IMPALASettings(hidden=[8]),
    DoubleDQNSettings(hidden=[8], recurrent=ReplaySequenceSettings()),
    PPOSettings(hidden=[8], recurrent=SequenceSettings(cell="lstm")),
    IMPALASettings(hidden=[8], recurrent=RecurrentSettings()),
    MADDPGSettings(hidden=[8]),
    MASACSettings(hidden=[8]),
    VDNSettings(hidden=[8]),
    QMIXSettings(hidden=[8], mixer_hidden=[8]),
]


@pytest.mark.parametrize(
    "settings", LEARNERS, ids=lambda settings: f"{settings.kind}{', recurrent' * ('recurrent' in settings.capabilities)}"
)
def test_learners(settings: Any) -> None:
    check_learner(settings)


def test_world_models() -> None:
    check_world_model(EnsembleSettings(members=2, hidden=[16], learning_starts=50))
    check_world_model(GPSettings(features=30), discrete=False)


@pytest.mark.parametrize(
    "settings", [UniformGoalSettings(), BanditGoalSettings(), LearningProgressSettings(), JointLearningProgressSettings()]
)
def test_goal_sources(settings: Any) -> None:
    check_goal_source(settings)


def test_goal_sources_of_vectors() -> None:
    check_goal_source(UniformGoalSettings(), VECTORS)


@pytest.mark.parametrize(
    "space", [FeatureSets(3), FeatureSets(4, scheme="original"), DiscreteGoals(5, "exclusive"), DiscreteGoals(2, "any"), VECTORS]
)
def test_goal_spaces(space: Any) -> None:
    check_goal_space(space)


@pytest.mark.parametrize("update", ["inhibition", "forgetting", "visited_cell"])
def test_negotiations(update: Any) -> None:
    check_negotiation(CoordinationGameSettings(update=update, batch=20, epochs=2, parts=2))


@pytest.mark.parametrize("kind", ["pushsum", "mh", "choco", "clip", "trim", "median", "geomedian", "krum"])
def test_averaging_rules(kind: str) -> None:
    assert kind in kinds(ROOM)
    check_averaging_rule(rule_settings(kind, {}))


def test_intrinsic_rewards() -> None:
    check_intrinsic_reward(RNDSettings())


@pytest.mark.parametrize(
    ("identifier", "options", "goals"),
    [
        ("landmarks", {"landmarks": 3, "horizon": 20}, None),
        ("reward_collection", {"horizon": 20}, None),
        ("particles:simple_spread", {}, None),
        ("particles:simple_tag", {"prey": "scripted", "actions": "continuous"}, None),
        ("particles:rescue", {}, None),
        ("particles:two_basins", {}, None),
        ("minigrid:MiniGrid-Empty-5x5-v0", {}, None),
        ("mpe2:simple_spread_v3", {"N": 2}, None),
        ("env_server.environments.point_reach", {"max_steps": 20}, None),
        ("env_server.environments.point_reach", {"max_steps": 20}, {"low": [-1, -1], "high": [1, 1], "threshold": 0.1}),
    ],
)
def test_environments(identifier: str, options: dict[str, Any], goals: dict[str, Any] | None) -> None:
    check_environment(identifier, options, goals=goals)


def test_conversation_of_plans() -> None:
    def create(name: str, neighbours: Sequence[str]) -> Conversation[Any]:
        return PlanExchange(name, neighbours, "layout", 3, 1, True)

    def act(machine: PlanExchange, turn: int, now: float) -> None:
        machine.share_plan(np.full((4, 3), turn, np.float32), np.zeros((4, 1), np.int32), now)

    check_conversation(create, act)
