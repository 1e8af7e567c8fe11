"""Exchange of episode traces: each member sends its goal and what its body achieved, and completes its episodes with the others' traces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent_node.contracts import Component, Learner, Metrics
from agent_node.exchange.segment_sharing import SegmentSharing, TracedEpisode
from agent_node.exchange.settings import HindsightSettings
from agent_node.memory.episode import Episode
from agent_node.memory.goal_relabelling import agreed_goal
from agent_node.memory.replay_buffer import ReplayBuffer
from agent_node.session.observation_features import Features
from agent_node.session.roles import GOAL_NEGOTIATION
from agent_node.session.session_context import SessionContext
from agent_node.session.transition_batches import goal_encodings
from protocols.conversations.conversation import Conversation
from protocols.conversations.correction_exchange import LARGEST_RATIO, CorrectionExchange, EpisodeCorrection
from protocols.conversations.episode_exchange import (
    EpisodeExchanged,
    EpisodeTrace,
    TraceExchange,
    TraceLimits,
    intervals,
    touches,
)
from protocols.runtime.errors import ConfigurationError
from protocols.spaces.goal_space import DiscreteSpace


@dataclass(frozen=True)
class CompletedEpisode:
    """All traces of an own training episode arrived."""

    episode: int
    partner_goals: tuple[int, ...]


class PartnerCorrections:
    """Weights of the steps of an episode that is relabelled, from how likely the partners' actions are under the new goal.

        rho_j(t) = clip(pi_j(a_j | o_j, g') / pi_j(a_j | o_j, g_j), 0, 2)

    g' is the goal with which all members relabel the episode (`goal_relabelling.agreed_goal`), g_j the goal that member j pursued, and
    pi_j its policy when the episode ended. rho_j = 1 for steps of the environment's stand-in and after j's own part. The weight of a step
    is the product over the partners, clipped to 2. `ConfigurationError` for a learner without "probabilities".
    """

    def __init__(
        self,
        learner: Learner,
        features: Features,
        space: DiscreteSpace,
        buffer: ReplayBuffer | None,
        machine: CorrectionExchange,
    ) -> None:
        if "probabilities" not in learner.capabilities:
            raise ConfigurationError(
                "exchange.hindsight.partner: corrected needs a learner with probabilities, which this one does not have; write consistent"
            )
        self.machine = machine
        self._learner = learner
        self._features = features
        self._encodings = goal_encodings(space)
        self._buffer = buffer

    def ratios(self, episode: Episode, goal: int) -> NDArray[np.float16]:
        """rho(t) = pi(a_t | o_t, goal) / pi(a_t | o_t, pursued goal) of the own steps, at most `LARGEST_RATIO`, `[T]` float16; 1 where a
        stand-in acted."""
        if goal == episode.goal:
            return np.ones(episode.steps, np.float16)
        observation = self._features.encode(episode.histories(self._features.history)[:-1])
        shape = (episode.steps, self._encodings.shape[1])
        wanted, pursued = (np.broadcast_to(self._encodings[number], shape) for number in (goal, episode.goal_index))
        change = self._learner.log_probability(observation, wanted, episode.action)
        change = change - self._learner.log_probability(observation, pursued, episode.action)
        ratio = np.exp(np.minimum(change, np.log(LARGEST_RATIO)))
        if episode.substituted is not None:
            ratio[episode.substituted] = 1
        return np.minimum(ratio, LARGEST_RATIO).astype(np.float16)

    def attach(self) -> None:
        """Write the weights of episodes whose corrections have all arrived to the buffer. The others keep 1."""
        for event in self.machine.events():
            if event.missing or self._buffer is None:
                continue
            steps = len(event.own.ratios)
            product = np.ones(steps, np.float32)
            for theirs in event.others.values():
                known = min(steps, len(theirs.ratios))
                product[:known] *= theirs.ratios[:known]
            self._buffer.attach_ratios(event.episode, np.minimum(product, np.float32(LARGEST_RATIO)))


class HindsightExchange(Component):
    """Sends traces of own episodes, and completes episodes in the buffer with what the partners achieved. Without a buffer nothing is
    relabelled, but traces are sent and the partners' goals are known. `learner` and `features` are needed for corrections and segments."""

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
        negotiation = self._context.components.get(GOAL_NEGOTIATION)
        for completed in self.attach(now, self._context.progress.updates):
            if negotiation is not None:
                negotiation.completed(completed.episode, completed.partner_goals)

    @property
    def machines(self) -> list[Conversation[Any]]:
        """All conversations that belong to it."""
        more = [part.machine for part in (self.correction, self.segments) if part is not None]
        return [self.machine, *more]

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
        if self.correction is not None or self.segments is not None:
            self._episodes[episode.number] = episode
        self.machine.finished(trace, others, now)

    def attach(self, now: float, version: int = 0) -> list[CompletedEpisode]:
        """Write what has arrived to the buffer: what all bodies achieved in episodes whose traces are complete (these are returned), the
        weights of their steps, and segments of the partners. `version`: updates of the own policy."""
        completed: list[CompletedEpisode] = []
        for event in self.machine.events():
            episode = self._episodes.pop(event.episode, None)
            if event.missing:
                self.incomplete += 1
            else:
                self.complete += 1
                completed.append(self._completed(event, episode, now, version))
        if self.correction is not None:
            self.correction.attach()
        if self.segments is not None:
            self.segments.attach()
        return completed

    def metrics(self) -> Metrics:
        """`hindsight.complete`, `hindsight.incomplete`: episodes with and without all traces, since the start; `segments.*`: steps sent
        and imported, segments refused by reason."""
        values = {"hindsight.complete": float(self.complete), "hindsight.incomplete": float(self.incomplete)}
        if self.segments is not None:
            counts = self.segments.counters + self.segments.machine.counters
            values |= {f"segments.{name}": float(count) for name, count in counts.items()}
        return values

    def _completed(self, event: EpisodeExchanged[EpisodeTrace], episode: Episode | None, now: float, version: int) -> CompletedEpisode:
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
            correction = EpisodeCorrection(event.episode, agreed, self.correction.ratios(episode, agreed))
            self.correction.machine.finished(correction, event.others, now)
        if self.segments is not None and episode is not None:
            known = TracedEpisode((self._name, *event.others), (event.own.goal, *goals), stops, bodies, agreed)
            self.segments.finished(episode, known, version)
        return CompletedEpisode(event.episode, goals)
