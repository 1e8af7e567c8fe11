"""Makes K copies of an imported environment, with goals where it or the configuration has them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from env_server.adapters.imported_environments import Maker, agent_count_option, maker
from env_server.adapters.parallel_adapter import ParallelCopies, masks_in_infos
from env_server.adapters.parallel_conversions import GoalDictionaries, TurnBasedParallel, has_goals
from env_server.environments.environment_contracts import VectorEnvironment
from env_server.environments.environment_factory import EnvironmentContext, EnvironmentFactory, problem, problems_at
from env_server.goals.achieved_goals import AchievedGoals
from env_server.goals.goal_construction import goal_space_of, measured, with_goals
from env_server.settings import EnvironmentSettings, GoalSettings
from protocols.spaces.vector_goals import GYMNASIUM


class ImportedFactory(EnvironmentFactory):
    """Whatever is named by an import path. `known`: names of vectorised environments, which are suggested for unknown ids."""

    takes_wrappers = True

    def __init__(self, known: Sequence[str] = ()) -> None:
        self._known = known

    def create(self, context: EnvironmentContext) -> VectorEnvironment:
        """`EnvironmentProblem` for what does not fit: in number of agents, spaces, options or goals."""
        settings = context.settings
        make = maker(settings, self._known)
        example = make()
        try:
            goals, achieved, make = _goals(settings, example, make, len(context.agents))
            masks = masks_in_infos(example, context.seed % 2**31)
        finally:
            example.close()
        desired = goals is not None and goals.chosen_by == "environment"
        with problems_at("environment", "id"):
            copies = ParallelCopies(
                make, context.agents, context.copies, context.seed, achieved, desired, masks, settings.images, settings.info_metrics
            )
        if goals is None:
            return copies
        try:
            return with_goals(copies, settings, goals, achieved, context.seed)
        except BaseException:
            copies.close()
            raise

    def is_single_player(self, context: EnvironmentContext) -> bool:
        """Gymnasium environments are."""
        return context.settings.id.startswith(GYMNASIUM)

    def agent_count_option(self, context: EnvironmentContext) -> str | None:
        """The keyword argument with one of the usual names."""
        return agent_count_option(context.settings)

    def drawn(self, settings: EnvironmentSettings) -> EnvironmentSettings:
        """With `render_mode: rgb_array`."""
        return settings.model_copy(update={"options": {**settings.options, "render_mode": "rgb_array"}})


def _goals(
    settings: EnvironmentSettings, environment: Any, make: Maker, members: int
) -> tuple[GoalSettings | None, AchievedGoals | None, Maker]:
    """(settings of the goals, what measures them, a maker of environments without dictionaries), from an `environment` that `make` made."""
    goals, box, rule = settings.goals, None, ""
    if has_goals(environment):
        inner, make = make, lambda: GoalDictionaries(inner())
        goals = goals or GoalSettings(chosen_by="environment", ends=False)
        if goals.of is None:
            box = GoalDictionaries(environment).goal_space(environment.possible_agents[0])
            if settings.id.startswith(GYMNASIUM) and hasattr(environment.unwrapped, "compute_reward"):
                rule = settings.id
    if goals is None:
        return None, None, make
    if isinstance(environment, TurnBasedParallel):
        text = f"the agents of {settings.id} act in turns, and goals are for agents that act simultaneously"
        raise problem(f"{text}; write goals: null", "environment", "goals")
    space = goal_space_of(goals, members, box, rule, json.dumps(settings.options) if rule else "{}")
    return goals, measured(space, goals), make
