"""Settings of experience."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from protocols.runtime.settings_types import Settings


class ExperienceSettings(Settings):
    """Finished own training episodes, told whole to the neighbours: the upper bound of what sharing data can bring."""

    transitions: Annotated[int, Field(ge=1000, le=100_000_000)] = 200_000
    """of the neighbours kept; the oldest leave first"""
