"""Options of the environments `particles:WORLD`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from env_server.environments.environment_factory import NamedOptions
from protocols.runtime.component_registry import register
from protocols.runtime.settings_types import Probability, Settings


class ParticlesOptions(NamedOptions):
    """Options of every particle world. All agents of the run play in every copy."""

    kind: Literal["particles"] = "particles"
    """the registered name"""
    horizon: Annotated[int, Field(ge=1, le=1_000_000)] = 25
    """steps after which an episode is cut off; nothing else ends it"""

    @classmethod
    def named(cls, name: str) -> type[Settings]:
        """The options of one world."""
        return WORLDS.get(name, UnknownWorldOptions)


class UnknownWorldOptions(ParticlesOptions):
    """Options of an unknown world: any are accepted, since the error is the id."""

    model_config = ConfigDict(extra="ignore")


class MotionOptions(ParticlesOptions):
    """Options of the worlds in which bodies move."""

    actions: Literal["discrete", "continuous"] = "discrete"
    """discrete: none, left, right, down, up; continuous: a force in [-1, 1]^2"""
    integration: Literal["explicit", "semi_implicit"] = "explicit"
    """explicit: a step moves bodies by the velocity from before it, as mpe2 1.1; semi_implicit: by the new velocity, as the package of
    2017, which PMIC and OMAR used"""


class TeamOptions(MotionOptions):
    """Options of the worlds in which the number of agents may change from episode to episode."""

    team_sizes: Annotated[list[Annotated[int, Field(ge=1, le=1024)]], Field(min_length=1, max_length=64)] | None = None
    """numbers of agents of an episode, e.g. [3, 4, 5]: each episode draws one of them, and which agents take part. The greatest is
    `agents.count`. Agents that take no part do not act, learn nothing of the episode, and are observed as zeros; null: all take part"""


class SpreadOptions(TeamOptions):
    """`particles:simple_spread`, cooperative navigation: as many landmarks as agents, to be covered without collisions."""

    reward: Literal["mpe2", "team", "inverse_distance"] = "mpe2"
    """mpe2: by `local_ratio`; team: the sum over agents that PMIC reports, given to each; inverse_distance: that of OMAR's data sets"""
    local_ratio: Probability = 0.5
    """share of an agent's own collisions in the reward `mpe2`, against the common distance to landmarks"""


class TagOptions(TeamOptions):
    """`particles:simple_tag`, predator-prey: slow predators, one fast prey, obstacles."""

    prey: Literal["learning", "scripted"] = "learning"
    """learning: the last agent of the run is the prey; scripted: all agents are predators, and a rule moves the prey"""
    sight: Annotated[float, Field(gt=0, le=1e6)] | None = None
    """distance beyond which positions and velocities of others are observed as 0; null: everything is seen. PMIC: 0.25"""
    obstacles: Annotated[int, Field(ge=0, le=64)] = 2
    """fixed discs of radius 0.2"""
    radius_scale: Annotated[float, Field(gt=0, le=10)] = 1.0
    """factor of all radii. PMIC: 0.5 with 24 predators"""


class RescueOptions(MotionOptions):
    """`particles:rescue`: two agents, three sites; both at site A is best, one alone at A costs."""


class BasinsOptions(ParticlesOptions):
    """`particles:two_basins`: a wide basin with reward 5 and a narrow one with reward 10; steps do not depend on one another."""


WORLDS: dict[str, type[ParticlesOptions]] = {
    "simple_spread": SpreadOptions,
    "simple_tag": TagOptions,
    "rescue": RescueOptions,
    "two_basins": BasinsOptions,
}
"""options by the name of the world"""

register("environment", "particles", ParticlesOptions, "env_server.environments.particles.particle_environment:ParticlesFactory")
