"""From an id and options to MiniGrid environments that make no observations of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import minigrid
import numpy as np
from minigrid.minigrid_env import MiniGridEnv

from env_server.environments.minigrid.settings import MiniGridOptions
from protocols.runtime.errors import ConfigurationError
from protocols.runtime.suggestions import hint
from protocols.spaces.grid_space import GridPart, Grids
from protocols.spaces.layout import Layout

LARGEST = 1024
"""cells along one side"""


class NoSuchEnvironment(ConfigurationError):
    """No MiniGrid environment has that name."""


class ArgumentsRefused(ConfigurationError):
    """The environment can't be made with these arguments."""


class _LazyObservation(dict[str, Any]):
    """An observation that is computed at first use: stepping would otherwise encode 49 cells that are not used."""

    def __init__(self, environment: MiniGridEnv) -> None:
        super().__init__()
        self._make: Callable[[], dict[str, Any]] = environment.gen_obs

    def __missing__(self, key: str) -> Any:
        return self._make()[key]


def maker(name: str, options: MiniGridOptions) -> Callable[[], MiniGridEnv]:
    """A function that makes one environment. `NoSuchEnvironment` for a name that MiniGrid has not registered."""
    if name not in gymnasium.registry and ":" not in name:
        known = [known for known, spec in gymnasium.registry.items() if str(spec.entry_point).startswith(f"{minigrid.__name__}.")]
        raise NoSuchEnvironment(f"MiniGrid has no environment {name}" + (f"; {meant}" if (meant := hint(name, known, count=3)) else ""))

    def make() -> MiniGridEnv:
        try:
            environment = gymnasium.make(name, disable_env_checker=True, **options.arguments).unwrapped
        except (gymnasium.error.Error, ImportError) as error:
            raise NoSuchEnvironment(str(error)) from error
        except (TypeError, ValueError, AssertionError) as error:
            raise ArgumentsRefused(f"{name} refuses its arguments: {error}") from error
        if not isinstance(environment, MiniGridEnv):
            environment.close()
            raise NoSuchEnvironment(f"{name} is no MiniGrid environment; write gymnasium:{name}")
        if max(environment.width, environment.height) > LARGEST:
            raise ArgumentsRefused(
                f"{name} has {environment.width} x {environment.height} cells; at most {LARGEST} on a side are supported"
            )
        unmade = _LazyObservation(environment)
        vars(environment)["gen_obs"] = lambda: unmade
        return environment

    return make


def grids(environment: MiniGridEnv, options: MiniGridOptions) -> Grids:
    """Which grids an agent sees of it. For levels that draw their number of steps in every episode it is that of one episode."""
    environment.reset(seed=options.layout_seed)
    side = environment.agent_view_size
    partial = GridPart(0, side, side) if options.view != "full" else None
    width, height = environment.width, environment.height
    crowd = GridPart(0, width, height) if options.view == "full" and options.players == "all" else None
    before = partial or crowd
    full = GridPart(before.stop if before else 0, width, height) if options.view != "partial" else None
    return Grids(partial, full, int(environment.max_steps), crowd)


def layout(environment: MiniGridEnv, options: MiniGridOptions) -> Layout:
    """What an agent sees and does: bytes of `grids`, and one of the actions that MiniGrid's environments have (mostly seven)."""
    seen = grids(environment, options)
    actions = int(np.asarray(environment.action_space.n))  # type: ignore[attr-defined]  # all of them are Discrete
    return Layout(shape=[seen.size], dtype="u1", actions=[actions], grid=seen.info())
