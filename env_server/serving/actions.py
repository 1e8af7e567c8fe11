"""The actions of a tick: validated when they arrive, and replaced when an agent is late or absent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from env_server.settings import EnvironmentSettings
from protocols.runtime.errors import BadMessage
from protocols.spaces.layout import Layout


def checked_action(arrays: Mapping[str, NDArray[Any]], layout: Layout | None, copies: int) -> NDArray[Any]:
    """The frame `action` of an `Act`, `[K, A]`: int32 choices, each within its range, or float32 values, moved to the nearest bound
    where they lie beyond it: so the action that agents receive as applied is the one that counted. `BadMessage` for any other."""
    action = arrays.get("action")
    if layout is None or action is None:
        raise BadMessage("E_FRAME", "no frame `action`, or an unknown agent")
    expected = (copies, len(layout.actions) or len(layout.low))
    if action.shape != expected or action.dtype != (np.int32 if layout.actions else np.float32):
        raise BadMessage("E_FRAME", f"action is {action.dtype}{list(action.shape)}, not {list(expected)}")
    if not layout.actions:
        within: NDArray[Any] = np.clip(action, np.array(layout.low, np.float32), np.array(layout.high, np.float32))
        return within
    if ((action < 0) | (action >= np.array(layout.actions))).any():
        raise BadMessage("E_FRAME", f"an action outside of {layout.actions}")
    return action


def checked_restart(arrays: Mapping[str, NDArray[Any]], copies: int, possible: bool) -> NDArray[np.bool_] | None:
    """The frame `restart` of an `Act`, `[K]`, or None. `BadMessage` where it does not fit, or restarts are not
    `possible`."""
    restart = arrays.get("restart")
    if restart is None:
        return None
    if not possible:
        raise BadMessage("E_FRAME", "no agent can end episodes of this environment")
    if restart.shape != (copies,) or restart.dtype != np.uint8:
        raise BadMessage("E_FRAME", f"restart is {restart.dtype}{list(restart.shape)}, not uint8{[copies]}")
    return restart.astype(bool)


Array = NDArray[Any]


class LateActions:
    """Completes the actions of a tick: `repeat` the agent's last one, `noop` (0, or the middle of a continuous range), or `random`."""

    def __init__(self, settings: EnvironmentSettings, layouts: Mapping[str, Layout], random: np.random.Generator) -> None:
        self._settings = settings
        self._layouts = layouts
        self._random = random
        self._noop = {agent: np.tile(layout.null_action, (settings.copies, 1)) for agent, layout in layouts.items()}
        self._last = dict(self._noop)

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
            return self._noop[agent]
        layout, copies = self._layouts[agent], self._settings.copies
        if layout.actions:
            return self._random.integers(0, np.array(layout.actions), (copies, len(layout.actions))).astype(np.int32)
        return self._random.uniform(layout.low, layout.high, (copies, len(layout.low))).astype(np.float32)
