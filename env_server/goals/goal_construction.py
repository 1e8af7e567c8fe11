"""Goal spaces from the configuration, and their environments."""

from __future__ import annotations

from typing import Any

import numpy as np

from env_server.environments.environment_contracts import HeldEnvironment, VectorEnvironment
from env_server.environments.environment_factory import EnvironmentProblem, problem, problems_at
from env_server.goals.achieved_goals import AchievedGoals
from env_server.goals.goal_copies import GoalCopies
from env_server.goals.goal_supervisor import supervisor_of
from env_server.settings import EnvironmentSettings, GoalSettings
from protocols.spaces.discrete_goals import DiscreteGoals
from protocols.spaces.goal_space import GoalSpace
from protocols.spaces.vector_goals import VectorGoals, reward_function

_PLACE = ("environment", "goals")


def goal_space_of(goals: GoalSettings, members: int, achieved: Any = None, rule: str = "", arguments: str = "{}") -> GoalSpace:
    """The goal space of the settings, for episodes of `members` agents. For vectors, `achieved` is the Box of achieved goals, where the
    environment has one, and `rule` its reward function (`vector_goals.reward_function`), used where the settings name none."""
    reward = goals.scale * (1 - goals.team + goals.team / members)
    mixed = goals.reward == "add" or goals.team > 0
    if goals.count is not None:
        return DiscreteGoals(goals.count, goals.rule, reward, goals.ends, mixed)
    low, high = _bounds(goals, achieved)
    chosen = goals.compute_reward or rule
    if chosen:
        with problems_at(*_PLACE, "compute_reward"):
            reward_function(chosen, arguments)
    try:
        return VectorGoals(low, high, goals.threshold, chosen, arguments if chosen == rule else "{}", reward, goals.ends, mixed)
    except ValueError as error:
        raise problem(str(error), *_PLACE, "low") from error


def _bounds(goals: GoalSettings, achieved: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if goals.low is not None and goals.high is not None:
        return tuple(goals.low), tuple(goals.high)
    if achieved is None:
        raise problem("goals are numbers or vectors: give count, or low and high", *_PLACE)
    low, high = np.ravel(achieved.low).astype(float), np.ravel(achieved.high).astype(float)
    if bool(np.all(np.isfinite(low) & np.isfinite(high) & (low < high))):
        return tuple(low.tolist()), tuple(high.tolist())
    if goals.chosen_by == "environment":
        return (-1.0,) * len(low), (1.0,) * len(low)  # only a scale: policies see such goals as they are
    text = "achieved_goal has no finite bounds in the observation space, from which goals could be drawn: give low and high"
    raise problem(text, *_PLACE)


def measured(space: GoalSpace, goals: GoalSettings) -> AchievedGoals:
    """What measures achieved goals; `EnvironmentProblem` where the function of the settings does not exist."""
    with problems_at(*_PLACE, "of"):
        return AchievedGoals(space, goals.of)


def with_goals(
    base: VectorEnvironment, settings: EnvironmentSettings, goals: GoalSettings, achieved: AchievedGoals | None, seed: int
) -> GoalCopies:
    """The environment with goals. `achieved` is None for a vectorised environment that does not measure them itself."""
    if achieved is None:
        members = len(base.seats(0)) if isinstance(base, HeldEnvironment) else len(base.agents)
        achieved = measured(goal_space_of(goals, members), goals)
        if not achieved.measures_batches:
            raise problem(f"{settings.id} measures no goals itself: name a function", *_PLACE, "of")
        if goals.chosen_by == "environment":
            raise problem(f"{settings.id} sets no goals: write agents", *_PLACE, "chosen_by")
    supervisor = supervisor_of(settings.supervisor, achieved.space, len(base.agents))
    return GoalCopies(base, goals, achieved, seed, supervisor)


def check_goals(environment: GoalCopies) -> None:
    """Measure once what is achieved; `EnvironmentProblem` where a function or the environment does not give what the goal space needs."""
    try:
        with problems_at(*_PLACE):
            environment.measure_once()
    except EnvironmentProblem:
        raise
    except Exception as error:  # code of third parties
        raise problem(f"the function raises {type(error).__name__}: {error}", *_PLACE, "of") from error
