"""Makes the environments `minigrid:ID` from their settings. MiniGrid is imported only here and below."""

from __future__ import annotations

from importlib.util import find_spec

from env_server.environments.environment_contracts import VectorEnvironment
from env_server.environments.environment_factory import EnvironmentContext, EnvironmentFactory, draw_in_memory, problem
from env_server.environments.minigrid.settings import MiniGridOptions


class MiniGridFactory(EnvironmentFactory):
    """`players: one` or `players: all`."""

    def create(self, context: EnvironmentContext) -> VectorEnvironment:
        """`EnvironmentProblem` for what MiniGrid refuses."""
        options = self._installed(context)
        from env_server.environments.minigrid.grid_copies import VectorMiniGrid
        from env_server.environments.minigrid.multiplayer_grid import SharedMiniGrid

        kind = SharedMiniGrid if options.players == "all" else VectorMiniGrid
        return kind(context.name, options, context.agents, context.copies, context.seed)

    def least_copies(self, context: EnvironmentContext) -> int:
        """With `players: one`, a copy for each agent."""
        options: MiniGridOptions = context.options
        return len(context.agents) if options.players == "one" else 1

    def check(self, context: EnvironmentContext) -> None:
        """There are copies, or places, for all agents."""
        options = self._installed(context)
        from env_server.environments.minigrid.grid_copies import require_enough_copies
        from env_server.environments.minigrid.multiplayer_grid import room

        if options.players == "one":
            require_enough_copies(context.agents, context.copies)
        else:
            room(context.name, options, len(context.agents))

    def is_single_player(self, context: EnvironmentContext) -> bool:
        """With `players: one`."""
        options: MiniGridOptions = context.options
        return options.players == "one"

    @staticmethod
    def _installed(context: EnvironmentContext) -> MiniGridOptions:
        if find_spec("minigrid") is None:
            text = f"{context.settings.id!r}: it needs the package minigrid, which is missing: pip install minigrid"
            raise problem(text, "environment", "id")
        draw_in_memory()
        options: MiniGridOptions = context.options
        return options
