"""Where members' goals come in: offers go out, answers are entered, and nobody's silence keeps an arena idle for long."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from env_server.environments.environment_contracts import GoalEnvironment
from env_server.goals.goal_offers import GoalOffers
from protocols.runtime.errors import BadMessage

logger = logging.getLogger(__name__)
Frames = Mapping[str, NDArray[Any]]
Send = Callable[[str, Frames], None]
"""sends an `Offer` with these frames to an agent"""


class GoalAssignment:
    """Goals of episodes to come. `deadline`: seconds that a copy may stay idle for a goal before a random one is entered.

    Answers are entered as they come or, under the logical clock, kept by the tick at which they were sent until `enter`.
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
        self.substituted = 0
        """goals that were entered for somebody who stayed silent"""
        self.refused = 0
        """kept answers that turned out to be malformed"""
        self._environment = environment
        self._goal_offers = goal_offers
        self._send = send
        self._deadline = deadline
        self._random = random
        self._tick_by_tick = tick_by_tick
        self._kept: list[tuple[int, str, int, Frames]] = []

    def offer(self, now: float) -> None:
        """Offer the episodes that were drawn since the last call."""
        self._send_all(self._goal_offers.offer(self._environment.offers(), now))

    def answered(self, agent: str, sent: int, frames: Frames) -> None:
        """Take the frames of a `Goals` message. `BadMessage` for a malformed one."""
        if self._tick_by_tick:
            self._kept.append((sent, agent, len(self._kept), frames))
        else:
            self._enter(agent, frames)

    def enter(self, tick: int) -> None:
        """Enter what was sent before `tick`, in an order that does not depend on when it came."""
        due = sorted((entry for entry in self._kept if entry[0] < tick), key=lambda entry: entry[:3])
        self._kept = [entry for entry in self._kept if entry[0] >= tick]
        for _, agent, _, frames in due:
            try:
                self._enter(agent, frames)
            except BadMessage as error:
                self.refused += 1
                logger.warning("goals from %s: %s", agent, error)

    def enforce_deadline(self, now: float) -> None:
        """Repeat offers that nobody answered; an episode whose members stay silent gets goals drawn here."""
        self._send_all(self._goal_offers.again(now))
        for episode, agent in self._goal_offers.overdue(self._environment.waiting(), self._deadline, now):
            self._environment.set_goal(episode, agent, int(self._random.integers(self._environment.goal_space.count)), False)
            self.substituted += 1

    def forget(self, agent: str) -> None:
        """`agent` is gone: nothing is offered to it any more, and its answers count no more."""
        self._goal_offers.forget(agent)
        self._kept = [entry for entry in self._kept if entry[1] != agent]

    def _enter(self, agent: str, frames: Frames) -> None:
        for episode, goal, negotiated in self._goal_offers.answered(agent, frames):
            try:
                self._environment.set_goal(episode, agent, goal, negotiated)
            except ValueError as error:
                raise BadMessage("E_FRAME", str(error)) from None

    def _send_all(self, frames: Mapping[str, Frames]) -> None:
        for agent, arrays in frames.items():
            self._send(agent, arrays)
