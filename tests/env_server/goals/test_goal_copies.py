"""Goals for environments that have none: episodes wait for goals, rewards follow from them."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest

from env_server.environments.environment_contracts import GoalEnvironment, TickResult
from env_server.environments.environment_factory import EnvironmentProblem
from env_server.environments.registry import create, describe, problems
from env_server.goals.goal_copies import GoalCopies
from env_server.settings import EnvironmentSettings, GoalSettings, SupervisorSettings
from protocols.conversations.stepping.stepping_messages import Flag
from protocols.runtime.component_registry import register
from protocols.runtime.settings_types import Settings
from protocols.spaces.discrete_goals import DiscreteGoals
from protocols.spaces.vector_goals import VectorGoals
from tests.env_server.environments.flag_rules import FlagRules
from tests.env_server.goals.corridor import CELLS

HERE = "tests.env_server.goals.corridor"
NAMES = ["agent-0", "agent-1"]
STAY, LEFT, RIGHT = 0, 1, 2


class CountingOptions(Settings):
    """Options of a third party's environment."""

    kind: Literal["counting"] = "counting"
    steps: int = 3


register("environment", "counting", CountingOptions, f"{HERE}:Counting")


def settings(identifier: str = f"{HERE}:Corridor", copies: int = 3, options: Any = None, **goals: Any) -> EnvironmentSettings:
    chosen = GoalSettings(**{"count": CELLS, **goals}) if goals.pop("some", True) else None
    return EnvironmentSettings(id=identifier, copies=copies, options=options or {}, goals=chosen)


def made(one: EnvironmentSettings, names: list[str] | None = None) -> GoalCopies:
    environment = create(one, names or NAMES, seed=5)
    assert isinstance(environment, GoalCopies) and isinstance(environment, GoalEnvironment)
    return environment


def walk(environment: GoalCopies, moves: dict[str, int]) -> TickResult:
    return environment.step({agent: np.full((environment.copies, 1), move, np.int32) for agent, move in moves.items()})


def answer(environment: GoalCopies, goals: dict[str, Any], negotiated: bool = True) -> list[Any]:
    offers = environment.offers()
    for offer in offers:
        for agent in offer.members:
            environment.set_goal(offer.episode, agent, goals[agent], negotiated)
    return offers


def test_episodes_wait_for_the_goals_of_all_members_and_the_leader_changes() -> None:
    environment = made(settings())
    outcome = environment.reset(5)
    assert (outcome.episode == -1).all() and not any(batch.flags.any() for batch in outcome.agents.values())
    offers = environment.offers()
    assert [sorted(offer.members) for offer in offers] == [NAMES] * 3
    assert environment.waiting() == [(offer.episode, agent) for offer in offers for agent in offer.members]
    for agent in NAMES:
        environment.set_goal(offers[1].episode, agent, 2, True)
    outcome = walk(environment, {})
    assert outcome.episode.tolist() == [-1, offers[1].episode, -1]
    assert outcome.agents["agent-0"].goal.tolist() == [-1, 2, -1]
    assert outcome.agents["agent-0"].flags.tolist() == [0, Flag.MEMBER | Flag.FIRST, 0]
    leaders = {offer.members[0] for offer in offers}
    for _ in range(60):
        leaders |= {offer.members[0] for offer in answer(environment, dict.fromkeys(NAMES, 1))}
        walk(environment, {})
    assert leaders == set(NAMES)


