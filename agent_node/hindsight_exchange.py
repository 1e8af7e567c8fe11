"""After an episode: the agent tells its partners what it wanted and touched, and learns what they did."""

from __future__ import annotations

import numpy as np

from agent_node.buffers.episodes import Episode
from agent_node.buffers.replay import ReplayBuffer
from agent_node.settings import HindsightSettings
from protocols.goal_space import GoalSpace
from protocols.hindsight import Complete, TraceExchange
from protocols.traces import EpisodeTrace, TraceLimits, intervals, touches


class HindsightExchange:
    """Sends traces of own episodes, and completes episodes in the buffer with what the partners touched."""

    def __init__(
        self, settings: HindsightSettings, space: GoalSpace, buffer: ReplayBuffer | None, random: np.random.Generator, limit: int = 4096
    ) -> None:
        self.machine = TraceExchange(TraceLimits(space.count, space.landmarks), random, settings.deadline, limit)
        self.complete = 0
        self.incomplete = 0
        self._space = space
        self._buffer = buffer

    def finished(self, episode: Episode, others: tuple[str, ...], now: float) -> None:
        """An own episode is over and in the buffer: exchange traces with its other members."""
        if episode.achieved is None:
            return
        trace = EpisodeTrace(
            episode=episode.number,
            goal=episode.goal,
            message=episode.message,
            leader=bool(episode.role),
            reward=episode.total_reward,
            stop=episode.steps,
            length=episode.length,
            touched=tuple(intervals(episode.achieved)),
        )
        self.machine.finished(trace, others, now)

    def attach(self) -> None:
        """Give the buffer the joint touch of episodes whose traces have all come."""
        for event in self.machine.events():
            if not isinstance(event, Complete):
                self.incomplete += 1
                continue
            self.complete += 1
            if self._buffer is None:
                continue
            partners = list(event.others.values())
            bodies = [touches(trace.touched, trace.length, self._space.landmarks) for trace in partners]
            nobody = np.zeros((event.own.length + 1, 0, self._space.landmarks), np.uint8)
            others = np.stack(bodies, axis=1) if bodies else nobody
            self._buffer.attach_joint(event.episode, others, [trace.goal for trace in partners])
