"""Goals of episodes to come: offers to members, their answers, and random goals where an answer does not arrive in time.

No socket and no clock: messages are sent by a callback, and `now` is an argument.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from env_server.environments.environment_contracts import GoalEnvironment, OfferedEpisode
from protocols.conversations.retries import RetryAttempt, RetryTimers
from protocols.runtime.errors import BadMessage
from protocols.spaces.goal_space import Goal

logger = logging.getLogger(__name__)
Frames = Mapping[str, NDArray[Any]]
Send = Callable[[str, Frames], None]
"""sends an `Offer` with these frames to an agent"""
PATIENCE = 1.0
"""seconds before an offer is repeated for the first time: its members may be negotiating"""


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
