"""What a configuration check asks of the environments: do these settings make one, has it goals, and what is there to see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Protocol

from env_server.settings import EnvironmentSettings
from orchestrator.config.parsing.yaml_tree import Path
from protocols.runtime.settings_types import Settings

if TYPE_CHECKING:
    from protocols.spaces.layout import Layout

Edges = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class ObservationFacts:
    """What an agent sees: a picture, or so many numbers whose least and largest values are known, and others (angles count as neither)."""

    picture: bool
    bounded: int
    unbounded: int
    cells: bool = False
    """whether it sees a grid of cells"""
    whole: bool = False
    """whether it sees the whole grid"""


@dataclass(frozen=True)
class EnvironmentFacts:
    """Number of goals, 0 for an environment without, and what each agent sees."""

    goals: int
    sights: Mapping[str, ObservationFacts]
    vector_goals: bool = False
    """whether goals are vectors, which have no number"""

    @property
    def has_goals(self) -> bool:
        """Whether there are goals of either kind."""
        return self.goals > 0 or self.vector_goals


class CheckEnvironment(Protocol):
    """The questions; `installed_environments` answers them, tests may give other answers."""

    def options(self, settings: EnvironmentSettings) -> type[Settings] | None:
        """The settings class of `environment.options`, for environments that have one."""
        ...

    def problems(self, settings: EnvironmentSettings, agents: Sequence[str], edges: Edges) -> Sequence[tuple[Path, str]]:
        """(path, message) of everything that keeps these agents from playing it; asked when the options fit their class."""
        ...

    def facts(self, settings: EnvironmentSettings, agents: Sequence[str], edges: Edges) -> EnvironmentFacts:
        """What agents will meet; asked when there are no problems."""
        ...


class _Installed:
    """Answers by making one copy, as the environment server will make many."""

    def options(self, settings: EnvironmentSettings) -> type[Settings] | None:
        from env_server.environments.registry import options_class

        return options_class(settings.id)

    def problems(self, settings: EnvironmentSettings, agents: Sequence[str], edges: Edges) -> Sequence[tuple[Path, str]]:
        import env_server.environments.registry as registry

        try:
            return [(tuple(problem.path), problem.message) for problem in registry.problems(settings, agents, edges)]
        except Exception as error:  # code of third parties: whatever it raises, this environment cannot be played
            return [(("environment", "id"), f"{settings.id} cannot be made: {type(error).__name__}: {error}")]

    def facts(self, settings: EnvironmentSettings, agents: Sequence[str], edges: Edges) -> EnvironmentFacts:
        import env_server.environments.registry as registry

        described = registry.describe(settings, agents, edges)
        sights = {agent: _sight(layout) for agent, layout in described.layouts.items()}
        space = described.goal_space
        return EnvironmentFacts(0 if space is None else space.count, sights, space is not None and bool(space.goal_shape))


def _sight(layout: Layout) -> ObservationFacts:
    angles = sum(field.size for field in layout.fields if field.unit == "radian")
    bounded = sum(field.size for field in layout.fields if field.unit != "radian" and field.low < field.high)
    unbounded = prod(layout.shape) - bounded - angles
    grid = layout.grid
    return ObservationFacts(layout.dtype == "u1", bounded, unbounded, grid is not None, grid is not None and grid.width > 0)


def installed_environments() -> CheckEnvironment:
    """The environments of this installation; imported only when asked."""
    return _Installed()
