"""What a configuration check asks of the environments: do these settings make one, and has it goals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from env_server.settings import EnvironmentSettings
from protocols.settings import Settings

from .locations import Path

Edges = Sequence[tuple[str, str]]


class CheckEnvironment(Protocol):
    """The questions; `installed_environments` answers them, tests may give other answers."""

    def options(self, settings: EnvironmentSettings) -> type[Settings] | None:
        """The settings class of `environment.options`, for environments that have one."""
        ...

    def problems(self, settings: EnvironmentSettings, agents: Sequence[str], edges: Edges) -> Sequence[tuple[Path, str]]:
        """(path, message) of everything that keeps these agents from playing it; asked when the options fit their class."""
        ...

    def goals(self, settings: EnvironmentSettings, agents: Sequence[str], edges: Edges) -> int:
        """Number of goals, 0 for an environment without; asked when there are no problems."""
        ...


class _Installed:
    """Answers by making one copy, as the environment server will make many."""

    def options(self, settings: EnvironmentSettings) -> type[Settings] | None:
        from env_server.registry import OWN

        return OWN.get(settings.id)

    def problems(self, settings: EnvironmentSettings, agents: Sequence[str], edges: Edges) -> Sequence[tuple[Path, str]]:
        from env_server import registry

        try:
            return [(tuple(problem.path), problem.message) for problem in registry.problems(settings, agents, edges)]
        except Exception as error:  # code of third parties: whatever it raises, this environment cannot be played
            return [(("environment", "id"), f"{settings.id} cannot be made: {type(error).__name__}: {error}")]

    def goals(self, settings: EnvironmentSettings, agents: Sequence[str], edges: Edges) -> int:
        from env_server import registry

        space = registry.describe(settings, agents, edges).goal_space
        return space.count if space is not None else 0


def installed_environments() -> CheckEnvironment:
    """The environments of this installation; imported only when asked."""
    return _Installed()
