"""Goal sources: where an agent takes the goals of its episodes from."""

from __future__ import annotations

from protocols.runtime.settings_types import ComponentSettings


class GoalSourceSettings(ComponentSettings):
    """Settings of every goal source.

    Capabilities: `needs_traces` (it learns only from the traces that partners send after an episode, `exchange.hindsight`), `vector_goals`
    (it proposes vector goals too; its second argument is then the goal space instead of the number of goals).
    """
