"""Every finished own training episode is sent to the neighbours in full, and the learner uses theirs: the upper bound of data sharing.

Observations, actions, rewards and whether it terminated travel over the edges of the graph, as they are (of a changing graph: over those of
the round with the episode's number), and no further: in a complete graph all agents learn from one shared buffer, each its own policy. The
receiver takes the steps as if they were its own. Where bodies differ (gains of actuators) they are slightly wrong for it, and nothing
corrects that.

What is imported has a ring of its own, and the learner draws uniformly from own and imported transitions together. It is kept in
checkpoints, since the neighbours do not send it again. World models learn from the own transitions only.
"""

from __future__ import annotations

from collections import Counter, OrderedDict

from agent_node.contracts import Component, Metrics
from agent_node.exchange.settings import ExperienceSettings
from agent_node.memory.episode import Episode
from agent_node.memory.replay_buffer import ReplayBuffer
from agent_node.session.observation_features import Features
from agent_node.session.session_context import SessionContext
from protocols.averaging.averager import Neighbourhood
from protocols.conversations.segment_exchange import (
    STEPS_PER_MESSAGE,
    EpisodeSegment,
    SegmentExchange,
    SegmentLimits,
    layout_digest,
)
from protocols.runtime.errors import ConfigurationError

REMEMBERED = 4096
"""pieces of episodes whose repetition is recognised"""


class ExperienceSharing(Component):
    """One agent's side. `imported` is where the neighbours' transitions go, and `neighbourhood` its place in the graph.
    `ConfigurationError` in environments with goals, where what a step is worth depends on what was wanted, and where there is no
    `imported`, since the learner does not learn from memory."""

    def __init__(
        self, settings: ExperienceSettings, features: Features, imported: ReplayBuffer | None, neighbourhood: Neighbourhood
    ) -> None:
        layout = features.layout
        if layout.goals is not None:
            raise ConfigurationError("exchange.experience is for environments without goals; write null")
        if imported is None:
            raise ConfigurationError("exchange.experience needs a learner with a replay buffer; write null")
        limits = SegmentLimits(features.size, features.dtype, tuple(layout.actions), features.action_size)
        # More than the receiver keeps need not wait for it.
        self.machine = SegmentExchange(limits, layout_digest(layout), -(-settings.transitions // STEPS_PER_MESSAGE))
        self.counters: Counter[str] = Counter()
        self._history = features.history
        self._imported = imported
        self._neighbourhood = neighbourhood
        self._taken: OrderedDict[tuple[str, int, int], None] = OrderedDict()

    def joined(self, context: SessionContext) -> None:
        """Exchange episodes with the neighbours."""
        context.converse(self.machine)

    def episode_ended(self, episode: Episode) -> None:
        """Send a training episode to the neighbours."""
        if episode.evaluation:
            return
        pieces = self._pieces(episode)
        for neighbour in self._neighbourhood.receivers(episode.number):
            self.machine.share_segments(pieces, neighbour)
            self.counters["sent"] += episode.steps

    def tick(self, now: float) -> None:
        """Add the episodes that have arrived to the imported transitions."""
        for event in self.machine.events():
            for segment in event.segments:
                self._import(event.src, segment)

    def metrics(self) -> Metrics:
        """`buffer.imported`: transitions of the neighbours in the buffer; `experience.*`: steps sent (to each neighbour) and imported,
        pieces refused by reason, since the start."""
        counts = self.counters + self.machine.counters
        return {"buffer.imported": float(len(self._imported))} | {f"experience.{name}": float(count) for name, count in counts.items()}

    def _pieces(self, episode: Episode) -> list[EpisodeSegment]:
        """The episode in pieces of as many steps as a message holds, each of them with the history of its first step."""
        pieces, start = [], 0
        while start < episode.steps:
            lead = min(start, self._history - 1)
            end = min(start - lead + STEPS_PER_MESSAGE, episode.steps)
            steps = slice(start - lead, end)
            pieces.append(
                EpisodeSegment(
                    episode.number, start - lead, lead, episode.observation[start - lead : end + 1], episode.action[steps],
                    episode.reward[steps], episode.terminated and end == episode.steps,
                )
            )  # fmt: skip
            start = end
        return pieces

    def _import(self, src: str, segment: EpisodeSegment) -> None:
        if src not in self._neighbourhood.all_neighbours:
            self.counters["not_neighbour"] += 1
            return
        key = (src, segment.episode, segment.first)
        if key in self._taken:
            self.counters["duplicate"] += 1
            return
        self._taken[key] = None
        if len(self._taken) > REMEMBERED:
            self._taken.popitem(last=False)
        episode = Episode(self._imported.newest + 1, segment.observation, segment.action, segment.reward, segment.terminated)
        self._imported.add(episode, segment.lead)
        self.counters["imported"] += segment.steps - segment.lead
