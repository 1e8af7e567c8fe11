"""The actions of an agent as they come from outside: taken only if they fit what the environment said it takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.runtime.errors import BadMessage
from protocols.spaces.layout import Layout


def checked_action(arrays: Mapping[str, NDArray[Any]], layout: Layout | None, copies: int) -> NDArray[Any]:
    """The frame `action` of an `Act`, `[K, A]`: int32 choices, each within its range, or float32 values, moved to the nearest bound
    where they lie beyond it: so what agents are told was applied is what counted. `BadMessage` for any other."""
    action = arrays.get("action")
    if layout is None or action is None:
        raise BadMessage("E_FRAME", "no frame `action`, or nobody of that name here")
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
    """The frame `restart` of an `Act`, `[K]`, None where there is none. `BadMessage` where it does not fit, or restarts are not
    `possible`."""
    restart = arrays.get("restart")
    if restart is None:
        return None
    if not possible:
        raise BadMessage("E_FRAME", "no agent can end episodes of this environment")
    if restart.shape != (copies,) or restart.dtype != np.uint8:
        raise BadMessage("E_FRAME", f"restart is {restart.dtype}{list(restart.shape)}, not uint8{[copies]}")
    return restart.astype(bool)
