"""When an agent of push-sum that has no mass begins with its own model: if nobody has anything to give, all have lost theirs at once.

It knows that from what its neighbours say. Those whose rounds are merely slower than its own have not spoken, and may have mass.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import compress

import numpy as np

from protocols.conversations.conversation import Array

ISOLATION_LIMIT = 10
"""times that all living neighbours have spoken, with nothing to give, after which an agent without mass begins with its own model"""


class IsolationPolicy:
    """What an agent without mass has heard."""

    def __init__(self) -> None:
        self._times = 0
        """that all have spoken"""
        self._sources: set[str] = set()
        """who is to be heard in any of the rounds so far"""
        self._spoken: set[str] = set()
        """who of them has spoken since all had"""

    def spoke(self, name: str) -> None:
        """A neighbour was heard in a round, and the agent still has no mass."""
        self._spoken.add(name)

    def closed(self, senders: Collection[str], living: Collection[str]) -> bool:
        """A round in which `senders` were to be heard has brought nothing. Whether the agent has waited for long enough."""
        self._sources.update(senders)
        heard = self._sources & set(living)
        if not heard or not heard <= self._spoken:
            return False
        self._spoken.clear()
        self._times += 1
        return self._times >= ISOLATION_LIMIT

    def state(self, known: Sequence[str]) -> dict[str, Array]:
        """Everything, about these neighbours."""
        heard = [[name in names for name in known] for names in (self._sources, self._spoken)]
        return {"times": np.array(self._times), "heard": np.array(heard)}

    def load_state(self, state: dict[str, Array], known: Sequence[str]) -> None:
        """Restore; `KeyError` or `ValueError` for what does not fit."""
        self._times = int(state["times"])
        self._sources, self._spoken = (set(compress(known, names)) for names in state["heard"])
