"""The action that counts when an agent is late or gone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from env_server.settings import EnvironmentSettings
from protocols.spaces.layout import Layout

Array = NDArray[Any]


class LateActions:
    """Completes the actions of a tick: `repeat` the agent's last one, `noop` (0, or the middle of a continuous range), or `random`."""

    def __init__(self, settings: EnvironmentSettings, layouts: Mapping[str, Layout], random: np.random.Generator) -> None:
        self._settings = settings
        self._layouts = layouts
        self._random = random
        self._last = {agent: self._noop(agent) for agent in layouts}

    def _noop(self, agent: str) -> Array:
        layout, copies = self._layouts[agent], self._settings.copies
        if layout.actions:
            return np.zeros((copies, len(layout.actions)), np.int32)
        middle = (np.array(layout.low) + np.array(layout.high)) / 2
        return np.tile(middle.astype(np.float32), (copies, 1))

    def complete(self, actions: Mapping[str, Array], agents: Iterable[str]) -> dict[str, Array]:
        """Actions `[K, A]` of all agents: those given, and stand-ins for the others."""
        complete = {}
        for agent in agents:
            action = actions.get(agent)
            if action is None:
                action = self._substitute(agent)
            complete[agent] = self._last[agent] = action
        return complete

    def _substitute(self, agent: str) -> Array:
        if self._settings.late_action == "repeat":
            return self._last[agent]
        if self._settings.late_action == "noop":
            return self._noop(agent)
        layout, copies = self._layouts[agent], self._settings.copies
        if layout.actions:
            return self._random.integers(0, np.array(layout.actions), (copies, len(layout.actions))).astype(np.int32)
        return self._random.uniform(layout.low, layout.high, (copies, len(layout.low))).astype(np.float32)
