"""Environments by the id of the configuration.

`kind` or `kind:NAME` is a vectorised environment of the room "environment" (`environment_factory`): `landmarks`, `reward_collection`,
`minigrid:ID`, `particles:WORLD`, `prison`, and those that third parties register. Everything else is imported
(`env_server.adapters.imported_environments`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any

from pydantic import ValidationError

from env_server.environments.environment_contracts import (
    CancellableEvaluation,
    FlattenedObservations,
    GoalEnvironment,
    HeldEnvironment,
    LimitedEpisodes,
    OrderedTurns,
    ReducedImages,
    VectorEnvironment,
)
from env_server.environments.environment_factory import (
    EnvironmentContext,
    EnvironmentDescription,
    EnvironmentFactory,
    EnvironmentProblem,
    NamedOptions,
    ScriptedPolicy,
    factory_of,
    problem,
)
from env_server.environments.environment_factory import (
    OptionProblem as OptionProblem,
)
from env_server.settings import EnvironmentSettings, ImageSettings
from protocols.runtime.component_registry import component, kinds
from protocols.runtime.settings_types import Settings

Edges = Iterable[tuple[str, str]] | None
ROOM = "environment"
_PLACE = ("environment", "options")

for _name in ("landmarks", "minigrid", "particles", "prison", "reward_collection"):
    import_module(f"env_server.environments.{_name}.settings")  # registers it


def options_class(identifier: str) -> type[Settings] | None:
    """The class of `environment.options`, for environments that have one."""
    kind, _, name = identifier.partition(":")
    if kind not in kinds(ROOM):
        return None
    settings = component(ROOM, kind).settings
    return settings.named(name) if issubclass(settings, NamedOptions) else settings


def is_single_player(settings: EnvironmentSettings) -> bool:
    """Whether every copy is played by one agent, whichever others take part in the run."""
    return _factory(settings).is_single_player(_context(settings, (), None, 0))


def has_partial_teams(settings: EnvironmentSettings) -> bool:
    """Whether only some of the agents take part in an episode."""
    return _factory(settings).has_partial_teams(_context(settings, (), None, 0))


def agent_count_option(settings: EnvironmentSettings) -> str | None:
    """The option that sets the environment's number of agents; None where it has none."""
    return _factory(settings).agent_count_option(_context(settings, (), None, 0))


def complete_options(settings: EnvironmentSettings) -> dict[str, Any]:
    """`environment.options` with the defaults of those that are not given, where the environment declares its options; else as given."""
    options = _options(settings)
    return dict(options.model_dump(mode="json", exclude={"kind"})) if isinstance(options, Settings) else dict(settings.options)


def scripted_policies(settings: EnvironmentSettings, agents: Sequence[str]) -> Mapping[str, ScriptedPolicy]:
    """Fixed policies of the environment by name; empty where it has none."""
    return _factory(settings).scripted_policies(_context(settings, agents, None, 0))


def drawn(settings: EnvironmentSettings) -> EnvironmentSettings:
    """The same settings with the options that `render` needs."""
    return _factory(settings).drawn(settings)


def create(settings: EnvironmentSettings, agents: Sequence[str], edges: Edges = None, seed: int = 0) -> VectorEnvironment:
    """The environment with all its copies, before its first reset. `edges` are those of the communication graph (None: all pairs);
    `seed` is what `reset()` without a seed uses. `EnvironmentProblem` names what does not fit."""
    return _made(_factory(settings), _context(settings, agents, edges, seed))


