"""Settings of plans."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from protocols.runtime.settings_types import Settings


class PlanSettings(Settings):
    """Agents send planned trajectories to their neighbours, and their models treat the neighbours' plans as observed."""

    steps: Annotated[int, Field(ge=1, le=1000)] = 50
    """of the policy's trajectory in the world model, sent after each refresh of the model"""
