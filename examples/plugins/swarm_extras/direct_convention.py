"""Negotiation `direct`."""

from __future__ import annotations

import numpy as np

from agent_node.contracts import EpisodeNegotiation
from swarm_extras.components import DirectSettings


class DirectConvention(EpisodeNegotiation):
    """A fixed convention: the message is the number of the goal."""

    def __init__(self, settings: DirectSettings, goals: int, seed: int) -> None:
        self.settings = settings
        self._goals = goals

    @property
    def vocabulary(self) -> int:
        """As many messages as goals."""
        return self._goals

    def lead(self, goal: int, random: np.random.Generator) -> int:
        """The own goal."""
        return goal

    def follow(self, message: int, random: np.random.Generator) -> int:
        """The leader's goal."""
        return message