def describe(settings: EnvironmentSettings, agents: Sequence[str], edges: Edges = None) -> EnvironmentDescription:
    """Layouts and goals as `create` would have them, from one short-lived environment."""
    from env_server.goals.goal_construction import check_goals
    from env_server.goals.goal_copies import GoalCopies

    factory, context = _factory(settings), _context(settings, agents, edges, 0)
    factory.check(context)
    environment = _made(factory, replace(context, copies=factory.least_copies(context)))
    try:
        if isinstance(environment, GoalCopies):
            check_goals(environment)
        space = environment.goal_space if isinstance(environment, GoalEnvironment) else None
        base = environment.base if isinstance(environment, GoalCopies) else environment
        flattened = base.flattened if isinstance(base, FlattenedObservations) else {}
        reduced = base.reduced_images if isinstance(base, ReducedImages) else {}
        layouts = {agent: environment.layout(agent) for agent in agents}
        limit = base.episode_limit if isinstance(base, LimitedEpisodes) else None
        holdable = isinstance(environment, HeldEnvironment) and isinstance(environment, CancellableEvaluation)
        turns = isinstance(base, OrderedTurns) and base.turn_based
        return EnvironmentDescription(layouts, space, flattened, reduced, limit, holdable, turns)
    finally:
        environment.close()


def problems(settings: EnvironmentSettings, agents: Sequence[str], edges: Edges = None) -> list[OptionProblem]:
    """All that keeps this environment from being played by these agents; empty when there is nothing."""
    try:
        describe(settings, agents, edges)
        return list(_factory(settings).problems(_context(settings, agents, edges, 0)))
    except EnvironmentProblem as error:
        return error.problems


def _factory(settings: EnvironmentSettings) -> EnvironmentFactory:
    kind = settings.id.partition(":")[0]
    if kind in kinds(ROOM):
        return factory_of(component(ROOM, kind).load())
    from env_server.adapters.imported_factory import ImportedFactory

    return ImportedFactory(kinds(ROOM))


def _context(settings: EnvironmentSettings, agents: Sequence[str], edges: Edges, seed: int) -> EnvironmentContext:
    name = settings.id.partition(":")[2]
    pairs = None if edges is None else tuple(edges)
    return EnvironmentContext(settings, name, _options(settings), tuple(agents), settings.copies, pairs, seed)


def _made(factory: EnvironmentFactory, context: EnvironmentContext) -> VectorEnvironment:
    """The environment, with the goals of the configuration if it has none itself."""
    if context.settings.wrappers and not factory.takes_wrappers:
        text = f"{context.settings.id} steps all copies together, and wrappers wrap a single Gymnasium or PettingZoo environment"
        raise problem(f"{text}; leave wrappers out, or change environment.id", "environment", "wrappers")
    if context.settings.images != ImageSettings() and not factory.takes_wrappers:
        text = f"{context.settings.id} steps all copies together, and prepares its images itself, if it has any; leave images out"
        raise problem(text, "environment", "images")
    if context.settings.info_metrics and not factory.takes_wrappers:
        text = f"{context.settings.id} steps all copies together and has no infos, from which these metrics would be read"
        raise problem(f"{text}; leave info_metrics out, or change environment.id", "environment", "info_metrics")
    environment, goals = factory.create(context), context.settings.goals
    if goals is None:
        return environment
    from env_server.goals.goal_construction import with_goals
    from env_server.goals.goal_copies import GoalCopies

    if isinstance(environment, GoalCopies):
        return environment
    try:
        if isinstance(environment, GoalEnvironment):
            raise problem(f"{context.settings.id} has goals of its own; write goals: null", "environment", "goals")
        return with_goals(environment, context.settings, goals, None, context.seed)
    except BaseException:
        environment.close()
        raise


def _options(settings: EnvironmentSettings) -> Any:
    """The validated options; `EnvironmentProblem` names all that are wrong."""
    kind = options_class(settings.id)
    if kind is None:
        return settings.options
    from env_server.adapters.imported_environments import nearest

    try:
        return kind(**settings.options)
    except ValidationError as error:
        found = []
        for one in error.errors():
            message = one["msg"].removeprefix("Value error, ")
            if one["type"] == "extra_forbidden":
                known = sorted(kind.model_fields.keys() - {"kind"})
                message = f"unknown option{nearest(str(one['loc'][0]), known)}; {settings.id} has {', '.join(known) or 'no options'}"
            found.append(OptionProblem((*_PLACE, *map(str, one["loc"])), message))
        raise EnvironmentProblem(*found) from error
