"""K copies of a particle world, in which all agents of the run play together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from env_server.environments.environment_contracts import Array
from env_server.environments.environment_factory import (
    EnvironmentContext,
    EnvironmentFactory,
    EnvironmentProblem,
    ScriptedPolicy,
    problem,
)
from env_server.environments.particles.basin_world import BasinWorld
from env_server.environments.particles.particle_physics import Floats
from env_server.environments.particles.particle_world import UNIT_FORCES, ParticleWorld
from env_server.environments.particles.rescue_world import AGENTS as RESCUERS
from env_server.environments.particles.rescue_world import RescueWorld
from env_server.environments.particles.scripted_policies import POLICIES
from env_server.environments.particles.settings import WORLDS, TagOptions, TeamOptions
from env_server.environments.particles.spread_world import SpreadWorld
from env_server.environments.particles.tag_world import TagWorld
from env_server.environments.world_copies import WorldCopies
from protocols.runtime.suggestions import hint

_WORLDS: dict[str, Callable[..., ParticleWorld]] = {
    "simple_spread": SpreadWorld,
    "simple_tag": TagWorld,
    "rescue": RescueWorld,
    "two_basins": BasinWorld,
}


class VectorParticles(WorldCopies):
    """The environments `particles:WORLD` for a whole run. The body of an absent agent stays in the world: the stand-in action moves it,
    without one no force does."""

    def __init__(self, world: ParticleWorld, horizon: int, agents: Sequence[str], copies: int, seed: int = 0) -> None:
        """`world` has as many agents and copies."""
        self.world = world
        super().__init__(world, horizon, agents, copies, seed)

    def decode(self, actions: Mapping[str, Array]) -> Floats:
        """`[N, A, K]` in [-1, 1]: unit forces of discrete actions, or continuous ones (NaN: 0)."""
        if self.world.layouts[0].actions:
            return UNIT_FORCES.T[:, self.choices(actions, len(UNIT_FORCES))].transpose(1, 0, 2)
        forces = np.zeros((len(self.agents), len(self.world.layouts[0].low), self.copies))
        for i, agent in enumerate(self.agents):
            if agent in actions:
                forces[i] = np.clip(np.where(np.isnan(actions[agent]), 0.0, actions[agent]), -1.0, 1.0).T
        return forces

    def render(self, copy: int) -> NDArray[np.uint8]:
        """A picture `[480, 480, 3]` of one copy."""
        from env_server.environments.particles.particle_rendering import draw

        return draw(self.world.scene(copy))


class ParticlesFactory(EnvironmentFactory):
    """All agents of the run play in each copy."""

    def create(self, context: EnvironmentContext) -> VectorParticles:
        """`EnvironmentProblem` for an unknown world, and for numbers of agents that it does not take."""
        if found := _unfit(context):
            raise found
        world = _WORLDS[context.name](context.options, len(context.agents), context.copies)
        return VectorParticles(world, context.options.horizon, context.agents, context.copies, context.seed)

    def has_partial_teams(self, context: EnvironmentContext) -> bool:
        """With `team_sizes`."""
        return isinstance(context.options, TeamOptions) and context.options.team_sizes is not None

    def scripted_policies(self, context: EnvironmentContext) -> Mapping[str, ScriptedPolicy]:
        """Those of `scripted_policies.POLICIES`."""
        return POLICIES.get(context.name, {})


def _unfit(context: EnvironmentContext) -> EnvironmentProblem | None:
    count = len(context.agents)
    if context.name not in WORLDS:
        close = hint(context.name, sorted(WORLDS), count=3)
        text = f"{context.settings.id!r}: no such particle world{f'; {close}' if close else ''} (there are {', '.join(sorted(WORLDS))})"
        return problem(text, "environment", "id")
    if context.name == "rescue" and count != RESCUERS:
        return problem(f"particles:rescue has {RESCUERS} agents, but agents.count is {count}; write {RESCUERS}", "agents", "count")
    if isinstance(context.options, TagOptions) and context.options.prey == "learning" and count < 2:
        return problem(
            "the last agent is the prey, so there must be at least 2; or write environment.options.prey: scripted", "agents", "count"
        )
    if isinstance(context.options, TeamOptions) and (sizes := context.options.team_sizes) is not None:
        return _unfit_team(context, sizes)
    return None


def _unfit_team(context: EnvironmentContext, sizes: Sequence[int]) -> EnvironmentProblem | None:
    count, where = len(context.agents), ("environment", "options", "team_sizes")
    if max(sizes) != count:
        return problem(f"the greatest is {max(sizes)}, and agents.count is {count}; write agents.count: {max(sizes)}, or null", *where)
    if isinstance(context.options, TagOptions) and context.options.prey == "learning" and min(sizes) < 2:
        return problem(f"{min(sizes)} is too few: the prey is one of the agents, so there must be at least 2", *where)
    if context.settings.goals is not None:
        return problem("the members of an episode with goals do not change; write null, or environment.goals: null", *where)
    return None
