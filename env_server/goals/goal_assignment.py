"""Goals of episodes to come: an environment plans episodes, which begin once the goals are known; the server offers them to their members,
takes the answers, and draws goals where an answer does not arrive in time.

No socket and no clock: messages are sent by a callback, and `now` is an argument.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from env_server.environments.environment_contracts import EpisodeRecord, GoalEnvironment, OfferedEpisode
from env_server.environments.episode_schedule import EpisodicCopies
from env_server.goals.goal_supervisor import GoalSupervisor
from protocols.conversations.retries import RetryAttempt, RetryTimers
from protocols.runtime.errors import BadMessage
from protocols.runtime.waits import PendingWait
from protocols.spaces.goal_space import NO_GOAL, Goal, GoalSpace
from protocols.spaces.layout import Layout

logger = logging.getLogger(__name__)
Frames = Mapping[str, NDArray[Any]]
Send = Callable[[str, Frames], None]
"""sends an `Offer` with these frames to an agent"""
PATIENCE = 1.0
"""seconds before an offer is repeated for the first time: its members may be negotiating"""


@dataclass
class PlannedEpisode:
    """An episode that has not begun, or is being played, with the goals known so far."""

    offer: OfferedEpisode
    assigned: int = NO_GOAL
    """the goal of an evaluation of skill alone, given to all members; -1 in all other episodes"""
    goals: dict[str, Goal] = field(default_factory=dict)
    negotiated: set[str] = field(default_factory=set)

    @property
    def missing(self) -> list[str]:
        """Members whose goal is not known."""
        return [agent for agent in self.offer.members if agent not in self.goals]

    def record(
        self,
        rewards: Sequence[float],
        lengths: Sequence[int],
        lost: bool,
        goals: Sequence[Goal],
        touched: Iterable[NDArray[np.uint8]],
        reached: Sequence[bool] = (),
        metrics: Mapping[str, float] | None = None,
    ) -> EpisodeRecord:
        """The record of the episode, which is over. `touched`: bits of each member's body."""
        return EpisodeRecord(
            episode=self.offer.episode,
            members=self.offer.members,
            rewards=tuple(rewards),
            lengths=tuple(lengths),
            evaluation=self.offer.evaluation,
            peer_lost=lost,
            goals=tuple(goals),
            negotiated=self.negotiated.issuperset(self.offer.members),
            assigned=self.assigned >= 0,
            touched=tuple(tuple(np.flatnonzero(body).tolist()) for body in touched),
            reached=tuple(reached),
            metrics=metrics or {},
        )


class PlannedEpisodes(EpisodicCopies):
    """A `GoalEnvironment` whose copies run an episode or wait for the goals of the next one, which is drawn, and offered to its members,
    when the present one starts. The supervisor, if there is one, gives goals to members."""

    agents_choose = True
    """whether episodes are offered to their members, who choose the goals"""

    def __init__(
        self, layouts: Mapping[str, Layout], copies: int, seed: int, space: GoalSpace, members: int, supervisor: GoalSupervisor | None
    ) -> None:
        super().__init__(layouts, copies, seed, space.count if space.common else 0)
        self.goal_space = space
        self.episode_members = members
        self._supervisor = supervisor

    def _start_anew(self, first_episode: int = 0) -> None:
        super()._start_anew(first_episode)
        self._running = np.zeros(self.copies, bool)
        self._just_over = np.zeros(self.copies, bool)
        self._steps = np.zeros(self.copies, np.int64)
        self._played: list[PlannedEpisode | None] = [None] * self.copies
        self._planned: list[PlannedEpisode | None] = [None] * self.copies
        self._by_episode: dict[int, PlannedEpisode] = {}
        self._offers: list[OfferedEpisode] = []

    @abstractmethod
    def _draw_members(self, copy: int, episode: int) -> tuple[str, ...] | None:
        """Members of the next episode of a copy, the leader first; None while too few agents are present."""

    @abstractmethod
    def _playable(self, planned: PlannedEpisode) -> bool:
        """Whether the members of an episode to come are still the right ones."""

    def _plan(self, copy: int) -> None:
        """Draw and offer the next episode of a copy, if enough agents are present."""
        self._planned[copy] = None
        members = self._draw_members(copy, self._next_episode)
        if members is None:
            return
        evaluation, assigned = self._schedule.draw()
        goal = assigned
        if assigned < 0 and self._supervisor is not None:
            goal = self._supervisor.goal(self._seed, self._next_episode)
        planned = PlannedEpisode(OfferedEpisode(self._next_episode, copy, members, evaluation, goal), assigned)
        if goal >= 0:
            planned.goals = dict.fromkeys(members, goal)
        self._next_episode += 1
        self._planned[copy] = self._by_episode[planned.offer.episode] = planned
        if self.agents_choose:
            self._offers.append(planned.offer)

    def _start(self, copy: int, planned: PlannedEpisode) -> None:
        """Begin this episode, and plan the next one."""
        del self._by_episode[planned.offer.episode]
        self._played[copy] = planned
        self._episode[copy] = planned.offer.episode
        self._steps[copy] = 0
        self._running[copy] = True
        self._plan(copy)

    def _replan(self) -> None:
        """Presence has changed: episodes to come that are not playable any more are drawn anew, under new numbers."""
        dropped: set[int] = set()
        for copy, planned in enumerate(self._planned):
            if planned is not None and not self._playable(planned):
                del self._by_episode[planned.offer.episode]
                self._schedule.give_back(planned.offer.evaluation, planned.assigned)
                self._planned[copy] = None
                dropped.add(planned.offer.episode)
        self._offers = [offer for offer in self._offers if offer.episode not in dropped]
        for copy, planned in enumerate(self._planned):
            if planned is None:
                self._plan(copy)

    def offers(self) -> list[OfferedEpisode]:
        """Episodes drawn since the last call; none where the environment sets the goals."""
        offers, self._offers = self._offers, []
        return offers

    def set_goal(self, episode: int, agent: str, goal: Goal, negotiated: bool) -> None:
        """A member's goal for an episode to come; the first value wins, unknown episodes and agents that are no members are ignored.
        `ValueError` for a goal that is not one of the space."""
        shape = self.goal_space.goal_shape
        if shape:
            if not isinstance(goal, tuple) or len(goal) != shape[0] or not np.isfinite(goal).all():
                raise ValueError(f"{agent} chose {goal}: a goal has {shape[0]} finite components")
        elif not isinstance(goal, int) or not 0 <= goal < self.goal_space.count:
            raise ValueError(f"{agent} chose goal {goal} of {self.goal_space.count}")
        planned = self._by_episode.get(episode)
        if planned is None or agent in planned.goals or agent not in planned.offer.members:
            return
        planned.goals[agent] = goal
        if negotiated:
            planned.negotiated.add(agent)

    def waiting(self) -> list[tuple[int, str]]:
        """(episode, agent) whose missing goal keeps a copy idle now."""
        idle = np.flatnonzero(~self._running & ~self._just_over).tolist()
        plans = [planned for copy in idle if (planned := self._planned[copy]) is not None]
        return [(planned.offer.episode, agent) for planned in plans for agent in planned.missing]


