"""Makes the environment `landmarks` from its settings."""

from __future__ import annotations

from collections.abc import Iterable

from env_server.environments.environment_factory import EnvironmentContext, EnvironmentFactory
from env_server.environments.environment_problems import EnvironmentProblem, OptionProblem
from env_server.environments.episode_schedule import Pairing
from env_server.environments.landmarks.landmarks_environment import VectorLandmarks
from env_server.environments.landmarks.settings import LandmarksOptions
from env_server.goals.goal_supervisor import GoalSupervisor
from protocols.runtime.errors import ConfigurationError


class LandmarksFactory(EnvironmentFactory):
    """Goals are native; a supervisor may give them."""

    def create(self, context: EnvironmentContext) -> VectorLandmarks:
        """`EnvironmentProblem` where agents are too few, or the alignment of the supervisor is too low."""
        options: LandmarksOptions = context.options
        if len(context.agents) < options.members:
            message = f"{options.members} agents are in one episode, but agents.count is {len(context.agents)}: raise it or lower members"
            raise EnvironmentProblem(OptionProblem(("environment", "options", "members"), message))
        return VectorLandmarks(options, context.agents, context.copies, context.edges, context.seed, self._supervisor(context, options))

    def problems(self, context: EnvironmentContext) -> Iterable[OptionProblem]:
        """Agents that the graph leaves without partners."""
        if context.edges is None:
            return
        members = context.options.members
        idle = Pairing(context.agents, context.edges, members).never_drawn()
        if idle:
            text = f"{', '.join(idle[:8])} would never play: episodes need {members} agents connected by edges"
            text = f"{text}; connect them or lower members"
            yield OptionProblem(("network", "topology"), text)

    @staticmethod
    def _supervisor(context: EnvironmentContext, options: LandmarksOptions) -> GoalSupervisor | None:
        settings = context.settings.supervisor
        if settings is None:
            return None
        try:
            return GoalSupervisor(options.goal_space, options.members, settings.alignment)
        except ConfigurationError as error:
            raise EnvironmentProblem(OptionProblem(("environment", "supervisor", "alignment"), str(error))) from error
