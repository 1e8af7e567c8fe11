"""K copies of a particle world, in which all agents of the run play together."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from env_server.environments.environment_contracts import AgentBatch, Array, EpisodeRecord, TickResult
from env_server.environments.environment_factory import (
    EnvironmentContext,
    EnvironmentFactory,
    EnvironmentProblem,
    ScriptedPolicy,
    problem,
)
from env_server.environments.episode_schedule import HoldableCopies, episode_generator
from env_server.environments.particles.basin_world import BasinWorld
from env_server.environments.particles.particle_physics import Floats
from env_server.environments.particles.particle_world import UNIT_FORCES, ParticleWorld
from env_server.environments.particles.rescue_world import AGENTS as RESCUERS
from env_server.environments.particles.rescue_world import RescueWorld
from env_server.environments.particles.scripted_policies import POLICIES
from env_server.environments.particles.settings import WORLDS, TagOptions
from env_server.environments.particles.spread_world import SpreadWorld
from env_server.environments.particles.tag_world import TagWorld
from protocols.conversations.stepping.stepping_messages import Flag
from protocols.runtime.seeds import Stream
from protocols.runtime.suggestions import hint

_WORLDS: dict[str, Callable[..., ParticleWorld]] = {
    "simple_spread": SpreadWorld,
    "simple_tag": TagWorld,
    "rescue": RescueWorld,
    "two_basins": BasinWorld,
}


class VectorParticles(HoldableCopies):
    """The environments `particles:WORLD` for a whole run. Only the horizon ends episodes. The body of an absent agent stays in the world:
    the stand-in action moves it, without one no force does."""

    def __init__(self, world: ParticleWorld, horizon: int, agents: Sequence[str], copies: int, seed: int = 0) -> None:
        """`world` has as many agents and copies."""
        self.world, self.episode_limit = world, horizon
        super().__init__(dict(zip(agents, world.layouts, strict=True)), copies, seed)
        self._start_anew()

    def _start_anew(self, first_episode: int = 0) -> None:
        super()._start_anew(first_episode)
        self._steps = np.zeros(self.copies, np.int64)
        self._marks = np.zeros(self.copies, np.uint16)
        self._earned = np.zeros((len(self.agents), self.copies))

    # --- a tick -----------------------------------------------------------------------------------------------------------------------

    def step(self, actions: Mapping[str, Array]) -> TickResult:
        """One step of every copy by `actions[agent][K, A]`, or the start of its next episode where the last tick ended one. Continuous
        actions beyond [-1, 1] are moved to the nearest bound. `ValueError` for an unknown discrete one."""
        waiting = np.array(self._over)
        playing = ~waiting
        reward = np.zeros_like(self._earned)
        flags = np.where(playing, self._marks, 0).astype(np.uint16)
        if playing.any():
            reward[:, playing] = self.world.step(self._forces(actions))[:, playing]
            self._earned += reward
            self._steps += playing
            over = playing & (self._steps >= self.episode_limit)
            flags[over] |= np.uint16(Flag.TRUNCATED | Flag.OVER)
            for copy in np.flatnonzero(over).tolist():
                self._end(copy)
        starting = waiting & ~self._hold
        for copy in np.flatnonzero(starting).tolist():
            self._begin(copy)
        flags[starting] = self._marks[starting] | np.uint16(Flag.FIRST)
        self._episode[waiting & ~starting] = -1
        given = reward.astype(np.float32)
        batches = zip(self.agents, self.world.observe(), given, strict=True)
        return TickResult({name: AgentBatch(seen, own, flags.copy()) for name, seen, own in batches}, self._episode.copy())

    def _forces(self, actions: Mapping[str, Array]) -> Floats:
        """`[N, A, K]` in [-1, 1]: unit forces of discrete actions, or continuous ones (NaN: 0)."""
        discrete = bool(self.world.layouts[0].actions)
        size = 2 if discrete else len(self.world.layouts[0].low)
        forces = np.zeros((len(self.agents), size, self.copies))
        for i, agent in enumerate(self.agents):
            if agent not in actions:
                continue
            action = actions[agent]
            if discrete:
                chosen = action[:, 0]
                if chosen.min() < 0 or chosen.max() >= len(UNIT_FORCES):
                    copy = int(np.flatnonzero((chosen < 0) | (chosen >= len(UNIT_FORCES)))[0])
                    raise ValueError(f"{agent} chose {chosen[copy]} in copy {copy}; actions are 0 to {len(UNIT_FORCES) - 1}")
                forces[i] = UNIT_FORCES[chosen].T
            else:
                forces[i] = np.clip(np.where(np.isnan(action), 0.0, action), -1.0, 1.0).T
        return forces

    def _begin(self, copy: int) -> None:
        """The next episode of a copy."""
        self.world.begin(copy, episode_generator(self._seed, self._next_number(copy), Stream.ENVIRONMENT))
        self._marks[copy] = Flag.MEMBER | (Flag.EVALUATION if self._schedule.draw()[0] else 0)
        self._steps[copy] = 0
        self._earned[:, copy] = 0.0

    def _end(self, copy: int) -> None:
        self._over[copy] = True
        earned, length = tuple(self._earned[:, copy].tolist()), int(self._steps[copy])
        evaluation = bool(self._marks[copy] & Flag.EVALUATION)
        lengths = (length,) * len(self.agents)
        metrics = self.world.metrics(copy)
        self._records.append(EpisodeRecord(int(self._episode[copy]), self.agents, earned, lengths, evaluation, metrics=metrics))

    # --- presence, pictures -----------------------------------------------------------------------------------------------------------

    def set_present(self, agents: Collection[str]) -> None:
        """Bodies of absent agents stay, so nothing changes."""

    def render(self, copy: int) -> NDArray[np.uint8]:
        """A picture `[480, 480, 3]` of one copy."""
        from env_server.environments.particles.particle_rendering import draw

        return draw(self.world.scene(copy))

    def close(self) -> None:
        """Nothing is held."""


class ParticlesFactory(EnvironmentFactory):
    """All agents of the run play in each copy."""

    def create(self, context: EnvironmentContext) -> VectorParticles:
        """`EnvironmentProblem` for an unknown world, and for numbers of agents that it does not take."""
        if found := _unfit(context):
            raise found
        world = _WORLDS[context.name](context.options, len(context.agents), context.copies)
        return VectorParticles(world, context.options.horizon, context.agents, context.copies, context.seed)

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
    return None
