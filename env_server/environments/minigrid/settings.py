"""Options of the environments `minigrid:ID`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from protocols.runtime.component_registry import register
from protocols.runtime.settings_types import Settings


class MiniGridOptions(Settings):
    """Agents in a copy of a MiniGrid environment, their observations, and when episodes end."""

    kind: Literal["minigrid"] = "minigrid"
    """the registered name"""
    players: Literal["one", "all"] = "one"
    """one: each copy belongs to one agent, in turn; all: every agent plays in every copy, beside the others"""
    reward: Literal["team", "own"] = "team"
    """with `players: all`. team: all agents get the reward that any of them earned; own: only the agent that earned it"""
    view: Literal["full", "partial", "both"] = "full"
    """full: the whole grid; partial: the square in front of the agent (7 x 7), without what walls and closed doors hide; both: the square
    first, for the policy, and the whole grid behind it, for teachers and counts. With `players: all` what comes first shows the others"""
    timeout: Literal["terminal", "truncated"] = "terminal"
    """what it means that an episode's steps are used up. terminal: no value follows, as in the published systems; truncated: the value of
    what would have come"""
    fix_layout: bool = False
    """the same layout in every episode"""
    layout_seed: Annotated[int, Field(ge=0, lt=2**31)] = 1
    """the seed of that layout"""
    arguments: dict[str, Any] = {}
    """keyword arguments of the MiniGrid environment itself, for example {max_steps: 100}"""


register("environment", "minigrid", MiniGridOptions, "env_server.environments.minigrid.grid_factory:MiniGridFactory")