def test_a_goal_that_is_reached_ends_the_part_of_its_agent_and_the_last_one_the_episode() -> None:
    environment = made(settings(of=f"{HERE}:cell_of"))
    rules = FlagRules(environment)
    rules.check(environment.reset(5))
    answer(environment, {"agent-0": 1, "agent-1": 2})
    rules.check(walk(environment, {}))
    outcome = walk(environment, dict.fromkeys(NAMES, RIGHT))
    rules.check(outcome)
    assert outcome.agents["agent-0"].reward.tolist() == [1.0] * 3 and outcome.agents["agent-1"].reward.tolist() == [0.0] * 3
    assert (outcome.agents["agent-0"].flags == Flag.MEMBER | Flag.TERMINATED).all()
    assert outcome.agents["agent-0"].achieved.tolist() == [[0, 1, 0, 0]] * 3
    outcome = walk(environment, dict.fromkeys(NAMES, RIGHT))
    rules.check(outcome)
    assert (outcome.agents["agent-1"].flags == Flag.MEMBER | Flag.TERMINATED | Flag.OVER).all()
    assert outcome.agents["agent-0"].achieved.tolist() == [[0, 1, 0, 0]] * 3, "an agent whose part has ended does nothing"
    records = environment.finished()
    rules.check_records(records)
    lengths = {"agent-0": 1, "agent-1": 2}
    for record in records:
        assert record.rewards == (1.0, 1.0) and record.reached == (True, True) and record.negotiated
        assert record.lengths == tuple(lengths[agent] for agent in record.members)
    answer(environment, dict.fromkeys(NAMES, 0))
    outcome = walk(environment, {})
    assert (outcome.agents["agent-0"].flags == Flag.MEMBER | Flag.FIRST).all(), "the episode of the base was ended too"


def test_rewards_of_the_own_goal_of_the_team_and_of_the_environment() -> None:
    environment = made(settings(rule="exclusive", ends=False, scale=0.5, team=0.5, reward="add"))
    space = environment.goal_space
    assert space == DiscreteGoals(CELLS, "exclusive", 0.5 * 0.75, False, True)
    environment.reset(5)
    answer(environment, {"agent-0": 1, "agent-1": 2})
    walk(environment, {})
    outcome = walk(environment, dict.fromkeys(NAMES, RIGHT))  # both in cell 1: exclusive to neither
    assert outcome.agents["agent-0"].reward.tolist() == [0.25] * 3
    outcome = walk(environment, {"agent-0": STAY, "agent-1": RIGHT})
    assert outcome.agents["agent-0"].reward.tolist() == [0.25 + 0.5] * 3
    outcome = walk(environment, {"agent-0": LEFT, "agent-1": STAY})
    assert outcome.agents["agent-0"].reward == pytest.approx([0.25 + 0.5 * 0.25] * 3)
    assert outcome.agents["agent-1"].reward == pytest.approx([0.25 + 0.5 * 0.75] * 3)
    for _ in range(5):
        walk(environment, dict.fromkeys(NAMES, STAY))
    record = environment.finished()[0]
    assert record.goals == tuple({"agent-0": 1, "agent-1": 2}[agent] for agent in record.members)
    assert record.reached == tuple({"agent-0": False, "agent-1": True}[agent] for agent in record.members)


def test_an_episode_ends_when_a_member_leaves_and_the_next_ones_are_offered_to_those_who_are_there() -> None:
    environment = made(settings())
    rules = FlagRules(environment)
    rules.check(environment.reset(5))
    answer(environment, dict.fromkeys(NAMES, 3))
    rules.check(walk(environment, {}))
    environment.offers()
    environment.set_present(["agent-1"])
    outcome = walk(environment, {})
    rules.check(outcome)
    assert (outcome.agents["agent-1"].flags == Flag.MEMBER | Flag.TRUNCATED | Flag.OVER | Flag.PEER_LOST).all()
    assert not outcome.agents["agent-0"].flags.any() and all(record.peer_lost for record in environment.finished())
    assert {offer.members for offer in answer(environment, {"agent-1": 0})} == {("agent-1",)}
    outcome = walk(environment, {})
    assert (outcome.agents["agent-1"].flags == Flag.MEMBER | Flag.FIRST).all() and not outcome.agents["agent-0"].flags.any()


def test_evaluations_and_a_supervisor() -> None:
    environment = made(settings().model_copy(update={"supervisor": SupervisorSettings()}))
    environment.reset(5)
    environment.evaluate(3, True)
    seen: list[Any] = []
    for _ in range(60):
        walk(environment, {})
        seen += environment.finished()
    assert all(len(set(record.goals)) == 1 for record in seen)
    assert sum(record.evaluation and not record.assigned for record in seen) == 3 and sum(record.assigned for record in seen) == 3


