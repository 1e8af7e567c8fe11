"""From an id and options to MiniGrid environments that make no observations of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import minigrid
import numpy as np
from minigrid.minigrid_env import MiniGridEnv

from env_server.environments.environment_factory import problem
from env_server.environments.minigrid.settings import MiniGridOptions
from protocols.runtime.suggestions import hint
from protocols.spaces.grid_space import Grids
from protocols.spaces.layout import GridInfo, Layout

LARGEST = 1024
"""cells along one side"""


class _LazyObservation(dict[str, Any]):
    """An observation that is computed at first use: stepping would otherwise encode 49 cells that are not used."""

    def __init__(self, environment: MiniGridEnv) -> None:
        super().__init__()
        self._make: Callable[[], dict[str, Any]] = environment.gen_obs

    def __missing__(self, key: str) -> Any:
        return self._make()[key]


def maker(name: str, options: MiniGridOptions) -> Callable[[], MiniGridEnv]:
    """A function that makes one environment. `EnvironmentProblem` for a name that MiniGrid has not registered, and arguments that it
    refuses."""
    identifier, arguments = f"'minigrid:{name}'", ("environment", "options", "arguments")
    if name not in gymnasium.registry and ":" not in name:
        known = [known for known, spec in gymnasium.registry.items() if str(spec.entry_point).startswith(f"{minigrid.__name__}.")]
        meant = hint(name, known, count=3)
        raise problem(f"{identifier}: MiniGrid has no environment {name}{f'; {meant}' if meant else ''}", "environment", "id")

    def make() -> MiniGridEnv:
        try:
            environment = gymnasium.make(name, disable_env_checker=True, **options.arguments).unwrapped
        except (gymnasium.error.Error, ImportError) as error:
            raise problem(f"{identifier}: {error}", "environment", "id") from error
        except (TypeError, ValueError, AssertionError) as error:
            raise problem(f"{name} refuses its arguments: {error}", *arguments) from error
        if not isinstance(environment, MiniGridEnv):
            environment.close()
            raise problem(f"{identifier}: {name} is no MiniGrid environment; write gymnasium:{name}", "environment", "id")
        if max(environment.width, environment.height) > LARGEST:
            text = f"{name} has {environment.width} x {environment.height} cells; at most {LARGEST} on a side are supported"
            raise problem(text, *arguments)
        unmade = _LazyObservation(environment)
        vars(environment)["gen_obs"] = lambda: unmade
        return environment

    return make


def layout(environment: MiniGridEnv, options: MiniGridOptions) -> tuple[Layout, Grids]:
    """What an agent sees and does: bytes of grids, and one of the actions that MiniGrid's environments have (mostly seven). For levels that
    draw their number of steps in every episode, `longest` is that of one episode."""
    environment.reset(seed=options.layout_seed)
    whole = options.view != "partial"
    info = GridInfo(
        width=environment.width if whole else 0,
        height=environment.height if whole else 0,
        partial=environment.agent_view_size if options.view != "full" else 0,
        longest=int(environment.max_steps),
        crowd=options.view == "full" and options.players == "all",
    )
    seen = Grids.from_info(info)
    actions = int(np.asarray(environment.action_space.n))  # type: ignore[attr-defined]  # all of them are Discrete
    return Layout(shape=[seen.size], dtype="u1", actions=[actions], grid=info), seen