class GoalOffers:
    """Offers that are not answered, by agent and episode. `agents` in the order of `Joined.members`."""

    def __init__(self, agents: Sequence[str], random: np.random.Generator) -> None:
        self._number = {name: i for i, name in enumerate(agents)}
        self._open: dict[str, dict[int, tuple[OfferedEpisode, RetryAttempt]]] = {agent: {} for agent in agents}
        self._timers = RetryTimers(random)
        self._waiting_since: dict[tuple[int, str], float] = {}

    @property
    def unanswered(self) -> dict[str, list[int]]:
        """Numbers of the open episodes of each agent, sorted."""
        return {agent: sorted(offers) for agent, offers in self._open.items()}

    @property
    def waiting_since(self) -> Mapping[tuple[int, str], float]:
        """The time since which a copy is idle for the goal of (episode, agent)."""
        return self._waiting_since

    def offer(self, episodes: Iterable[OfferedEpisode], now: float) -> dict[str, dict[str, NDArray[Any]]]:
        """Frames of an `Offer` to each member of new episodes."""
        fresh: dict[str, list[OfferedEpisode]] = {}
        for episode in episodes:
            for member in episode.members:
                self._open[member][episode.episode] = (episode, self._timers[member].start(now + PATIENCE))
                fresh.setdefault(member, []).append(episode)
        return {agent: self._frames(offers) for agent, offers in fresh.items()}

    def again(self, now: float) -> dict[str, dict[str, NDArray[Any]]]:
        """Frames of the offers that are due to be repeated, by agent."""
        repeated = {}
        for agent, offers in self._open.items():
            due = [(offer, attempt) for offer, attempt in offers.values() if now >= attempt.due]
            for _, attempt in due:
                self._timers[agent].again(attempt, now)
            if due:
                repeated[agent] = self._frames([offer for offer, _ in due])
        return repeated

    def answered(self, agent: str, arrays: Frames) -> list[tuple[int, Goal, bool]]:
        """(episode, goal, negotiated) of the answers in a `Goals` message to open offers. `BadMessage` for a malformed one."""
        try:
            episode, goal, negotiated = (arrays[name] for name in ("episode", "goal", "negotiated"))
        except KeyError as error:
            raise BadMessage("E_FRAME", f"goals without {error}") from None
        if any(column.ndim != 1 or column.dtype.kind not in "iub" or len(column) != len(goal) for column in (episode, negotiated)):
            raise BadMessage("E_FRAME", "goals need equally long columns of integers")
        if goal.dtype != np.float32 if goal.ndim == 2 else goal.ndim != 1 or goal.dtype.kind not in "iub":
            raise BadMessage("E_FRAME", "goals are neither a column of integers nor rows of float32")
        chosen = [tuple(row) for row in goal.tolist()] if goal.ndim == 2 else goal.tolist()
        rows = zip(episode.tolist(), chosen, negotiated.tolist(), strict=True)
        offers = self._open.get(agent, {})
        return [(number, one, bool(agreed)) for number, one, agreed in rows if offers.pop(number, None) is not None]

    def overdue(self, waiting: Iterable[tuple[int, str]], deadline: float, now: float) -> list[tuple[int, str]]:
        """Of the (episode, agent) that keep a copy idle, those that have done so for longer than `deadline`; their offers are closed."""
        self._waiting_since = {pair: self._waiting_since.get(pair, now) for pair in waiting}
        late = [pair for pair, since in self._waiting_since.items() if now - since > deadline]
        for episode, agent in late:
            self._open[agent].pop(episode, None)
        return late

    def forget(self, agent: str) -> None:
        """`agent` has left: close its offers."""
        self._open[agent].clear()

    def _frames(self, offers: Sequence[OfferedEpisode]) -> dict[str, NDArray[Any]]:
        members = np.full((len(offers), max(len(offer.members) for offer in offers)), -1, np.int16)
        for row, offer in enumerate(offers):
            members[row, : len(offer.members)] = [self._number[name] for name in offer.members]
        return {
            "episode": np.array([offer.episode for offer in offers], np.int64),
            "copy": np.array([offer.copy for offer in offers], np.int32),
            "members": members,
            "evaluation": np.array([offer.evaluation for offer in offers], np.uint8),
            "goal": np.array([offer.goal for offer in offers], np.int32),
        }


