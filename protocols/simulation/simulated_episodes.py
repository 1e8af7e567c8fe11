"""Episodes among peers: negotiated beforehand (`Negotiation`), exchanged afterwards (`TraceExchange`), while the same agents average.

`EpisodeDirector` stands for the environment server: it offers episodes to their members, simulates them, and receives the
result of each member. Its own messages are not lost, only delayed: real servers repeat their offers until they are answered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from protocols.averaging.averager import Averager, RoundClosed
from protocols.conversations.episode_exchange import EpisodeTrace, TraceExchange, TraceLimits
from protocols.conversations.proposals import Negotiation, ProposalReceived
from protocols.simulation.simulated_averaging import AveragingScript
from protocols.simulation.simulated_network import Network

GOALS, FEATURES, LENGTH = 16, 4, 20
"""goals that traces may name, features, and steps of an episode"""
VOCABULARY = 1024
EpisodeStage = Literal["offered", "settled", "played", "exchanged"]
"""what a member of an episode has reached"""


class PeerScript(AveragingScript):
    """One incarnation of an agent that averages and plays episodes."""

    def __init__(
        self,
        name: str,
        machine: Averager,
        x: NDArray[np.float64],
        every: float,
        closed: Callable[[RoundClosed], None] | None,
        random: np.random.Generator,
        director: EpisodeDirector,
        negotiation_deadline: float = 1.0,
        trace_deadline: float = 5.0,
    ) -> None:
        super().__init__(machine, x, every, closed)
        self.name = name
        self.negotiation = Negotiation(random, negotiation_deadline, VOCABULARY)
        self.traces = TraceExchange(TraceLimits(GOALS, FEATURES), random, trace_deadline)
        self.conversations = (machine, self.negotiation, self.traces)
        self._director = director
        self._messages: dict[int, int] = {}

    def offered(self, episode: int, members: Sequence[str], message: int, now: float) -> None:
        """An episode to come, its leader first. The leader's `message` is known to it alone."""
        if members[0] == self.name:
            self._messages[episode] = message
            self.negotiation.lead(episode, members[1:], message, now)
        else:
            self.negotiation.follow(episode, members[0], now)
        self.network.touch(self.node)

    def played(self, trace: EpisodeTrace, others: Sequence[str], now: float) -> None:
        """The episode is over: send the trace to the others."""
        self.negotiation.forget(trace.episode)
        self.traces.finished(trace, others, now)
        self.network.touch(self.node)

    def turn(self, now: float) -> None:
        """Average, and report what came of episodes."""
        super().turn(now)
        for event in self.negotiation.events():
            if isinstance(event, ProposalReceived):
                self._messages[event.episode] = event.message
            else:
                message = self._messages.pop(event.episode, -1)
                self._director.settled(self.name, event.episode, message if event.negotiated else -1)
        for exchange in self.traces.events():
            others = None if exchange.missing else {name: trace.goal for name, trace in exchange.others.items()}
            self._director.exchanged(self.name, exchange.episode, others)


@dataclass
class DirectedEpisode:
    """The director's record of an episode."""

    number: int
    members: tuple[str, ...]
    message: int
    agreed: dict[str, int] = field(default_factory=dict)
    """message that each member settled with, -1: not negotiated"""
    exchanged: dict[str, dict[str, int] | None] = field(default_factory=dict)
    """goals of the others as each member received them, None: not from all"""
    playing: bool = False
    over: float = inf

    begun: float = 0.0

    @property
    def negotiated(self) -> bool:
        """Whether all members have reported that the episode was negotiated."""
        return len(self.agreed) == len(self.members) and all(message >= 0 for message in self.agreed.values())

    @property
    def complete(self) -> bool:
        """Whether every member has received the traces of all."""
        return len(self.exchanged) == len(self.members) and all(goals is not None for goals in self.exchanged.values())


