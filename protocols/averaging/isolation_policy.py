"""When a push-sum agent without mass begins with its own model (`protocols.averaging.push_sum`)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import compress

import numpy as np

from protocols.conversations.conversation import Array

ISOLATION_LIMIT = 10
"""number of times that all living neighbours have sent without mass, after which an agent without mass begins with its own model"""


class IsolationPolicy:
    """When an agent without mass begins with its own model: if no neighbour has mass to give, all have lost theirs at once.

    The agent decides by the messages of its neighbours. A neighbour with slower rounds has not sent one yet, and may have mass.
    """

    def __init__(self) -> None:
        self._times = 0
        """number of times that all have sent"""
        self._sources: set[str] = set()
        """senders of any of the rounds so far"""
        self._sent: set[str] = set()
        """those that have sent since the last time that all had"""

    def received(self, name: str) -> None:
        """A message of a neighbour arrived in a round, and the agent still has no mass."""
        self._sent.add(name)

    def closed(self, senders: Collection[str], living: Collection[str]) -> bool:
        """A round with these `senders` has brought no mass. Whether the agent has waited long enough."""
        self._sources.update(senders)
        expected = self._sources & set(living)
        if not expected or not expected <= self._sent:
            return False
        self._sent.clear()
        self._times += 1
        return self._times >= ISOLATION_LIMIT

    def state(self, known: Sequence[str]) -> dict[str, Array]:
        """Everything, about these neighbours."""
        masks = [[name in names for name in known] for names in (self._sources, self._sent)]
        return {"times": np.array(self._times), "masks": np.array(masks)}

    def load_state(self, state: dict[str, Array], known: Sequence[str]) -> None:
        """Restore; `KeyError` or `ValueError` for what does not fit."""
        self._times = int(state["times"])
        self._sources, self._sent = (set(compress(known, names)) for names in state["masks"])
