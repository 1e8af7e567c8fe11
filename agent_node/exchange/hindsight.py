"""After an episode: the agent tells its partners what it wanted and touched, and learns what they did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from agent_node.buffers.episodes import Episode
from agent_node.buffers.replay import ReplayBuffer
from agent_node.contracts import Learner
from agent_node.exchange.corrections import PartnerCorrection
from agent_node.exchange.segments import KnownEpisode, SegmentSharing
from agent_node.features import Features
from agent_node.goals.relabelling import agreed_goal
from agent_node.settings import HindsightSettings
from protocols.conversation import Conversation
from protocols.corrections import CorrectionExchange
from protocols.goal_space import GoalSpace
from protocols.hindsight import Complete, EpisodeTrace, TraceExchange, TraceLimits, intervals, touches


@dataclass(frozen=True)
class Heard:
    """All traces of an own training episode are there."""

    episode: int
    partner_goals: tuple[int, ...]


class HindsightExchange:
    """Sends traces of own episodes, and completes episodes in the buffer with what the partners touched. Without a buffer nothing is
    relearnt, but the partners are told as ever, and what they pursued is known. `learner` and `features` are needed where settings ask for
    more than traces."""

    def __init__(
        self,
        settings: HindsightSettings,
        space: GoalSpace,
        buffer: ReplayBuffer | None,
        random: np.random.Generator,
        limit: int = 4096,
        learner: Learner | None = None,
        features: Features | None = None,
        name: str = "",
        imported: ReplayBuffer | None = None,
    ) -> None:
        self.machine = TraceExchange(TraceLimits(space.count, space.landmarks), random, settings.deadline, limit)
        self.complete = 0
        self.incomplete = 0
        self.correction: PartnerCorrection | None = None
        self._settings = settings
        self._space = space
        self._buffer = buffer
        self._episodes: dict[int, Episode] = {}
        if settings.partner == "corrected" and learner is not None and features is not None:
            machine = CorrectionExchange(space.count, random, settings.deadline, limit)
            self.correction = PartnerCorrection(learner, features, space, buffer, machine)
        self.segments: SegmentSharing | None = None
        if settings.segments is not None and learner is not None and features is not None:
            self.segments = SegmentSharing(settings.segments, name, learner, features, space, imported)
        self._name = name

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
            goal=episode.goal,
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

    def attach(self, now: float, version: int = 0) -> list[Heard]:
        """Give the buffer what has come: the joint touch of episodes whose traces are all there (these are returned), how to weigh their
        steps, and what the partners tell of theirs. `version`: updates of the own policy."""
        heard: list[Heard] = []
        for event in self.machine.events():
            episode = self._episodes.pop(event.episode, None)
            if isinstance(event, Complete):
                self.complete += 1
                heard.append(self._completed(event, episode, now, version))
            else:
                self.incomplete += 1
        if self.correction is not None:
            self.correction.attach()
        if self.segments is not None:
            self.segments.attach()
        return heard

    def figures(self) -> dict[str, float]:
        """`hindsight.complete`, `hindsight.incomplete`: episodes whose traces all came, or not, since the start; `segments.*`: steps told
        and taken, segments refused by reason."""
        values = {"hindsight.complete": float(self.complete), "hindsight.incomplete": float(self.incomplete)}
        if self.segments is not None:
            counts = self.segments.counters + self.segments.machine.counters
            values |= {f"segments.{name}": float(count) for name, count in counts.items()}
        return values

    def _completed(self, event: Complete[EpisodeTrace], episode: Episode | None, now: float, version: int) -> Heard:
        partners = list(event.others.values())
        goals = tuple(trace.goal for trace in partners)
        traces = [event.own, *partners]
        bodies = np.stack([touches(trace.touched, trace.length, self._space.landmarks) for trace in traces], axis=1)
        agreed = -1
        stops = tuple(trace.stop for trace in traces)
        if self._settings.partner != "ignore":
            agreed = agreed_goal(self._space, event.episode, bodies, stops)
        if self._buffer is not None:
            self._buffer.attach_joint(event.episode, bodies[:, 1:], goals, agreed)
        if self.correction is not None and episode is not None and agreed >= 0:
            self.correction.finished(episode, agreed, event.others, now)
        if self.segments is not None and episode is not None:
            known = KnownEpisode((self._name, *event.others), (event.own.goal, *goals), stops, bodies, agreed)
            self.segments.finished(episode, known, version)
        return Heard(event.episode, goals)
