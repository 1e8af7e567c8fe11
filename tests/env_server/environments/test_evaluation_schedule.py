"""Evaluations that are requested, drawn and cancelled."""

from __future__ import annotations

import pytest

from env_server.environments import registry
from env_server.environments.environment_contracts import CancellableEvaluation
from env_server.environments.episode_schedule import EvaluationSchedule
from env_server.settings import EnvironmentSettings


def test_what_is_not_drawn_can_be_cancelled() -> None:
    schedule = EvaluationSchedule(goals=3)
    schedule.request(4, True)
    assert schedule.draw() == (True, -1)
    assert schedule.cancel(own_only=True) == (3, 0)
    assert [schedule.draw() for _ in range(2)] == [(True, 0), (True, 1)]
    assert schedule.cancel() == (0, 2)
    assert schedule.draw() == (False, -1)


@pytest.mark.parametrize(
    ("identifier", "options", "agents"),
    [
        ("landmarks", {}, 2),
        ("reward_collection", {}, 2),
        ("minigrid:MiniGrid-Empty-5x5-v0", {}, 2),
        ("gymnasium:CartPole-v1", {}, 1),
    ],
)
def test_every_environment_can_cancel_its_evaluations(identifier: str, options: dict[str, object], agents: int) -> None:
    settings = EnvironmentSettings.model_validate({"id": identifier, "options": options, "copies": 2})
    environment = registry.create(settings, [f"agent-{i}" for i in range(agents)], seed=0)
    try:
        assert isinstance(environment, CancellableEvaluation)
        environment.reset(0)
        environment.evaluate(50, False)
        environment.step({})
        own, assigned = environment.cancel_evaluation()
        assert 0 < own <= 50 and assigned == 0
        assert environment.cancel_evaluation() == (0, 0)
    finally:
        environment.close()
