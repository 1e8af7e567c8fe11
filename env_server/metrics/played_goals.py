"""The goals of the newest training episodes: a line of `goals.jsonl` with each report of the environment server."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

from env_server.environments.environment_contracts import EpisodeRecord
from env_server.metrics.episode_statistics import MOST_GOALS
from protocols.spaces.goal_space import DiscreteSpace, GoalSpace

FEWEST = 32
"""episodes of one report; with more agents, one for each"""


class PlayedGoals:
    """Goals of the newest training episodes since the last report: at most `FEWEST`, or one for each of `agents` agents. Only goals by
    number are recorded."""

    def __init__(self, space: GoalSpace | None, agents: int) -> None:
        self._space = space if isinstance(space, DiscreteSpace) else None
        self._newest: deque[tuple[int, EpisodeRecord]] = deque(maxlen=max(FEWEST, agents))
        self._labels: list[str] | None = None
        if self._space is not None and self._space.count <= MOST_GOALS:
            self._labels = [self._space.label(goal) for goal in range(self._space.count)]

    def add(self, before: int, records: Iterable[EpisodeRecord]) -> None:
        """Episodes have ended, after `before` training episodes."""
        if self._space is not None:
            self._newest.extend(enumerate((record for record in records if not record.evaluation), before + 1))

    def take(self) -> dict[str, Any] | None:
        """What is written: `episodes`, rows [number, members, goals, negotiated, agreed], and `labels` of all goals, where they are few;
        None without any episode. `negotiated`: all members reported an agreement. `agreed`: the members hold one goal, or different ones
        where one member at most can reach a goal; None for one member alone."""
        if not self._newest:
            return None
        rows = [[number, record.members, record.goals, record.negotiated, self._agreed(record)] for number, record in self._newest]
        self._newest.clear()
        return {"episodes": rows} if self._labels is None else {"labels": self._labels, "episodes": rows}

    def _agreed(self, record: EpisodeRecord) -> bool | None:
        if self._space is None or len(record.goals) < 2:
            return None
        return len(set(record.goals)) == (1 if self._space.common else len(record.goals))