def test_a_vectorised_environment_of_a_third_party_without_hold() -> None:
    one = settings("counting", options={"steps": 3}, of=f"{HERE}:observed_cell", ends=False)
    environment = made(one)
    rules = FlagRules(environment)
    outcome = environment.reset(5)
    rules.check(outcome)
    assert (outcome.agents["agent-0"].flags == Flag.MEMBER | Flag.FIRST).all(), "it begins at once, with goals that are drawn"
    answer(environment, dict.fromkeys(NAMES, 2))
    for _ in range(4):
        rules.check(environment.step({}))
    assert environment.step({}).agents["agent-0"].goal.tolist() == [2, 2, 2] and environment.waiting() == []
    records = environment.finished()
    assert len(records) == 3
    (problem,) = problems(settings("counting", options={"step": 3}), NAMES)
    assert problem.path == ("environment", "options", "step") and "steps" in problem.message


def test_a_dictionary_observation_brings_goals_and_rewards_of_its_own() -> None:
    one = EnvironmentSettings(id=f"{HERE}:Reach", copies=2)
    environment = made(one, ["agent-0"])
    assert environment.goal_space == VectorGoals((-1.0, -1.0), (1.0, 1.0), ends=False)
    outcome = environment.reset(5)
    assert np.isfinite(outcome.agents["agent-0"].goal).all(), "values on the wire are finite, where there is no goal too"
    assert environment.offers() == [] and environment.waiting() == []
    outcome = environment.step({})
    batch = outcome.agents["agent-0"]
    assert batch.observation.shape == (2, 2) and batch.goal.dtype == np.float32 and not np.isnan(batch.goal).any()
    named = GoalSettings(low=[-1, -1], high=[1, 1], compute_reward="tests.protocols.spaces.test_goal_spaces:negative_distance")
    environment = made(one.model_copy(update={"goals": named}), ["agent-0"])
    environment.reset(5)
    (first, second) = environment.offers()
    environment.set_goal(first.episode, "agent-0", (0.5, 0.0), False)
    environment.set_goal(second.episode, "agent-0", (0.0, 0.0), False)
    environment.step({})
    outcome = environment.step({"agent-0": np.full((2, 2), 0.1, np.float32)})
    assert outcome.agents["agent-0"].reward == pytest.approx([-np.hypot(0.4, 0.1), -np.hypot(0.1, 0.1)])
    with pytest.raises(ValueError, match="2 finite components"):
        environment.set_goal(7, "agent-0", (float("nan"), 0.0), False)


@pytest.mark.parametrize(
    ("one", "count", "path", "text"),
    [
        (settings(of=f"{HERE}:too_few"), 2, "environment.goals", "gives the shape [2], and environment.goals.count is 4"),
        (settings(of=f"{HERE}:broken"), 2, "environment.goals.of", "raises KeyError: 'no such door'"),
        (settings(of=f"{HERE}:missing"), 2, "environment.goals.of", "correct the name"),
        (settings(of="no.such:function"), 2, "environment.goals.of", "no module no"),
        (settings("mpe2:simple_spread_v3"), 3, "environment.goals", "have no achieved_goal"),
        (settings("counting"), 2, "environment.goals.of", "name a function"),
        (settings("landmarks"), 2, "environment.goals", "has goals of its own"),
        (settings(count=None), 2, "environment.goals", "give count, or low and high"),
        (settings(chosen_by="environment"), 2, "environment.goals", "needs desired_goal"),
        (EnvironmentSettings(id=f"{HERE}:CELLS"), 2, "environment.id", "has no environment or factory CELLS"),
        (EnvironmentSettings(id=f"{HERE}:too_few", options={}), 2, "environment.id", "required positional arguments"),
    ],
)
def test_goals_that_cannot_be_are_refused_with_place_and_cure(one: EnvironmentSettings, count: int, path: str, text: str) -> None:
    (problem,) = problems(one, [f"agent-{i}" for i in range(count)])
    assert ".".join(problem.path) == path and text in problem.message, problem
    with pytest.raises(EnvironmentProblem):
        describe(one, [f"agent-{i}" for i in range(count)])
