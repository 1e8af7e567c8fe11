"""Options of the `prison` environment."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from protocols.runtime.component_registry import register
from protocols.runtime.settings_types import Settings


class PrisonOptions(Settings):
    """Agents in corridors of their own touch the left and the right wall in turn. All agents of the run play together."""

    kind: Literal["prison"] = "prison"
    """the registered name"""
    horizon: Annotated[int, Field(ge=1, le=1_000_000)] = 500
    """steps after which an episode is cut off; nothing else ends it"""


register("environment", "prison", PrisonOptions, "env_server.environments.prison.prison_environment:PrisonFactory")
