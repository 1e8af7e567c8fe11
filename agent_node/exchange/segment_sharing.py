"""Surprising steps of one member of an episode are sent to the others, which learn from them (Gerstgrasser et al., arXiv 2311.00865).

The steps sent are those whose absolute temporal-difference error is in the top `share` of the newest `window` ones, and whole episodes in
which a goal was reached that hardly ever is. The receiver takes observations and actions as if they were its own, which they can be where
both see and do the same (equal layouts), and labels the steps again, with the reward rule applied to the achieved features of the episode's
traces.

Imported steps have a buffer of their own, never more than `max_imported_ratio` of a batch, and leave it when their sender's policy has
moved on
by more than `max_policy_age` versions. Segments with a mean of min(pi_i(a|o,g) / mu_j(a|o,g), 2) below `min_importance` are not taken;
one-step Q-learning does not need that, and would lose what it would not have tried itself.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent_node.contracts import Array, Batch, Learner
from agent_node.exchange.settings import SegmentSettings
from agent_node.memory.episode import Episode, TransitionSample, histories
from agent_node.memory.goal_relabelling import Mark, Marks, marks
from agent_node.memory.replay_buffer import ReplayBuffer
from agent_node.session.observation_features import Features
from agent_node.session.transition_batches import goal_encodings, make_batch
from protocols.conversations.segment_exchange import (
    EpisodeSegment,
    SegmentExchange,
    SegmentLimits,
    SegmentsReceived,
    layout_digest,
)
from protocols.runtime.errors import ConfigurationError
from protocols.spaces.goal_space import DiscreteSpace

LEAST_ERRORS = 100
"""errors in the window before any step counts as surprising"""
LARGEST_WEIGHT = 2.0
REMEMBERED = 1024
"""episodes whose traces are kept for segments that come later, and segments of episodes whose traces have not come"""


@dataclass(frozen=True)
class TracedEpisode:
    """An episode by its traces. `bodies[length + 1, M, L]`: what each member achieved, in the order of `members`."""

    members: tuple[str, ...]
    goals: tuple[int, ...]
    stops: tuple[int, ...]
    bodies: NDArray[np.uint8]
    agreed: int


class SegmentSharing:
    """One agent's side: chooses the segments to send, and labels and stores received ones. `imported` is None for agents without replay,
    which send but do not import. `ConfigurationError` for a learner without "td_errors" or "probabilities"."""

    def __init__(
        self,
        settings: SegmentSettings,
        name: str,
        learner: Learner,
        features: Features,
        space: DiscreteSpace,
        imported: ReplayBuffer | None,
    ) -> None:
        if not {"td_errors", "probabilities"} <= set(learner.capabilities):
            raise ConfigurationError("exchange.hindsight.segments needs a learner with td_errors and probabilities; write null")
        layout = features.layout
        limits = SegmentLimits(features.size, features.dtype, tuple(layout.actions), features.action_size, space.count)
        self.machine = SegmentExchange(limits, layout_digest(layout))
        self.counters: Counter[str] = Counter()
        self._settings = settings
        self._name = name
        self._learner = learner
        self._features = features
        self._space = space
        self._encodings = goal_encodings(space)
        self._imported = imported
        self._errors: deque[float] = deque(maxlen=settings.window)
        self._episodes = 0
        self._reached = np.zeros(space.count, np.int64)
        self._stood = np.zeros(space.achieved_size, np.int64)
        self._known: OrderedDict[int, TracedEpisode] = OrderedDict()
        self._early: OrderedDict[tuple[str, int, int], tuple[EpisodeSegment, int]] = OrderedDict()
        self._taken: dict[int, set[tuple[str, int]]] = {}
        """of the known episodes, (sender, first step) of the segments that were imported"""
        self._newest: dict[str, int] = {}
        self._kept: dict[str, deque[tuple[int, int]]] = {}
        """by sender, (its policy's updates, number in `imported`) in the order of import"""
        self._number = 0
        self._labels: tuple[tuple[str, int], Marks] = ("", -1), np.zeros((0, space.count), np.uint8)

    # --- sending ------------------------------------------------------------------------------------------------------------------

    def finished(self, episode: Episode, known: TracedEpisode, version: int) -> None:
        """All traces of an own episode arrived: send the chosen steps to the other members. `version`: updates of the own policy."""
        own = marks(self._space, *self._parts(known, self._name, episode.steps))
        chosen = self._chosen(episode, own)
        segments = self._cut_out(episode, chosen)
        for member in known.members:
            if member != self._name and segments:
                self.machine.share_segments(segments, member, version)
                self.counters["sent"] += int(chosen.sum())
        if episode.achieved is not None:
            self._stood += episode.achieved.any(axis=0)
        self._known[episode.number] = known
        self._taken[episode.number] = set()
        if len(self._known) > REMEMBERED:
            del self._taken[self._known.popitem(last=False)[0]]
        for key in [key for key in self._early if key[1] == episode.number]:
            self._import(key[0], *self._early.pop(key), known)

    def _chosen(self, episode: Episode, own: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Which steps to send, `[T]`: all of an episode that reached a rare goal, else those of large error."""
        error = self._learner.td_errors(self._batch(episode))
        chosen = np.zeros(episode.steps, bool)
        if len(self._errors) >= min(LEAST_ERRORS, self._settings.window):
            chosen = error > np.quantile(np.array(self._errors), 1 - self._settings.share)
        self._errors.extend(error.tolist())
        reached = (own[0] & np.uint8(Mark.LATER)) != 0
        self._episodes += 1
        if (self._reached[reached] < self._settings.rare_goal_share * self._episodes).any():
            chosen[:] = True
        self._reached += reached
        if episode.substituted is not None:
            chosen &= ~episode.substituted  # the stand-in's actions are not those of the policy
        return chosen

    def _batch(self, episode: Episode) -> Batch:
        """The own steps as a batch, with the goal that was pursued."""
        histories = episode.histories(self._features.history)
        terminated = np.zeros(episode.steps, np.float32)
        terminated[-1] = episode.terminated
        goal = np.full(episode.steps, episode.goal_index, np.int64)
        nothing = np.zeros(episode.steps, bool)
        sample = TransitionSample(histories[:-1], episode.action, episode.reward, histories[1:], terminated, goal, nothing)
        return make_batch([sample], [False], self._features, self._encodings)

    def _cut_out(self, episode: Episode, chosen: NDArray[np.bool_]) -> list[EpisodeSegment]:
        """Runs of chosen steps, each with the steps before it that its first history needs."""
        if not chosen.any():
            return []
        likely = self._log_probability(episode.observation, episode.action, episode.goal_index)
        edges = np.diff(np.concatenate([[0], chosen.astype(np.int8), [0]]))
        segments = []
        for start, end in zip(np.flatnonzero(edges == 1).tolist(), np.flatnonzero(edges == -1).tolist(), strict=True):
            lead = min(start, self._features.history - 1)
            steps = slice(start - lead, end)
            observation, action = episode.observation[start - lead : end + 1], episode.action[steps]
            segments.append(EpisodeSegment(episode.number, start - lead, lead, episode.goal_index, observation, action, likely[steps]))
        return segments

    def _log_probability(self, observation: Array, action: Array, goal: int) -> NDArray[np.float32]:
        """ln pi(a | o, g) of the own policy, `[T]`, for raw `observation[T + 1, D]`."""
        features = self._features.encode(histories(observation, self._features.history)[:-1])
        goals = np.repeat(self._encodings[goal][None], len(action), axis=0)
        return np.minimum(self._learner.log_probability(features, goals, action), 0 if self._features.discrete else np.inf)

    # --- importing ---------------------------------------------------------------------------------------------------------------

    def attach(self) -> None:
        """Import the segments that have arrived."""
        for event in self.machine.events():
            self._age(event)
            for segment in event.segments:
                known = self._known.get(segment.episode)
                if known is not None:
                    self._import(event.src, segment, event.version, known)
                    continue
                self._early[event.src, segment.episode, segment.first] = segment, event.version
                if len(self._early) > REMEMBERED:
                    self._early.popitem(last=False)
                    self.counters["without_trace"] += 1

    def _age(self, event: SegmentsReceived) -> None:
        """Drop segments of outdated policies of the sender. A version far below the newest one means a restart: all earlier segments are
        dropped."""
        newest = self._newest.setdefault(event.src, event.version)
        anew = self._old(event.src, event.version)
        self._newest[event.src] = event.version if anew else max(event.version, newest)
        kept = self._kept.get(event.src)
        while kept and (anew or self._old(event.src, kept[0][0])):
            number = kept.popleft()[1]
            if self._imported is not None and self._imported.forget(number):
                self.counters["outgrown"] += 1

    def _old(self, src: str, version: int) -> bool:
        return (self._newest[src] - version) // self._settings.version > self._settings.max_policy_age

    def _import(self, src: str, segment: EpisodeSegment, version: int, known: TracedEpisode) -> None:
        refused = self._refusal(src, segment, version, known)
        if refused or self._imported is None:
            self.counters[refused or "no_buffer"] += 1
            return
        own, others = self._parts(known, src, known.stops[known.members.index(src)])
        if self._labels[0] != (src, segment.episode):  # the segments of an episode come one after the other
            self._labels = (src, segment.episode), marks(self._space, own, others)
        rows = slice(segment.first, segment.first + segment.steps + 1)
        found = self._labels[1][rows]
        hits = (found[1:, segment.goal] & np.uint8(Mark.REACHED)) != 0
        episode = Episode(
            number=self._number,
            observation=segment.observation,
            action=segment.action,
            reward=np.where(hits, self._space.rewards[segment.goal], 0).astype(np.float32),
            terminated=bool(hits[-1]),
            goal=segment.goal,
            achieved=own[rows],
            others=others[rows],
            partner_goals=tuple(goal for member, goal in zip(known.members, known.goals, strict=True) if member != src),
        )
        self._imported.add(episode, segment.lead, found, known.agreed)
        self._taken[segment.episode].add((src, segment.first))
        self._kept.setdefault(src, deque(maxlen=self._imported.rows)).append((version, self._number))
        self._number += 1
        self.counters["imported"] += segment.steps - segment.lead

    def _refusal(self, src: str, segment: EpisodeSegment, version: int, known: TracedEpisode) -> str:
        """Why a segment is not imported, as the name of a counter; empty if it is imported."""
        if src not in known.members or src == self._name:
            return "not_member"
        place = known.members.index(src)
        if known.goals[place] != segment.goal or segment.first + segment.steps > known.stops[place]:
            return "not_of_its_trace"
        if (src, segment.first) in self._taken[segment.episode]:
            return "duplicate"
        if self._old(src, version):
            return "outgrown"
        if not self._settings.match_roles and self._stood.any():
            there = known.bodies[segment.first + segment.lead + 1 : segment.first + segment.steps + 1, place]
            if not there[:, self._stood.argmax()].any():
                return "other_role"
        if self._settings.min_importance == 0 or segment.log_probability is None:
            return ""
        likely = self._log_probability(segment.observation, segment.action, segment.goal)
        weight = np.minimum(np.exp(np.minimum(likely - segment.log_probability, 10)), LARGEST_WEIGHT)
        return "unlikely" if weight[segment.lead :].mean() < self._settings.min_importance else ""

    def _parts(self, known: TracedEpisode, member: str, steps: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """What a member's body touches in its own part, and what the others do: `[T + 1, L]`, `[T + 1, B, L]`."""
        place = known.members.index(member)
        bodies = known.bodies[: steps + 1]
        return bodies[:, place], np.delete(bodies, place, axis=1)