class GoalAssignment:
    """Goals of episodes to come. `deadline`: seconds that a copy may stay idle for a goal before a random one is assigned.

    Answers are assigned as they arrive or, under the logical clock, kept by the tick at which they were sent until `enter`.
    """

    def __init__(
        self,
        environment: GoalEnvironment,
        goal_offers: GoalOffers,
        send: Send,
        deadline: float,
        random: np.random.Generator,
        tick_by_tick: bool,
    ) -> None:
        self.offers = goal_offers
        self.substituted = 0
        """goals that were drawn in the place of members that did not answer"""
        self.refused = 0
        """kept answers that were malformed"""
        self._environment = environment
        self._send = send
        self._deadline = deadline
        self._random = random
        self._tick_by_tick = tick_by_tick
        self._kept: list[tuple[int, str, int, Frames]] = []

    def offer(self, now: float) -> None:
        """Offer the episodes that were drawn since the last call."""
        self._send_all(self.offers.offer(self._environment.offers(), now))

    def answered(self, agent: str, sent: int, frames: Frames) -> None:
        """Take the frames of a `Goals` message. `BadMessage` for a malformed one."""
        if self._tick_by_tick:
            self._kept.append((sent, agent, len(self._kept), frames))
        else:
            self._enter(agent, frames)

    def enter(self, tick: int) -> None:
        """Assign what was sent before `tick`, in an order that does not depend on the time of arrival."""
        due = sorted((entry for entry in self._kept if entry[0] < tick), key=lambda entry: entry[:3])
        self._kept = [entry for entry in self._kept if entry[0] >= tick]
        for _, agent, _, frames in due:
            try:
                self._enter(agent, frames)
            except BadMessage as error:
                self.refused += 1
                logger.warning("goals from %s: %s", agent, error)

    def enforce_deadline(self, now: float) -> None:
        """Repeat offers without an answer; members that keep a copy idle for longer than the deadline get goals drawn here."""
        self._send_all(self.offers.again(now))
        for episode, agent in self.offers.overdue(self._environment.waiting(), self._deadline, now):
            self._environment.set_goal(episode, agent, self._environment.goal_space.draw(self._random), False)
            self.substituted += 1

    def waits(self, now: float) -> list[PendingWait]:
        """For the goals that keep copies idle, by agent; times are those of `enforce_deadline`."""
        since: dict[str, float] = {}
        for (_, agent), began in self.offers.waiting_since.items():
            since[agent] = min(began, since.get(agent, now))
        return [PendingWait("the goal of the next episode", (agent,), began, began + self._deadline) for agent, began in since.items()]

    def forget(self, agent: str) -> None:
        """`agent` has left: it gets no more offers, and its kept answers are dropped."""
        self.offers.forget(agent)
        self._kept = [entry for entry in self._kept if entry[1] != agent]

    def _enter(self, agent: str, frames: Frames) -> None:
        for episode, goal, negotiated in self.offers.answered(agent, frames):
            try:
                self._environment.set_goal(episode, agent, goal, negotiated)
            except ValueError as error:
                raise BadMessage("E_FRAME", str(error)) from None

    def _send_all(self, frames: Mapping[str, Frames]) -> None:
        for agent, arrays in frames.items():
            self._send(agent, arrays)
