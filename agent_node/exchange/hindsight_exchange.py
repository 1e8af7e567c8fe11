"""Exchange of episode traces: each member sends its goal and what its body achieved, and completes its episodes with the others' traces."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agent_node.contracts import Component, Metrics
from agent_node.exchange.settings import HindsightSettings
from agent_node.memory.episode import Episode
from agent_node.memory.replay_buffer import ReplayBuffer
from agent_node.session.roles import GOAL_NEGOTIATION
from agent_node.session.session_context import SessionContext
from protocols.conversations.episode_exchange import (
    EpisodeExchanged,
    EpisodeTrace,
    TraceExchange,
    TraceLimits,
    intervals,
    touches,
)
from protocols.spaces.goal_space import DiscreteSpace


@dataclass(frozen=True)
class CompletedEpisode:
    """All traces of an own training episode arrived."""

    episode: int
    partner_goals: tuple[int, ...]


class HindsightExchange(Component):
    """Sends traces of own episodes, and completes episodes in the buffer with what the partners achieved. Without a buffer nothing is
    relabelled, but traces are sent and the partners' goals are known."""

    def __init__(
        self,
        settings: HindsightSettings,
        space: DiscreteSpace,
        buffer: ReplayBuffer | None,
        random: np.random.Generator,
        limit: int = 4096,
    ) -> None:
        self.machine = TraceExchange(TraceLimits(space.count, space.achieved_size), random, settings.deadline, limit)
        self.complete = 0
        self.incomplete = 0
        self._space = space
        self._buffer = buffer
        self._context: SessionContext | None = None

    def joined(self, context: SessionContext) -> None:
        """Exchange traces with the members of episodes."""
        self._context = context
        context.converse(self.machine)

    def episode_ended(self, episode: Episode) -> None:
        """Exchange the traces of a training episode that all members have played to its end."""
        known = episode.partners is not None and not episode.evaluation and not episode.peer_lost
        if known and self._context is not None:
            self.finished(episode, episode.partners or (), self._context.clock.now())

    def tick(self, now: float) -> None:
        """Complete episodes whose traces have arrived, and pass the partners' goals to the goal source."""
        if self._context is None:
            return
        negotiation = self._context.components.get(GOAL_NEGOTIATION)
        for completed in self.attach():
            if negotiation is not None:
                negotiation.completed(completed.episode, completed.partner_goals)

    def finished(self, episode: Episode, others: tuple[str, ...], now: float) -> None:
        """An own training episode ended and is in the buffer: exchange traces with its other members."""
        if episode.achieved is None:
            return
        trace = EpisodeTrace(
            episode=episode.number,
            goal=episode.goal_index,
            message=episode.message,
            leader=bool(episode.role),
            reward=episode.total_reward,
            stop=episode.steps,
            length=episode.length,
            touched=tuple(intervals(episode.achieved)),
        )
        self.machine.finished(trace, others, now)

    def attach(self) -> list[CompletedEpisode]:
        """Write what has arrived to the buffer: what all bodies achieved in episodes whose traces are complete (these are returned)."""
        completed: list[CompletedEpisode] = []
        for event in self.machine.events():
            if event.missing:
                self.incomplete += 1
            else:
                self.complete += 1
                completed.append(self._completed(event))
        return completed

    def metrics(self) -> Metrics:
        """`hindsight.complete`, `hindsight.incomplete`: episodes with and without all traces, since the start."""
        return {"hindsight.complete": float(self.complete), "hindsight.incomplete": float(self.incomplete)}

    def _completed(self, event: EpisodeExchanged[EpisodeTrace]) -> CompletedEpisode:
        partners = list(event.others.values())
        goals = tuple(trace.goal for trace in partners)
        if self._buffer is not None:
            traces = [event.own, *partners]
            bodies = np.stack([touches(trace.touched, trace.length, self._space.achieved_size) for trace in traces], axis=1)
            self._buffer.attach_joint(event.episode, bodies[:, 1:], goals)
        return CompletedEpisode(event.episode, goals)
