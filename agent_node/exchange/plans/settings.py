"""Settings of plans."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from protocols.runtime.settings_types import Settings


class PlanSettings(Settings):
    """Agents tell their neighbours where they are going, and count as known what the neighbours are going to see."""

    steps: Annotated[int, Field(ge=1, le=1000)] = 50
    """of the way that the policy would take in the world model, told after each of its refreshes"""
