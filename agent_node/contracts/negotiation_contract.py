"""Contract of negotiations about the goals of episodes (settings with the capability "episode_goals")."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable

import numpy as np

from agent_node.contracts.component import Component


class EpisodeNegotiation(Component, ABC):
    """One agent's convention between goals and messages. The leader of an episode sends one message; the others derive goals from it.

    Constructor: `(settings, goals, seed)`, with `goals` the number |G| of goals. Metrics and shared arrays are optional; the
    arrays `leading[|G|] i4` and `reading[|M|] i4` (`protocols.conversations.negotiation.signalling_convention`) are compared with those
    of the other agents. A negotiation with the capability "teacher_goals" is a `Component` of its own, constructed from its settings alone,
    which starts its conversation in `joined`.
    """

    @property
    @abstractmethod
    def vocabulary(self) -> int:
        """Number |M| of messages, equal at all agents. Other messages are refused when they arrive."""

    @abstractmethod
    def lead(self, goal: int, random: np.random.Generator) -> int:
        """The message 0 ... |M| - 1 that the leader sends for its goal; `greedy` without exploration."""

    @abstractmethod
    def follow(self, message: int, random: np.random.Generator) -> int:
        """The goal index that a follower pursues after the leader's message; `greedy` without exploration."""

    def update(self, records: Iterable[tuple[int, int, float]]) -> None:
        """Learn from (goal, message, own sum of rewards) of negotiated training episodes, in order."""
