"""Goal sources: where an agent takes the goals of its episodes from."""

from __future__ import annotations

from typing import ClassVar

from protocols.runtime.settings_types import Settings


class GoalSourceSettings(Settings):
    """What every goal source has in common."""

    needs_traces: ClassVar[bool] = False
    """whether it learns only from what the partners tell after an episode"""
    kind: str
