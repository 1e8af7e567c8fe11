"""Contracts of goal sources, which draw the goals of an agent's episodes, and of negotiations about them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from agent_node.contracts.component import Component
from agent_node.contracts.training_data import Array
from protocols.spaces.goal_space import Goal


class GoalSource(Component, ABC):
    """Proposes the goals of an agent. Constructor: `(settings, goals)`, with `goals` the number |G| of discrete goals, or the `GoalSpace`
    of vector goals."""

    @abstractmethod
    def propose(self, random: np.random.Generator) -> Goal:
        """A goal for the next episode: an index 0 ... |G| - 1, or the components `[D]` of a vector goal. Random draws come from the
        given generator only."""

    def update(self, goal: Any, reward: float) -> None:
        """A training episode with that goal ended with this sum of own rewards."""

    def completed(self, goal: Any, reward: float, partner_goals: Sequence[int]) -> None:
        """The traces of all other members of the same episode arrived: the goals that they pursued."""

    @abstractmethod
    def probabilities(self) -> Array:
        """Probability of each goal to be proposed next, `[|G|]`, sum 1; empty for vector goals."""


class EpisodeNegotiation(Component, ABC):
    """One agent's convention between goals and messages. The leader of an episode sends one message; the others derive goals from it.

    Constructor: `(settings, goals, seed)`, with `goals` the number |G| of goals. Metrics and shared arrays are optional; the
    arrays `leading[|G|] i4` and `reading[|M|] i4` (`protocols.conversations.signalling_convention`) are compared with those
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
