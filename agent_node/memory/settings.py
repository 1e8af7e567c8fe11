"""Settings of replay."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from protocols.runtime.settings_types import Settings


class BufferSettings(Settings):
    """The replay buffer of whole episodes."""

    transitions: Annotated[int, Field(ge=1000, le=100_000_000)] = 200_000
    """own transitions kept; the oldest episodes leave first"""
