"""Values that are not finite end the run, with the agent, the component, the step and the episode."""

from __future__ import annotations

import numpy as np
import pytest

from env_server.environments.environment_contracts import AgentBatch, TickResult
from env_server.serving.finite_values import FiniteValues
from protocols.runtime.errors import EnvironmentFailure, ExitCode
from protocols.spaces.layout import Layout, ObservationField

AGENTS = ("agent-0", "agent-1")
FIELDS = [ObservationField("speed", 0, 2), ObservationField("", 2, 1)]
LAYOUTS = {"agent-0": Layout(shape=[3], fields=FIELDS), "agent-1": Layout(shape=[2, 2], dtype="u1")}


def result(*episode: int) -> TickResult:
    """Zeros in two copies."""
    seen = {"agent-0": np.zeros((2, 3), np.float32), "agent-1": np.zeros((2, 2, 2), np.uint8)}
    batches = {agent: AgentBatch(seen[agent], np.zeros(2, np.float32), np.zeros(2, np.uint16)) for agent in AGENTS}
    return TickResult(batches, np.array(episode, np.int64))


@pytest.fixture
def check() -> FiniteValues:
    """After the first observations and one step of both copies, and the first observation of another episode in copy 1."""
    check = FiniteValues(LAYOUTS, 2)
    for episodes in ((0, 1), (0, 1), (0, 2)):
        check.check(result(*episodes))
    return check


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_reward_is_named(check: FiniteValues, value: float) -> None:
    wrong = result(0, 2)
    wrong.agents["agent-1"].reward[1] = value
    with pytest.raises(
        EnvironmentFailure, match=f"^the reward of agent-1 is {value} at step 1 of episode 2, copy 1: .* wrapper"
    ) as failure:
        check.check(wrong)
    assert failure.value.exit_code == ExitCode.ENVIRONMENT == 7


@pytest.mark.parametrize(
    ("components", "text"),
    [
        ([1], r"component 1 \(speed\) of the observation of agent-0 is nan at"),
        ([2], "component 2 of the"),
        ([1, 2], r"is nan \(and 1 more\)"),
    ],
)
def test_a_component_is_named_by_its_field(check: FiniteValues, components: list[int], text: str) -> None:
    wrong = result(0, 2)
    wrong.agents["agent-0"].observation[0, components] = np.nan
    with pytest.raises(EnvironmentFailure, match=f"{text}.* step 3 of episode 0, copy 0"):
        check.check(wrong)


def test_the_first_observation_is_step_0_of_the_first_episode() -> None:
    wrong = result(0, 1)
    wrong.agents["agent-0"].observation[1, 0] = np.inf
    with pytest.raises(EnvironmentFailure, match="is inf at step 0 of episode 1, copy 1"):
        FiniteValues(LAYOUTS, 2).check(wrong)


def test_large_values_are_finite(check: FiniteValues) -> None:
    large = result(0, 2)
    large.agents["agent-0"].observation[:] = 3e38
    large.agents["agent-1"].reward[:] = -3e38
    check.check(large)
