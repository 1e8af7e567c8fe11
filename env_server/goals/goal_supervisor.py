"""A goal supervisor: it gives all members of an episode one goal, always or so often that a given share of episodes is aligned.

It is the upper bound (and, with a smaller share, the scale) that agreement between agents is measured against: Nisioti et al.,
arXiv 2211.06082.
"""

from __future__ import annotations

from env_server.environments.environment_factory import problem, problems_at
from env_server.environments.episode_schedule import episode_generator
from env_server.settings import SupervisorSettings
from protocols.runtime.errors import ConfigurationError
from protocols.runtime.seeds import Stream
from protocols.spaces.goal_space import DiscreteSpace, GoalSpace


def chance_alignment(space: DiscreteSpace, members: int) -> float:
    """Alignment of `members` agents that choose uniformly and independently: among episodes in which any agent holds a cooperative goal,
    the mean share of the followers with the leader's goal, S / U. With I individual goals, C cooperative ones, G = I + C and k members:
    U = 1 - (I / G)^k, S = C / G^2 + I / G^2 (1 - (I / G)^(k - 2)); the latter term is of those who agree on an individual goal while
    another member holds a cooperative one, and 0 for two members."""
    cooperative, together = _chances(space, members)
    return together / cooperative if cooperative else 1.0


def supervised_share(space: DiscreteSpace, members: int, alignment: float) -> float:
    """Share p of all episodes that must be given one common uniform goal, so that of the episodes in which any agent holds a cooperative
    goal the share A = `alignment` is aligned, where the members of the others choose uniformly:

        p = (A U - S) / (A U - S + F (1 - A)),    F = C / G, S and U as in `chance_alignment`.

    `ConfigurationError` where chance alone aligns more.
    """
    if alignment >= 1.0:
        return 1.0
    least = chance_alignment(space, members)
    if alignment < least:
        raise ConfigurationError(
            f"alignment {alignment:g} is less than the {least:.3g} that {members} agents reach by chance; "
            "raise it, or write supervisor: null for agents that choose for themselves"
        )
    cooperative, together = _chances(space, members)
    missing = alignment * cooperative - together
    return missing / (missing + float(space.cooperative.mean()) * (1.0 - alignment))


def _chances(space: DiscreteSpace, members: int) -> tuple[float, float]:
    """(U: any member holds a cooperative goal, S: one does, and a certain follower has the leader's goal), where each member chooses
    uniformly."""
    individual = 1.0 - float(space.cooperative.mean())
    together = (1.0 - individual) + individual * (1.0 - individual ** max(0, members - 2))
    return 1.0 - individual**members, together / space.count


class GoalSupervisor:
    """Draws the goals that episodes are given. What it draws for one episode depends on no other."""

    def __init__(self, space: DiscreteSpace, members: int, alignment: float) -> None:
        self.share = supervised_share(space, members, alignment)
        self._count = space.count

    def goal(self, seed: int, episode: int) -> int:
        """The goal of all members of that episode, or -1 where they choose themselves."""
        random = episode_generator(seed, episode, Stream.GOALS)
        supervised = random.random() < self.share
        return int(random.integers(self._count)) if supervised else -1


def supervisor_of(settings: SupervisorSettings | None, space: GoalSpace, members: int) -> GoalSupervisor | None:
    """The supervisor of the configuration, if there is one; `EnvironmentProblem` where it can't draw goals of this space."""
    if settings is None:
        return None
    if not isinstance(space, DiscreteSpace):
        raise problem("draws discrete goals, these are vectors: write null", "environment", "supervisor")
    with problems_at("environment", "supervisor", "alignment"):
        return GoalSupervisor(space, members, settings.alignment)
