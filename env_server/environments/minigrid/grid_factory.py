"""Makes the environments `minigrid:ID` from their settings. MiniGrid is imported only here and below."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from env_server.environments.environment_contracts import VectorEnvironment
from env_server.environments.environment_factory import EnvironmentContext, EnvironmentFactory
from env_server.environments.environment_problems import EnvironmentProblem, OptionProblem
from env_server.environments.minigrid.settings import MiniGridOptions
from env_server.environments.pictures_in_memory import draw_in_memory

_OPTIONS = ("environment", "options")


class MiniGridFactory(EnvironmentFactory):
    """`players: one` or `players: all`."""

    def create(self, context: EnvironmentContext) -> VectorEnvironment:
        """`EnvironmentProblem` for what MiniGrid refuses."""
        options = self._installed(context)
        from env_server.environments.minigrid.multiplayer_grid import SharedMiniGrid
        from env_server.environments.minigrid.single_player_grid import VectorMiniGrid

        kind = SharedMiniGrid if options.players == "all" else VectorMiniGrid
        with _problems(context):
            return kind(context.name, options, context.agents, context.copies, context.seed)

    def least_copies(self, context: EnvironmentContext) -> int:
        """With `players: one`, a copy for each agent."""
        options: MiniGridOptions = context.options
        return len(context.agents) if options.players == "one" else 1

    def check(self, context: EnvironmentContext) -> None:
        """There are copies, or places, for all agents."""
        options = self._installed(context)
        from env_server.environments.minigrid.multiplayer_grid import room
        from env_server.environments.minigrid.single_player_grid import require_enough_copies

        with _problems(context):
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
            raise EnvironmentProblem(OptionProblem(("environment", "id"), text))
        draw_in_memory()
        options: MiniGridOptions = context.options
        return options


@contextmanager
def _problems(context: EnvironmentContext) -> Iterator[None]:
    """What MiniGrid refuses, with its place in the configuration."""
    from env_server.environments.minigrid.grid_construction import ArgumentsRefused, NoSuchEnvironment
    from env_server.environments.minigrid.grid_placement import NoRoom
    from env_server.environments.minigrid.single_player_grid import TooFewCopies

    try:
        yield
    except NoSuchEnvironment as error:
        raise EnvironmentProblem(OptionProblem(("environment", "id"), f"{context.settings.id!r}: {error}")) from error
    except ArgumentsRefused as error:
        raise EnvironmentProblem(OptionProblem((*_OPTIONS, "arguments"), str(error))) from error
    except TooFewCopies as error:
        raise EnvironmentProblem(OptionProblem(("environment", "copies"), str(error))) from error
    except NoRoom as error:
        raise EnvironmentProblem(OptionProblem(("agents", "count"), str(error))) from error
