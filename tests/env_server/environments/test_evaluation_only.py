"""Environments that are played in evaluations only: nothing else begins, and every requested episode does, once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from env_server.environments import registry
from env_server.environments.evaluation_only import EvaluationOnly
from env_server.settings import EnvironmentSettings
from protocols.conversations.stepping.stepping_messages import Flag
from protocols.runtime.errors import ConfigurationError


def made(identifier: str, agents: int, **options: Any) -> EvaluationOnly:
    settings = EnvironmentSettings(id=identifier, copies=3, options=options)
    return EvaluationOnly(registry.create(settings, [f"agent-{i}" for i in range(agents)], None, 1))


CASES = [
    ("particles:simple_spread", 2, {"horizon": 4}),
    ("mpe2:simple_spread_v3", 3, {"max_cycles": 4}),
    ("gymnasium:CartPole-v1", 1, {}),
    ("minigrid:MiniGrid-Empty-5x5-v0", 2, {"arguments": {"max_steps": 5}}),
]


@pytest.mark.parametrize(("identifier", "agents", "options"), CASES)
def test_only_requested_episodes_are_played(identifier: str, agents: int, options: dict[str, Any]) -> None:
    environment = made(identifier, agents, **options)
    outcome = environment.reset(3, 100)
    actions = {agent: np.repeat(environment.layout(agent).null_action[None], 3, axis=0) for agent in environment.agents}
    for wanted in (0, 5, 2):
        environment.evaluate(wanted, False)
        records, idle = [], 0
        while idle < 5:
            outcome = environment.step(actions)
            records += environment.finished()
            playing = (outcome.episode >= 0).any()
            idle = 0 if playing else idle + 1
            flags = np.stack([batch.flags for batch in outcome.agents.values()])
            member = (flags & Flag.MEMBER) != 0
            assert ((flags & Flag.EVALUATION) != 0)[member].all() and not flags[:, outcome.episode < 0].any()
        assert len(records) == wanted and all(record.evaluation for record in records)
    environment.close()


def test_what_is_cancelled_does_not_begin() -> None:
    environment = made("particles:simple_spread", 2, horizon=4)
    environment.reset(3)
    environment.evaluate(10, False)
    outcome = environment.step({})
    assert (outcome.episode >= 0).all() and environment.cancel_evaluation() == (7, 0)
    records = []
    for _ in range(10):
        outcome = environment.step({})
        records += environment.finished()
    assert len(records) == 3 and (outcome.episode == -1).all()
    environment.evaluate(1, False)
    environment.reset(3)
    assert all((environment.step({}).episode == -1).all() for _ in range(3))


def test_environments_that_cannot_wait_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="cannot be held"):
        made("landmarks", 2)
