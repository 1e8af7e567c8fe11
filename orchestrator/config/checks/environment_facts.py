"""Facts about an environment that configuration rules need: whether it can be made, its goals, and what is observed."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING

from env_server.settings import EnvironmentSettings

if TYPE_CHECKING:
    from env_server.environments.registry import OptionProblem
    from protocols.spaces.layout import Layout

Edges = Sequence[tuple[str, str]]
_PATIENCE = 20.0
"""seconds after which a constructor that has not returned is mentioned"""


@dataclass(frozen=True)
class ObservationFacts:
    """What an agent observes: bytes, or so many numbers with known bounds, and so many without (angles count as neither)."""

    codes: bool
    """whether bytes are observed: an image, the cells of a grid, or others"""
    bounded: int
    unbounded: int
    cells: bool = False
    """whether a grid of cells is observed"""
    whole: bool = False
    """whether the whole grid is observed"""
    discrete_actions: bool = True
    sizes: str = ""
    """what decides the shapes of networks: observations and actions, as text"""
    image: tuple[int, ...] | None = None
    """`(height, width, channels)` of an observed image"""
    size: int = 0
    """components that are observed, without an action mask"""


@dataclass(frozen=True)
class EnvironmentFacts:
    """Number of goals, 0 for an environment without discrete ones, and what each agent observes."""

    goals: int
    sights: Mapping[str, ObservationFacts]
    single_player: bool = False
    """whether every copy is played by one agent, alone"""
    vector_goals: bool = False
    """whether goals are vectors"""
    flattened: Mapping[tuple[str, int], Sequence[str]] = field(default_factory=dict)
    """(observation space as text, length of the vector) -> agents, for observations that are flattened"""
    reduced_images: Mapping[tuple[tuple[int, ...], tuple[int, ...]], Sequence[str]] = field(default_factory=dict)
    """(shape of an image before, after) -> agents, for images that are reduced in size"""
    unit_returns: bool = False
    """whether there are goals, and all returns are known to be between 0 and 1"""
    episode_limit: int | None = None
    """steps after which an episode is cut off; None: no limit, or an unknown one"""
    partial_teams: bool = False
    """whether only some of the agents take part in an episode"""
    turn_based: bool = False
    """whether one agent acts at each step, and the others wait"""

    @property
    def has_goals(self) -> bool:
        """Whether there are goals of either kind."""
        return self.goals > 0 or self.vector_goals


def environment_problems(settings: EnvironmentSettings, agents: Sequence[str], edges: Edges) -> Sequence[OptionProblem]:
    """Everything that keeps these agents from playing it, found on one copy, made as the environment server makes it;
    the options fit their class."""
    from env_server.environments.registry import OptionProblem, problems  # imported at first use, with numpy

    late = threading.Timer(_PATIENCE, _print_delay, (settings.id,))
    late.daemon = True
    late.start()
    try:
        return problems(settings, agents, edges)
    except Exception as error:  # code of third parties: whatever it raises, this environment cannot be played
        text = f"{settings.id} cannot be made: {type(error).__name__}: {error}; where it fails: orchestrate check-env {settings.id}"
        return [OptionProblem(("environment", "id"), text)]
    finally:
        late.cancel()


def _print_delay(environment_id: str) -> None:
    text = f"the constructor of {environment_id} has not returned for {_PATIENCE:g} s; where it is: orchestrate check-env {environment_id}"
    sys.stderr.write(text + "\n")


def environment_facts(settings: EnvironmentSettings, agents: Sequence[str], edges: Edges) -> EnvironmentFacts:
    """Goals and observations of an environment without problems."""
    from env_server.environments.registry import describe, has_partial_teams, is_single_player

    described = describe(settings, agents, edges)
    sights = {agent: _sight(layout) for agent, layout in described.layouts.items()}
    space = described.goal_space
    goals, vectors = (0, False) if space is None else (space.count, bool(space.goal_shape))
    flattened: dict[tuple[str, int], list[str]] = {}
    for agent, name in described.flattened.items():
        flattened.setdefault((name, prod(described.layouts[agent].shape)), []).append(agent)
    reduced: dict[tuple[tuple[int, ...], tuple[int, ...]], list[str]] = {}
    for agent, shape in described.reduced_images.items():
        reduced.setdefault((shape, tuple(described.layouts[agent].shape)), []).append(agent)
    unit_returns = space is not None and space.unit_returns
    alone, partial = is_single_player(settings), has_partial_teams(settings)
    return EnvironmentFacts(
        goals, sights, alone, vectors, flattened, reduced, unit_returns, described.episode_limit, partial, described.turn_based
    )


def _sight(layout: Layout) -> ObservationFacts:
    angles = sum(field.size for field in layout.fields if field.unit == "radian")
    seen = prod(layout.shape) - layout.mask_size
    inside = [field for field in layout.fields if field.start < seen]
    bounded = sum(field.size for field in inside if field.unit != "radian" and field.low < field.high)
    unbounded = seen - bounded - angles
    grid = layout.grid
    whole = grid is not None and grid.width > 0
    codes = layout.dtype == "u1"
    image = tuple(layout.shape) if codes and grid is None and len(layout.shape) == 3 else None
    return ObservationFacts(codes, bounded, unbounded, grid is not None, whole, bool(layout.actions), _sizes(layout), image, seen)


def _sizes(layout: Layout) -> str:
    done = f"choices {layout.actions}" if layout.actions else f"{len(layout.low)} continuous actions"
    return f"observation {layout.shape}, {done}"