class EpisodeDirector:
    """Offers episodes, one after the other for each group of `groups`, as long as all of the group are alive.

    `delay()` draws the seconds that one of its messages is delayed, `length` is how long an episode is played, `most` how many each group
    plays.
    """

    def __init__(
        self, network: Network, groups: Sequence[Sequence[str]], delay: Callable[[], float], length: float = 0.5, most: float = inf
    ) -> None:
        self.network = network
        self.groups = [tuple(group) for group in groups]
        self.done: list[DirectedEpisode] = []
        """episodes that were played to their end, in the order in which the last member received its traces"""
        self.lost = 0
        """episodes of which a member died"""
        self.observe: Callable[[EpisodeStage, str, DirectedEpisode, object], None] | None = None
        """if set, called with every stage that a member reaches: its name, the episode, and what it reports (the message that it settled
        with, -1 for none; the goals of the others, None for not all)"""
        self._delay = delay
        self._length = length
        self._most = most
        self._offered: Counter[frozenset[str]] = Counter()
        self._running: dict[int, DirectedEpisode] = {}
        self._number = 0

    def begin(self, only: frozenset[str] | None = None) -> None:
        """Offer an episode to every group that has none, is alive, and (if given) belongs to `only`."""
        busy = {episode.members for episode in self._running.values()}
        for group in self.groups:
            members = {group, tuple(reversed(group))}
            if members & busy or not all(self.network.nodes[name].alive and (only is None or name in only) for name in group):
                continue
            self._offer(group)

    @property
    def idle(self) -> bool:
        """Whether no episode is running."""
        return not self._running

    def runs(self, number: int) -> bool:
        """Whether that episode is neither over nor lost."""
        return number in self._running

    def settled(self, name: str, number: int, message: int) -> None:
        """A member's negotiation is over."""
        episode = self._running.get(number)
        if episode is None:
            return
        if self.observe is not None:
            self.observe("settled", name, episode, message)
        episode.agreed.setdefault(name, message)
        if len(episode.agreed) == len(episode.members) and not episode.playing:
            episode.playing = True
            for member in episode.members:
                self._deliver(member, self._length + self._delay(), self._play, episode)

    def exchanged(self, name: str, number: int, others: dict[str, int] | None) -> None:
        """A member has all traces, or none will come any more."""
        episode = self._running.get(number)
        if episode is None:
            return
        if self.observe is not None:
            self.observe("exchanged", name, episode, others)
        episode.exchanged[name] = others
        if len(episode.exchanged) == len(episode.members):
            del self._running[number]
            episode.over = self.network.now
            self.done.append(episode)
            self._offer(tuple(reversed(episode.members)))  # the other one leads

    def died(self, name: str) -> None:
        """The server has detected a death: the episodes of that member are over without result."""
        for number in [number for number, episode in self._running.items() if name in episode.members]:
            del self._running[number]
            self.lost += 1

    def goal(self, name: str, number: int) -> int:
        """The goal of a member in an episode, different for every member."""
        return (number * 7 + len(name) + int(name.rpartition("-")[2])) % GOALS

    def _offer(self, members: tuple[str, ...]) -> None:
        group = frozenset(members)
        if self._offered[group] >= self._most:
            return
        self._offered[group] += 1
        number = self._number
        self._number += 1
        episode = self._running[number] = DirectedEpisode(number, members, number * 31 % VOCABULARY, begun=self.network.now)
        for member in members:
            self._deliver(member, self._delay(), self._propose, episode)

    def _propose(self, script: PeerScript, episode: DirectedEpisode) -> None:
        if self.observe is not None:
            self.observe("offered", script.name, episode, None)
        script.offered(episode.number, episode.members, episode.message, self.network.now)

    def _play(self, script: PeerScript, episode: DirectedEpisode) -> None:
        others = [member for member in episode.members if member != script.name]
        leads = episode.members[0] == script.name
        goal = self.goal(script.name, episode.number)
        message = episode.agreed[script.name]
        if self.observe is not None:
            self.observe("played", script.name, episode, None)
        trace = EpisodeTrace(episode.number, goal, message, leads, 1.0, LENGTH, LENGTH, ((0, 3, episode.number % FEATURES),))
        script.played(trace, others, self.network.now)

    def _deliver(self, member: str, delay: float, word: Callable[[PeerScript, DirectedEpisode], None], episode: DirectedEpisode) -> None:
        node = self.network.nodes[member]

        def say() -> None:
            if node.alive and isinstance(node.script, PeerScript):
                word(node.script, episode)

        self.network.at(self.network.now + delay, say)
