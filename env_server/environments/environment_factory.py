"""What makes a vectorised environment: the contract of the components of the room "environment".

A third party registers `register("environment", "my_room", MyOptions, "my_package.my_room:create")`; `environment.id: my_room` then calls
`create(context)`. The options class validates `environment.options` and has a field `kind: Literal["my_room"]`. Instead of a function, the
implementation may be an `EnvironmentFactory`, which can also check settings before any process starts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from env_server.environments.environment_contracts import GoalEnvironment, VectorEnvironment
from env_server.environments.environment_problems import OptionProblem
from env_server.settings import EnvironmentSettings
from protocols.spaces.goal_space import GoalSpace
from protocols.spaces.layout import Layout


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


def described(environment: VectorEnvironment, agents: Sequence[str]) -> EnvironmentDescription:
    """The description of an environment."""
    space = environment.goal_space if isinstance(environment, GoalEnvironment) else None
    return EnvironmentDescription({agent: environment.layout(agent) for agent in agents}, space)


class EnvironmentFactory:
    """Makes one kind of environment. `create` is required, the others have defaults."""

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

    def agent_count_option(self, context: EnvironmentContext) -> str | None:
        """The option that sets the environment's number of agents, if there is one."""
        return None

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


def small(factory: EnvironmentFactory, context: EnvironmentContext) -> EnvironmentContext:
    """The same context with as few copies as the factory supports, for an environment that is only inspected."""
    return replace(context, copies=factory.least_copies(context))
