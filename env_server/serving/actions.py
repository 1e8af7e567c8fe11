"""The actions of a tick: validated when they arrive, and replaced when an agent is late or absent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from env_server.environments.environment_contracts import AgentBatch
from env_server.settings import EnvironmentSettings
from protocols.conversations.stepping.stepping import ClosedTick
from protocols.conversations.stepping.stepping_messages import Flag
from protocols.runtime.errors import BadMessage
from protocols.spaces.action_masks import are_legal, draw_legal
from protocols.spaces.layout import Layout

_COUNTS = np.uint16(Flag.MEMBER | Flag.PARKED | Flag.TERMINATED | Flag.TRUNCATED | Flag.OVER | Flag.WAITING)
"""of these only `MEMBER` is set where an action counts"""


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


@dataclass
class AppliedActions:
    """The actions of a tick that count."""

    actions: dict[str, Array]
    """`[K, A]` of each agent"""
    substituted: dict[str, NDArray[np.bool_]]
    """`[K]` of each agent: rows in which another action stands in for its own"""
    illegal: dict[str, int]
    """numbers of actions that were illegal and are replaced, of the agents that sent some"""


class LateActions:
    """Completes the actions of a tick. An agent that is late or absent gets a stand-in: `repeat` the agent's last action, `noop` (0, or the
    middle of a continuous range), or `random`. Where actions are masked, a random legal action stands in for every illegal one: that of a
    stand-in, and that of an agent, which would end the game, or the server."""

    def __init__(self, settings: EnvironmentSettings, layouts: Mapping[str, Layout], random: np.random.Generator) -> None:
        self._settings = settings
        self._layouts = layouts
        self._random = random
        self._noop = {agent: np.tile(layout.null_action, (settings.copies, 1)) for agent, layout in layouts.items()}
        self._last = dict(self._noop)
        self._substituted = {agent: np.zeros(settings.copies, bool) for agent in layouts}

    def complete(self, closed: ClosedTick, seen: Mapping[str, AgentBatch]) -> AppliedActions:
        """The actions of all agents: those that came in time, and stand-ins for the others. `seen`: what the agents received before. In
        copies in which an agent waits for its turn everything stays as it was at its last one."""
        applied = AppliedActions({}, {}, {})
        for agent in self._layouts:
            given, before = closed.actions.get(agent), seen[agent]
            action = self._substitute(agent) if given is None else given
            substituted = np.full(self._settings.copies, agent in closed.late)
            if self._layouts[agent].mask:
                action, replaced = self._legal(action, self._layouts[agent], before)
                if given is not None and replaced.any():
                    applied.illegal[agent] = int(np.count_nonzero(replaced))
                substituted |= replaced
            waiting = (before.flags & Flag.WAITING) != 0
            if waiting.any():
                action = np.where(waiting[:, None], self._last[agent], action)
                substituted = np.where(waiting, self._substituted[agent], substituted)
            applied.actions[agent] = self._last[agent] = action
            applied.substituted[agent] = self._substituted[agent] = substituted
        return applied

    def _legal(self, action: Array, layout: Layout, before: AgentBatch) -> tuple[Array, NDArray[np.bool_]]:
        """The actions with a random legal one in the place of each that counts and is illegal; which these are, `[K]`."""
        mask = before.observation[:, -layout.mask_size :]
        illegal = ((before.flags & _COUNTS) == Flag.MEMBER) & ~are_legal(action, mask, layout.actions)
        if illegal.any():
            action = action.copy()
            action[illegal] = draw_legal(mask[illegal], layout.actions, self._random)
        return action, illegal

    def _substitute(self, agent: str) -> Array:
        if self._settings.late_action == "repeat":
            return self._last[agent]
        if self._settings.late_action == "noop":
            return self._noop[agent]
        layout, copies = self._layouts[agent], self._settings.copies
        if layout.actions:
            return self._random.integers(0, np.array(layout.actions), (copies, len(layout.actions))).astype(np.int32)
        return self._random.uniform(layout.low, layout.high, (copies, len(layout.low))).astype(np.float32)
