"""Facts about an environment that configuration rules need: whether it can be made, its goals, and what is observed."""

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
    """What an agent observes: an image, or so many numbers with known bounds, and so many without (angles count as neither)."""

    picture: bool
    bounded: int
    unbounded: int
    cells: bool = False
    """whether a grid of cells is observed"""
    whole: bool = False
    """whether the whole grid is observed"""
    discrete_actions: bool = True


@dataclass(frozen=True)
class EnvironmentFacts:
    """Number of goals, 0 for an environment without discrete ones, and what each agent observes."""

    goals: int
    sights: Mapping[str, ObservationFacts]
    single_player: bool = False
    """whether every copy is played by one agent, alone"""
    vector_goals: bool = False
    """whether goals are vectors"""

    @property
    def has_goals(self) -> bool:
        """Whether there are goals of either kind."""
        return self.goals > 0 or self.vector_goals


class CheckEnvironment(Protocol):
    """Source of these facts: `installed_environments`, or a fixed answer in tests."""

    def options(self, settings: EnvironmentSettings) -> type[Settings] | None:
        """The settings class of `environment.options`, for environments that have one."""
        ...

    def problems(self, settings: EnvironmentSettings, agents: Sequence[str], edges: Edges) -> Sequence[tuple[Path, str]]:
        """(path, message) of everything that keeps these agents from playing it; called when the options fit their class."""
        ...

    def agent_count_option(self, settings: EnvironmentSettings) -> str | None:
        """The key of `environment.options` that sets the environment's number of agents, for environments that have one."""
        ...

    def facts(self, settings: EnvironmentSettings, agents: Sequence[str], edges: Edges) -> EnvironmentFacts:
        """Goals and observations; called when there are no problems."""
        ...


class _Installed:
    """Facts from one copy, made as the environment server makes them."""

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
        goals, vectors = (0, False) if space is None else (space.count, bool(space.goal_shape))
        return EnvironmentFacts(goals, sights, registry.is_single_player(settings), vectors)

    def agent_count_option(self, settings: EnvironmentSettings) -> str | None:
        from env_server.environments.registry import agent_count_option

        return agent_count_option(settings)


def _sight(layout: Layout) -> ObservationFacts:
    angles = sum(field.size for field in layout.fields if field.unit == "radian")
    bounded = sum(field.size for field in layout.fields if field.unit != "radian" and field.low < field.high)
    unbounded = prod(layout.shape) - bounded - angles
    grid = layout.grid
    whole = grid is not None and grid.width > 0
    return ObservationFacts(layout.dtype == "u1", bounded, unbounded, grid is not None, whole, bool(layout.actions))


def installed_environments() -> CheckEnvironment:
    """The environments of this installation, imported at first use."""
    return _Installed()
