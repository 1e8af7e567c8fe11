"""Settings of experience."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from protocols.runtime.settings_types import Settings


class ExperienceSettings(Settings):
    """Finished own training episodes, sent in full to the neighbours: the upper bound of the benefit of shared data."""

    transitions: Annotated[int, Field(ge=1000, le=100_000_000)] = 200_000
    """imported transitions kept; the oldest are dropped first"""
