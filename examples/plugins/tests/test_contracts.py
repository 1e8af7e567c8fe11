"""Every component of this package fulfils its contract."""

from __future__ import annotations

from collections.abc import Sequence

import swarm_extras  # noqa: F401  importing it registers the components
from murmuration.testing import (
    check_averaging_rule,
    check_conversation,
    check_environment,
    check_goal_source,
    check_intrinsic_reward,
    check_learner,
    check_negotiation,
    check_world_model,
)
from swarm_extras.components import (
    DirectSettings,
    EncoderQSettings,
    FrontierSettings,
    MedianStepSettings,
    RareStatesSettings,
    RidgeSettings,
)
from swarm_extras.return_sharing import ReturnExchange


def test_learner() -> None:
    check_learner(EncoderQSettings(width=8))


def test_world_model() -> None:
    check_world_model(RidgeSettings())
    check_world_model(RidgeSettings(), discrete=False)


def test_goal_source() -> None:
    check_goal_source(FrontierSettings())


def test_negotiation() -> None:
    check_negotiation(DirectSettings())


def test_averaging_rule() -> None:
    check_averaging_rule(MedianStepSettings())


def test_intrinsic_reward() -> None:
    check_intrinsic_reward(RareStatesSettings())


def test_environment() -> None:
    check_environment("beacons", {"horizon": 10}, agents=3)


def test_goals_of_the_environment() -> None:
    goals = {"of": "swarm_extras.beacons:nearest_corner", "count": 4}
    check_environment("beacons", {"horizon": 10}, goals=goals)


def test_conversation() -> None:
    def create(name: str, neighbours: Sequence[str]) -> ReturnExchange:
        return ReturnExchange(neighbours)

    def act(machine: ReturnExchange, turn: int, now: float) -> None:
        machine.announce(float(turn))

    check_conversation(create, act)
