"""After an episode: the agent tells its partners what it wanted and touched, and learns what they did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from agent_node.contracts import Component, Learner, Metrics
from agent_node.exchange.hindsight.partner_corrections import PartnerCorrections
from agent_node.exchange.hindsight.segment_sharing import SegmentSharing, TracedEpisode
from agent_node.exchange.hindsight.settings import HindsightSettings
from agent_node.memory.episode_recorder import Episode
from agent_node.memory.replay.goal_relabelling import agreed_goal
from agent_node.memory.replay.replay_buffer import ReplayBuffer
from agent_node.session.observation_features import Features
from agent_node.session.roles import GOAL_NEGOTIATION
from agent_node.session.session_context import SessionContext
from protocols.conversations.conversation import Conversation
from protocols.conversations.hindsight.correction_exchange import CorrectionExchange
from protocols.conversations.hindsight.episode_exchange import ExchangeComplete
from protocols.conversations.hindsight.episode_traces import EpisodeTrace, TraceExchange, TraceLimits, intervals, touches
from protocols.spaces.goal_space import DiscreteSpace


@dataclass(frozen=True)
class CompletedEpisode:
    """All traces of an own training episode are there."""

    episode: int
    partner_goals: tuple[int, ...]


class HindsightExchange(Component):
    """Sends traces of own episodes, and completes episodes in the buffer with what the partners touched. Without a buffer nothing is
    relearnt, but the partners are told as ever, and what they pursued is known. `learner` and `features` are needed where settings ask for
    more than traces."""

    def __init__(
        self,
        settings: HindsightSettings,
        space: DiscreteSpace,
        buffer: ReplayBuffer | None,
        random: np.random.Generator,
        limit: int = 4096,
        learner: Learner | None = None,
        features: Features | None = None,
        name: str = "",
        imported: ReplayBuffer | None = None,
    ) -> None:
        self.machine = TraceExchange(TraceLimits(space.count, space.achieved_size), random, settings.deadline, limit)
        self.complete = 0
        self.incomplete = 0
        self.correction: PartnerCorrections | None = None
        self._settings = settings
        self._space = space
        self._buffer = buffer
        self._episodes: dict[int, Episode] = {}
        if settings.partner == "corrected" and learner is not None and features is not None:
            machine = CorrectionExchange(space.count, random, settings.deadline, limit)
            self.correction = PartnerCorrections(learner, features, space, buffer, machine)
        self.segments: SegmentSharing | None = None
        if settings.segments is not None and learner is not None and features is not None:
            self.segments = SegmentSharing(settings.segments, name, learner, features, space, imported)
        self._name = name
        self._context: SessionContext | None = None

    def joined(self, context: SessionContext) -> None:
        """Exchange traces with the members of episodes."""
        self._context = context
        for machine in self.machines:
            context.converse(machine)

    def episode_ended(self, episode: Episode) -> None:
        """Exchange the traces of a training episode that all members have played to its end."""
        known = episode.partners is not None and not episode.evaluation and not episode.peer_lost
        if known and self._context is not None:
            self.finished(episode, episode.partners or (), self._context.clock.now())

    def tick(self, now: float) -> None:
        """Complete episodes whose traces have arrived, and pass the partners' goals to the goal source."""
        if self._context is None:
            return
        negotiation = self._context.get(GOAL_NEGOTIATION)
        for completed in self.attach(now, self._context.progress.updates):
            if negotiation is not None:
                negotiation.completed(completed.episode, completed.partner_goals)

    @property
    def machines(self) -> list[Conversation[Any]]:
        """All conversations that belong to it."""
        more = [part.machine for part in (self.correction, self.segments) if part is not None]
        return [self.machine, *more]

    def finished(self, episode: Episode, others: tuple[str, ...], now: float) -> None:
        """An own training episode is over and in the buffer: exchange traces with its other members."""
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
        if self.correction is not None or self.segments is not None:
            self._episodes[episode.number] = episode
        self.machine.finished(trace, others, now)

    def attach(self, now: float, version: int = 0) -> list[CompletedEpisode]:
        """Give the buffer what has come: the joint touch of episodes whose traces are all there (these are returned), how to weigh their
        steps, and what the partners tell of theirs. `version`: updates of the own policy."""
        completed: list[CompletedEpisode] = []
        for event in self.machine.events():
            episode = self._episodes.pop(event.episode, None)
            if isinstance(event, ExchangeComplete):
                self.complete += 1
                completed.append(self._completed(event, episode, now, version))
            else:
                self.incomplete += 1
        if self.correction is not None:
            self.correction.attach()
        if self.segments is not None:
            self.segments.attach()
        return completed

    def metrics(self) -> Metrics:
        """`hindsight.complete`, `hindsight.incomplete`: episodes whose traces all came, or not, since the start; `segments.*`: steps told
        and taken, segments refused by reason."""
        values = {"hindsight.complete": float(self.complete), "hindsight.incomplete": float(self.incomplete)}
        if self.segments is not None:
            counts = self.segments.counters + self.segments.machine.counters
            values |= {f"segments.{name}": float(count) for name, count in counts.items()}
        return values

    def _completed(self, event: ExchangeComplete[EpisodeTrace], episode: Episode | None, now: float, version: int) -> CompletedEpisode:
        partners = list(event.others.values())
        goals = tuple(trace.goal for trace in partners)
        traces = [event.own, *partners]
        bodies = np.stack([touches(trace.touched, trace.length, self._space.achieved_size) for trace in traces], axis=1)
        agreed = -1
        stops = tuple(trace.stop for trace in traces)
        if self._settings.partner != "ignore":
            agreed = agreed_goal(self._space, event.episode, bodies, stops)
        if self._buffer is not None:
            self._buffer.attach_joint(event.episode, bodies[:, 1:], goals, agreed)
        if self.correction is not None and episode is not None and agreed >= 0:
            self.correction.finished(episode, agreed, event.others, now)
        if self.segments is not None and episode is not None:
            known = TracedEpisode((self._name, *event.others), (event.own.goal, *goals), stops, bodies, agreed)
            self.segments.finished(episode, known, version)
        return CompletedEpisode(event.episode, goals)
