"""mpe2 beside a vectorised particle world: the same positions and actions in both."""

from __future__ import annotations

from typing import Any

import numpy as np
from mpe2 import simple_spread_v3, simple_tag_v3

from env_server.environments.environment_contracts import TickResult
from env_server.environments.particles.particle_environment import VectorParticles
from env_server.environments.particles.particle_world import MotionWorld
from env_server.environments.registry import create
from env_server.settings import EnvironmentSettings

LONG = 10_000
"""steps of an episode that is not to end"""


def make(world: str, agents: int, copies: int = 1, seed: int = 0, **options: Any) -> VectorParticles:
    settings = EnvironmentSettings(id=f"particles:{world}", options=options, copies=copies)
    environment = create(settings, [f"agent-{i}" for i in range(agents)], seed=seed)
    assert isinstance(environment, VectorParticles)
    return environment


def motion(environment: VectorParticles) -> MotionWorld:
    assert isinstance(environment.world, MotionWorld)
    return environment.world


def reference(world: str, agents: int, continuous: bool, **options: Any) -> Any:
    """The environment of mpe2 with as many agents, the last of `simple_tag` the prey."""
    module, count = (simple_spread_v3, {"N": agents}) if world == "simple_spread" else (simple_tag_v3, {"num_adversaries": agents - 1})
    made = module.parallel_env(**count, max_cycles=LONG, continuous_actions=continuous, **options)
    made.reset(seed=0)
    return made


def bodies(reference: Any) -> list[Any]:
    """Moving bodies, then the others, as `ParticlePhysics` has them."""
    world = reference.unwrapped.world
    return [*world.agents, *world.landmarks]


def copy_state(environment: VectorParticles, references: list[Any]) -> None:
    """Copy k's positions and velocities to `references[k]`."""
    physics = motion(environment).physics
    for copy, made in enumerate(references):
        for number, body in enumerate(bodies(made)):
            body.state.p_pos = physics.position[number, :, copy].copy()
            moves = number < len(physics.velocity)
            body.state.p_vel = physics.velocity[number, :, copy].copy() if moves else np.zeros(2)


def random_actions(generator: np.random.Generator, agents: int, copies: int, continuous: bool) -> np.ndarray:
    """`[N, K, A]`."""
    if continuous:
        return generator.uniform(-1, 1, (agents, copies, 2)).astype(np.float32)
    return generator.integers(0, 5, (agents, copies, 1)).astype(np.int32)


def encoded(action: np.ndarray) -> Any:
    """One of our actions as mpe2 takes it."""
    if action.dtype == np.int32:
        return int(action[0])
    x, y = action
    return np.array([0, max(-x, 0), max(x, 0), max(-y, 0), max(y, 0)], np.float32)


def step_both(environment: VectorParticles, references: list[Any], actions: np.ndarray) -> tuple[TickResult, list[Any]]:
    """The same `actions[N, K, A]` in both; the results of mpe2 are one for each copy."""
    result = environment.step({agent: actions[i] for i, agent in enumerate(environment.agents)})
    theirs = []
    for copy, made in enumerate(references):
        theirs.append(made.step({name: encoded(actions[i, copy]) for i, name in enumerate(made.possible_agents)}))
    return result, theirs
