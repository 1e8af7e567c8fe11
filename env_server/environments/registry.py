"""Environments by the id of the configuration: `landmarks`, `reward_collection`, `package:module` of PettingZoo's kind, `gymnasium:ID`,
`minigrid:ID`."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from inspect import Parameter, signature
from pkgutil import iter_modules
from typing import Any, TypeVar

from pydantic import ValidationError

from env_server.environments.environment_contracts import VectorEnvironment
from env_server.environments.landmarks.settings import LandmarksOptions
from env_server.environments.minigrid.settings import MiniGridOptions
from env_server.environments.reward_collection.settings import RewardCollectionOptions
from env_server.goals.goal_supervisor import GoalSupervisor
from env_server.settings import EnvironmentSettings
from protocols.runtime.errors import ConfigurationError
from protocols.runtime.settings_types import Settings
from protocols.runtime.suggestions import hint
from protocols.spaces.goal_space import GoalSpace
from protocols.spaces.layout import Layout

Options = TypeVar("Options", bound=Settings)
Edges = Iterable[tuple[str, str]] | None
LANDMARKS, REWARD_COLLECTION = "landmarks", "reward_collection"
OWN: dict[str, type[Settings]] = {LANDMARKS: LandmarksOptions, REWARD_COLLECTION: RewardCollectionOptions}
"""our environments, with the classes of their `environment.options`"""
MINIGRID = "minigrid:"
"""what ids of MiniGrid's environments begin with"""
_PLACE = ("environment", "options")
_COUNT_OPTIONS = ("N", "n_agents", "num_agents", "n_players", "num_players")
_MODULE = re.compile(r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$")
_PIP = {
    "mpe2": "pip install mpe2",
    "pettingzoo.butterfly": "pip install 'pettingzoo[butterfly]'",
    "pettingzoo.sisl": "pip install 'pettingzoo[sisl]'",
    "pettingzoo.classic": "pip install 'pettingzoo[classic]'",
    "pettingzoo.atari": "pip install 'pettingzoo[atari]'",
    "gymnasium": "pip install gymnasium",
    "minigrid": "pip install minigrid",
}


@dataclass(frozen=True)
class OptionProblem:
    """Something to change: the path of the key in the configuration, and the rule broken with its cure."""

    path: tuple[str, ...]
    message: str


@dataclass(frozen=True)
class EnvironmentDescription:
    """What each agent will see and do, and the goals there are, if any."""

    layouts: dict[str, Layout]
    goal_space: GoalSpace | None = None


class EnvironmentProblem(ConfigurationError):
    """The environment cannot be made as the configuration says; `problems` holds the places."""

    def __init__(self, *problems: OptionProblem) -> None:
        super().__init__("; ".join(f"{'.'.join(problem.path)}: {problem.message}" for problem in problems))
        self.problems = list(problems)


def options_class(identifier: str) -> type[Settings] | None:
    """The class of `environment.options`, for environments that have one."""
    return MiniGridOptions if identifier.startswith(MINIGRID) else OWN.get(identifier)


def is_single_player(settings: EnvironmentSettings) -> bool:
    """Whether every copy is played by one agent, whoever else takes part in the run."""
    if settings.id.startswith(MINIGRID):
        return _options(settings, MiniGridOptions).players == "one"
    return settings.id.startswith("gymnasium:")


def agent_count_option(settings: EnvironmentSettings) -> str | None:
    """The keyword argument that sets the number of agents of a PettingZoo environment, where it has one of the usual names."""
    package, _, name = settings.id.partition(":")
    if not name or settings.id.startswith((MINIGRID, "gymnasium:")):
        return None
    try:
        module = import_module(f"{package}.{name}")
    except ImportError:
        return None
    factory = getattr(module, "raw_env", None) or getattr(module, "parallel_env", None) or getattr(module, "env", None)
    return next((key for key in _COUNT_OPTIONS if factory is not None and key in _accepted(factory)), None)


def drawn(settings: EnvironmentSettings) -> EnvironmentSettings:
    """The same with pictures: those of third parties must be made for them, ours always draw."""
    if settings.id in OWN or settings.id.startswith(MINIGRID):
        return settings
    return settings.model_copy(update={"options": {**settings.options, "render_mode": "rgb_array"}})


def create(settings: EnvironmentSettings, agents: Sequence[str], edges: Edges = None, seed: int = 0) -> VectorEnvironment:
    """The environment with all its copies, before its first reset. `edges` are those of the communication graph (None: all pairs);
    `seed` is what `reset()` without a seed uses. `EnvironmentProblem` says what does not fit."""
    if settings.id == LANDMARKS:
        from env_server.environments.landmarks.landmarks_environment import VectorLandmarks

        options = _landmarks(settings, agents)
        return VectorLandmarks(options, agents, settings.copies, edges, seed, _supervisor(settings, options))
    if settings.id == REWARD_COLLECTION:
        from env_server.environments.reward_collection.collection_environment import VectorRewardCollection

        return VectorRewardCollection(_options(settings, RewardCollectionOptions), agents, settings.copies, seed)
    if settings.id.startswith(MINIGRID):
        _check_minigrid(settings)
        from env_server.environments.minigrid.multiplayer_grid import SharedMiniGrid
        from env_server.environments.minigrid.single_player_grid import VectorMiniGrid

        grid = _options(settings, MiniGridOptions)
        kind = SharedMiniGrid if grid.players == "all" else VectorMiniGrid
        with _minigrid_problems(settings):
            return kind(_minigrid_name(settings), grid, agents, settings.copies, seed)
    from env_server.adapters.parallel_adapter import ParallelCopies

    make = _maker(settings)
    try:
        return ParallelCopies(make, agents, settings.copies, seed)
    except EnvironmentProblem:
        raise
    except ConfigurationError as error:
        raise _unfit(error) from error


def describe(settings: EnvironmentSettings, agents: Sequence[str], edges: Edges = None) -> EnvironmentDescription:
    """Layouts and goals as `create` would have them, from one short-lived environment."""
    if settings.id == LANDMARKS:
        from env_server.environments.landmarks.body_physics import observation_layout

        options = _landmarks(settings, agents)
        _supervisor(settings, options)
        return EnvironmentDescription({agent: observation_layout(options) for agent in agents}, options.goal_space)
    if settings.id == REWARD_COLLECTION:
        from env_server.environments.reward_collection import reward_sites as sites

        layout = sites.observation_layout(_options(settings, RewardCollectionOptions))
        return EnvironmentDescription(dict.fromkeys(agents, layout))
    if settings.id.startswith(MINIGRID):
        _check_minigrid(settings)
        from env_server.environments.minigrid import grid_copies as copies
        from env_server.environments.minigrid import multiplayer_grid as shared
        from env_server.environments.minigrid.single_player_grid import require_enough_copies

        name, grid = _minigrid_name(settings), _options(settings, MiniGridOptions)
        with _minigrid_problems(settings):
            if grid.players == "one":
                require_enough_copies(agents, settings.copies)
            else:
                shared.room(name, grid, len(agents))
            return EnvironmentDescription(dict.fromkeys(agents, copies.describe(name, grid)))
    from env_server.adapters.parallel_adapter import translations

    environment = _maker(settings)()
    try:
        return EnvironmentDescription({agent: translation.layout for agent, translation in translations(environment, agents).items()})
    except ConfigurationError as error:
        raise _unfit(error) from error
    finally:
        environment.close()


def _unfit(error: ConfigurationError) -> EnvironmentProblem:
    """Agents and environment do not go together: in number, or by their spaces."""
    from env_server.adapters.parallel_adapter import AgentCountError

    return EnvironmentProblem(
        OptionProblem(("agents", "count") if isinstance(error, AgentCountError) else ("environment", "id"), str(error))
    )


def problems(settings: EnvironmentSettings, agents: Sequence[str], edges: Edges = None) -> list[OptionProblem]:
    """All that keeps this environment from being played by these agents; empty when there is nothing."""
    try:
        describe(settings, agents, edges)
    except EnvironmentProblem as error:
        return error.problems
    if settings.id == LANDMARKS and edges is not None:
        from env_server.environments.episode_schedule import Pairing

        members = LandmarksOptions(**settings.options).members
        idle = Pairing(agents, edges, members).never_drawn()
        if idle:
            text = (
                f"{', '.join(idle[:8])} would never play: episodes need {members} agents connected by edges; connect them or lower members"
            )
            return [OptionProblem(("network", "topology"), text)]
    return []


def _options(settings: EnvironmentSettings, kind: type[Options]) -> Options:
    """The options of one of our environments; `EnvironmentProblem` names all that are wrong."""
    try:
        return kind(**settings.options)
    except ValidationError as error:
        found = []
        for one in error.errors():
            message = one["msg"].removeprefix("Value error, ")
            if one["type"] == "extra_forbidden":
                message = f"unknown option{_nearest(str(one['loc'][0]), kind.model_fields)}"
            found.append(OptionProblem((*_PLACE, *map(str, one["loc"])), message))
        raise EnvironmentProblem(*found) from error


def _landmarks(settings: EnvironmentSettings, agents: Sequence[str]) -> LandmarksOptions:
    options = _options(settings, LandmarksOptions)
    if len(agents) < options.members:
        message = f"{options.members} agents are in one episode, but agents.count is {len(agents)}: raise it or lower members"
        raise EnvironmentProblem(OptionProblem((*_PLACE, "members"), message))
    return options


def _supervisor(settings: EnvironmentSettings, options: LandmarksOptions) -> GoalSupervisor | None:
    if settings.supervisor is None:
        return None
    try:
        return GoalSupervisor(options.goal_space, options.members, settings.supervisor.alignment)
    except ConfigurationError as error:
        raise EnvironmentProblem(OptionProblem(("environment", "supervisor", "alignment"), str(error))) from error


def _nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean ...?` with the nearest known names, or nothing."""
    found = hint(name, sorted(known), count=3)
    return f"; {found}" if found else ""


def _unknown(identifier: str, detail: str) -> EnvironmentProblem:
    return EnvironmentProblem(OptionProblem(("environment", "id"), f"{identifier!r}: {detail}"))


def _quiet_pygame() -> None:
    """Pictures are made in memory, never in a window, and pygame must not greet on standard output."""
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    os.environ.setdefault("SDL_AUDIODRIVER", "dummy")
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")


def _minigrid_name(settings: EnvironmentSettings) -> str:
    return settings.id.removeprefix(MINIGRID)


def _check_minigrid(settings: EnvironmentSettings) -> None:
    """Before anything is imported: the options, and whether the package is there."""
    _options(settings, MiniGridOptions)
    if find_spec("minigrid") is None:
        raise _unknown(settings.id, f"it needs the package minigrid, which is missing: {_PIP['minigrid']}")
    _quiet_pygame()


@contextmanager
def _minigrid_problems(settings: EnvironmentSettings) -> Iterator[None]:
    """What MiniGrid refuses, with its place in the configuration."""
    from env_server.environments.minigrid.grid_construction import ArgumentsRefused, NoSuchEnvironment
    from env_server.environments.minigrid.grid_placement import NoRoom
    from env_server.environments.minigrid.single_player_grid import TooFewCopies

    try:
        yield
    except NoSuchEnvironment as error:
        raise _unknown(settings.id, str(error)) from error
    except ArgumentsRefused as error:
        raise EnvironmentProblem(OptionProblem((*_PLACE, "arguments"), str(error))) from error
    except TooFewCopies as error:
        raise EnvironmentProblem(OptionProblem(("environment", "copies"), str(error))) from error
    except NoRoom as error:
        raise EnvironmentProblem(OptionProblem(("agents", "count"), str(error))) from error


def _maker(settings: EnvironmentSettings) -> Callable[[], Any]:
    """A function that makes one environment with the Parallel API."""
    _quiet_pygame()
    package, colon, name = settings.id.partition(":")
    if not colon:
        hint = _nearest(settings.id, [*OWN, *_PIP]) or f"; ids are {', '.join(OWN)}, package:module, gymnasium:ID or minigrid:ID"
        raise _unknown(settings.id, f"unknown environment{hint}")
    return _gymnasium(settings, name) if package == "gymnasium" else _pettingzoo(settings, package, name)


def _gymnasium(settings: EnvironmentSettings, name: str) -> Callable[[], Any]:
    import gymnasium

    from env_server.adapters.gymnasium_adapter import SingleAgentParallel

    if name not in gymnasium.registry and ":" not in name:
        raise _unknown(settings.id, f"Gymnasium has no environment {name}{_nearest(name, gymnasium.registry)}")

    def make() -> Any:
        try:
            return SingleAgentParallel(gymnasium.make(name, disable_env_checker=True, **settings.options))
        except TypeError as error:
            raise _wrong_options(settings, error, []) from error
        except (gymnasium.error.Error, ImportError) as error:
            raise _unknown(settings.id, str(error)) from error

    return make


def _pettingzoo(settings: EnvironmentSettings, package: str, name: str) -> Callable[[], Any]:
    if not _MODULE.match(package) or not _MODULE.match(name):
        raise _unknown(settings.id, "write package:module, for example mpe2:simple_spread_v3")
    cure = _PIP.get(package, "install the package that provides it")
    try:
        found = find_spec(package)
    except ModuleNotFoundError:
        found = None
    if found is None:
        raise _unknown(settings.id, f"there is no package {package} here: {cure}{'' if package in _PIP else _nearest(package, _PIP)}")
    try:
        module = import_module(f"{package}.{name}")
    except ModuleNotFoundError as error:
        if error.name == f"{package}.{name}":
            known = [entry.name for entry in iter_modules(found.submodule_search_locations) if "_v" in entry.name]
            raise _unknown(settings.id, f"{package} has no environment {name}{_nearest(name, known)}") from error
        raise _unknown(settings.id, f"it needs the package {error.name}, which is missing: {cure}") from error
    except (ImportError, AttributeError) as error:
        # Deprecated versions announce their successor by an error of their own.
        known = [entry.name for entry in iter_modules(found.submodule_search_locations or []) if "_v" in entry.name]
        raise _unknown(settings.id, f"{error}{_nearest(name, known)}") from error
    factory: Callable[..., Any] | None = getattr(module, "parallel_env", None)
    turns: Callable[..., Any] | None = getattr(module, "env", None)
    if factory is None and turns is None:
        raise _unknown(settings.id, f"{package}.{name} has neither parallel_env nor env: it is no PettingZoo environment")

    def make() -> Any:
        from env_server.adapters.aec_adapter import parallel_from_aec

        try:
            if factory is not None:
                return factory(**settings.options)
            return parallel_from_aec(turns(**settings.options)) if turns is not None else None
        except TypeError as error:
            accepted = _accepted(getattr(module, "raw_env", None) or factory or turns)
            raise _wrong_options(settings, error, accepted) from error
        except ConfigurationError as error:
            raise _unknown(settings.id, str(error)) from error
        except (ValueError, AssertionError) as error:
            raise EnvironmentProblem(OptionProblem(("environment", "options"), f"{settings.id} refuses its options: {error}")) from error

    return make


def _accepted(factory: Any) -> list[str]:
    """Names of a factory's keyword arguments."""
    kinds = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
    return [parameter.name for parameter in signature(factory).parameters.values() if parameter.kind in kinds]


def _wrong_options(settings: EnvironmentSettings, error: TypeError, accepted: list[str]) -> EnvironmentProblem:
    strange = [name for name in settings.options if accepted and name not in accepted]
    if strange:
        return EnvironmentProblem(
            *(
                OptionProblem(
                    ("environment", "options", name),
                    f"{settings.id} has no such option{_nearest(name, accepted)}; it has {', '.join(accepted)}",
                )
                for name in strange
            )
        )
    return EnvironmentProblem(OptionProblem(("environment", "options"), f"{settings.id} refuses its options: {error}"))
