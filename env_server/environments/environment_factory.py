"""What makes a vectorised environment, and what is wrong with its settings: the contract of the components of the room "environment".

A third party registers `register("environment", "my_room", MyOptions, "my_package.my_room:create")`; `environment.id: my_room` then calls
`create(context)`. The options class validates `environment.options` and has a field `kind: Literal["my_room"]`. Instead of a function, the
implementation may be an `EnvironmentFactory`, which can also check settings before any process starts.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from numpy.typing import NDArray

from env_server.environments.environment_contracts import VectorEnvironment
from env_server.settings import EnvironmentSettings
from protocols.runtime.errors import ConfigurationError, ExitCode
from protocols.runtime.settings_types import Settings
from protocols.spaces.goal_space import GoalSpace
from protocols.spaces.layout import Layout


class NamedOptions(Settings):
    """Options that depend on the name in `environment.id: kind:NAME`."""

    @classmethod
    def named(cls, name: str) -> type[Settings]:
        """The class that validates the options of `kind:name`."""
        return cls


@dataclass(frozen=True)
class OptionProblem:
    """Something to change: the path of the key in the configuration, and the rule broken with its cure."""

    path: tuple[str | int, ...]
    message: str
    missing: bool = False
    """whether a package is missing"""


class EnvironmentProblem(ConfigurationError):
    """The environment cannot be made from this configuration; `problems` holds the places."""

    def __init__(self, *problems: OptionProblem) -> None:
        super().__init__("; ".join(f"{'.'.join(map(str, problem.path))}: {problem.message}" for problem in problems))
        self.problems = list(problems)
        if problems and all(problem.missing for problem in problems):
            self.exit_code = ExitCode.RESOURCES


def problem(message: str, *path: str | int) -> EnvironmentProblem:
    """A problem with one key, `path`."""
    return EnvironmentProblem(OptionProblem(path, message))


@contextmanager
def problems_at(*path: str | int) -> Iterator[None]:
    """A `ConfigurationError` raised inside becomes a problem with the key `path`; a problem that names its key remains."""
    try:
        yield
    except EnvironmentProblem:
        raise
    except ConfigurationError as error:
        raise EnvironmentProblem(OptionProblem(path, str(error), error.exit_code == ExitCode.RESOURCES)) from error


@dataclass(frozen=True)
class EnvironmentContext:
    """Everything that a factory needs to create an environment."""

    settings: EnvironmentSettings
    """the key `environment` of the configuration"""
    name: str
    """what follows `kind:` in `environment.id`, or nothing"""
    options: Any
    """`environment.options`, validated by the registered class"""
    agents: tuple[str, ...]
    copies: int
    edges: tuple[tuple[str, str], ...] | None
    """of the communication graph; None: all pairs"""
    seed: int
    """what `reset()` without a seed uses"""


@dataclass(frozen=True)
class EnvironmentDescription:
    """What each agent observes and does, and the goal space, if there is one."""

    layouts: dict[str, Layout]
    goal_space: GoalSpace | None = None
    flattened: Mapping[str, str] = field(default_factory=dict)
    """observation spaces, as text, by the agents whose observations are flattened"""
    reduced_images: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """`(height, width, channels)` before, by the agents whose images are reduced in size"""
    episode_limit: int | None = None
    """steps after which an episode is cut off; None: no limit, or an unknown one"""
    holdable: bool = False
    """whether copies can wait for their next episode, and evaluations be cut short (`EvaluationOnly`)"""
    turn_based: bool = False
    """whether one agent acts at each step, and the others wait"""


class ScriptedPolicy(Protocol):
    """A fixed rule that acts without learning, to record data with."""

    def __call__(self, agent: str, layout: Layout, observation: NDArray[Any]) -> NDArray[Any]:
        """Actions `[K, A]` of `agent` for `observation[K, *layout.shape]`."""
        ...


class EnvironmentFactory:
    """Makes one kind of environment. `create` is required, the others have defaults."""

    takes_wrappers: ClassVar[bool] = False
    """whether `environment.wrappers` and `environment.images` can be applied: copies are single environments"""

    def create(self, context: EnvironmentContext) -> VectorEnvironment:
        """The environment with all its copies, before its first reset. `EnvironmentProblem` for what does not fit."""
        raise NotImplementedError

    def least_copies(self, context: EnvironmentContext) -> int:
        """Copies that a short-lived environment needs."""
        return 1

    def check(self, context: EnvironmentContext) -> None:
        """Before the short-lived environment that is described is made; `EnvironmentProblem` for what does not fit."""

    def problems(self, context: EnvironmentContext) -> Iterable[OptionProblem]:
        """What else keeps these agents from playing."""
        return ()

    def is_single_player(self, context: EnvironmentContext) -> bool:
        """Whether every copy is played by one agent, whichever others take part in the run."""
        return False

    def has_partial_teams(self, context: EnvironmentContext) -> bool:
        """Whether only some of the agents take part in an episode."""
        return False

    def agent_count_option(self, context: EnvironmentContext) -> str | None:
        """The option that sets the environment's number of agents, if there is one."""
        return None

    def scripted_policies(self, context: EnvironmentContext) -> Mapping[str, ScriptedPolicy]:
        """Fixed policies of this environment by name, which `orchestrate dataset make` can record."""
        return {}

    def drawn(self, settings: EnvironmentSettings) -> EnvironmentSettings:
        """The same settings, such that `render` works."""
        return settings


class FunctionFactory(EnvironmentFactory):
    """A plain function `create(context)`."""

    def __init__(self, create: Callable[[EnvironmentContext], VectorEnvironment]) -> None:
        self._create = create

    def create(self, context: EnvironmentContext) -> VectorEnvironment:
        """Call the function with the context."""
        return self._create(context)


def factory_of(implementation: Any) -> EnvironmentFactory:
    """The factory of a registered implementation: a factory, its class, or a function."""
    if isinstance(implementation, EnvironmentFactory):
        return implementation
    if isinstance(implementation, type) and issubclass(implementation, EnvironmentFactory):
        return implementation()
    return FunctionFactory(implementation)


def draw_in_memory() -> None:
    """Before pygame is imported: pictures are made in memory, without a window, sound, or greeting on standard output."""
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    os.environ.setdefault("SDL_AUDIODRIVER", "dummy")
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
