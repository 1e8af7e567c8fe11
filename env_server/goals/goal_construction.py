"""Goal spaces from the configuration, and their environments."""

from __future__ import annotations

from typing import Any

import numpy as np

from env_server.environments.environment_contracts import HeldEnvironment, VectorEnvironment
from env_server.environments.environment_problems import EnvironmentProblem, OptionProblem
from env_server.goals.achieved_goals import AchievedGoals
from env_server.goals.goal_copies import GoalCopies
from env_server.goals.goal_supervisor import GoalSupervisor
from env_server.settings import EnvironmentSettings, GoalSettings
from protocols.runtime.errors import ConfigurationError
from protocols.spaces.discrete_goals import DiscreteGoals
from protocols.spaces.goal_space import DiscreteSpace, GoalSpace
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
    try:
        if chosen:
            reward_function(chosen, arguments)
        return VectorGoals(low, high, goals.threshold, chosen, arguments if chosen == rule else "{}", reward, goals.ends, mixed)
    except ConfigurationError as error:
        raise EnvironmentProblem(OptionProblem((*_PLACE, "compute_reward"), str(error))) from error
    except ValueError as error:
        raise EnvironmentProblem(OptionProblem((*_PLACE, "low"), str(error))) from error


def _bounds(goals: GoalSettings, achieved: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if goals.low is not None and goals.high is not None:
        return tuple(goals.low), tuple(goals.high)
    if achieved is None:
        text = "goals are numbers or vectors: give count, or low and high"
        raise EnvironmentProblem(OptionProblem(_PLACE, text))
    low, high = np.ravel(achieved.low).astype(float), np.ravel(achieved.high).astype(float)
    if bool(np.all(np.isfinite(low) & np.isfinite(high) & (low < high))):
        return tuple(low.tolist()), tuple(high.tolist())
    if goals.chosen_by == "environment":
        return (-1.0,) * len(low), (1.0,) * len(low)  # only a scale: policies see such goals as they are
    text = "achieved_goal has no finite bounds in the observation space, from which goals could be drawn: give low and high"
    raise EnvironmentProblem(OptionProblem(_PLACE, text))


def measured(space: GoalSpace, goals: GoalSettings) -> AchievedGoals:
    """What measures achieved goals; `EnvironmentProblem` where the function of the settings does not exist."""
    try:
        return AchievedGoals(space, goals.of)
    except ConfigurationError as error:
        raise EnvironmentProblem(OptionProblem((*_PLACE, "of"), str(error))) from error


def with_goals(
    base: VectorEnvironment, settings: EnvironmentSettings, goals: GoalSettings, achieved: AchievedGoals | None, seed: int
) -> GoalCopies:
    """The environment with goals. `achieved` is None for a vectorised environment that does not measure them itself."""
    if achieved is None:
        members = len(base.seats(0)) if isinstance(base, HeldEnvironment) else len(base.agents)
        achieved = measured(goal_space_of(goals, members), goals)
        if not achieved.measures_batches:
            raise EnvironmentProblem(OptionProblem((*_PLACE, "of"), f"{settings.id} measures no goals itself: name a function"))
        if goals.chosen_by == "environment":
            raise EnvironmentProblem(OptionProblem((*_PLACE, "chosen_by"), f"{settings.id} sets no goals: write agents"))
    supervisor = None
    if settings.supervisor is not None:
        if not isinstance(achieved.space, DiscreteSpace):
            raise EnvironmentProblem(OptionProblem(("environment", "supervisor"), "draws discrete goals, these are vectors: write null"))
        try:
            supervisor = GoalSupervisor(achieved.space, len(base.agents), settings.supervisor.alignment)
        except ConfigurationError as error:
            raise EnvironmentProblem(OptionProblem(("environment", "supervisor", "alignment"), str(error))) from error
    return GoalCopies(base, achieved.space, goals, achieved, seed, supervisor)


def check_goals(environment: GoalCopies) -> None:
    """Measure once what is achieved; `EnvironmentProblem` where a function or the environment does not give what the goal space needs."""
    try:
        environment.measure_once()
    except EnvironmentProblem:
        raise
    except ConfigurationError as error:
        raise EnvironmentProblem(OptionProblem(_PLACE, str(error))) from error
    except Exception as error:  # code of third parties
        raise EnvironmentProblem(OptionProblem((*_PLACE, "of"), f"the function raises {type(error).__name__}: {error}")) from error
