"""From the wire's observations to what networks see, and from predicted changes back to observations.

Networks see the newest observation, angles as sine and cosine, and the changes that led to it. Buffers and models work on the flat raw
observation `[D]`, so that a change of features never invalidates what is remembered.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agent_node.contracts import Array, Interface
from protocols.messages import Flag, Layout

LARGEST_SIDE = 40
"""Pictures are averaged over square blocks until neither side is longer than this."""
LINEAR_GAIN = 10.0
"""Linear components change little in one step; so scaled, a network notices. (Two near-equal observations side by side hide the speed.)"""


def wrap(angle: Array) -> Array:
    """Angles in radians to the same direction in [-pi, pi)."""
    return (angle + np.pi) % (2 * np.pi) - np.pi


class Features:
    """Features of the newest `history` observations of one layout.

    A raw observation has `size` = D components (`dtype` float32, or uint8 for pictures, divided by 255 here). Its features are, in this
    order: linear components as they are, each of the C circular ones replaced by its sine; the C cosines; then the H - 1 changes between
    the observations, oldest first, D components each (circular: wrapped radians; linear: times 10). In all D + C + (H - 1) D.
    """

    def __init__(self, layout: Layout, history: int) -> None:
        self.layout = layout
        self.history = history
        self.dtype: type[np.float32] | type[np.uint8] = np.uint8 if layout.dtype == "u1" else np.float32
        shape = tuple(layout.shape)
        self._block = 1
        if len(shape) == 3:
            self._block = max(1, -(-max(shape[0], shape[1]) // LARGEST_SIDE))
            shape = (shape[0] // self._block, shape[1] // self._block, shape[2])
        self.size = int(np.prod(shape, dtype=np.int64))
        circular = np.zeros(self.size, bool)
        for field in layout.fields:
            if field.unit == "radian":
                circular[field.start : field.start + field.size] = True
        self.circular: NDArray[np.bool_] = circular
        self._angles = np.flatnonzero(circular)
        self.discrete = bool(layout.actions)
        self.action_size = len(layout.actions) or len(layout.low)
        self.width = history * self.size + self._angles.size
        self._gain = np.where(circular, 1.0, LINEAR_GAIN).astype(np.float32)

    def interface(self, goal_length: int = 0) -> Interface:
        """What learners and models are built for."""
        return Interface((self.width,), goal_length, tuple(self.layout.actions), tuple(self.layout.low), tuple(self.layout.high))

    def flatten(self, observation: Array) -> Array:
        """`[n, *shape]` as it comes from the environment to raw `[n, D]`; large pictures as the means of square blocks of pixels."""
        n = observation.shape[0]
        if self._block > 1:
            height, width, channels = self.layout.shape
            rows, columns = height // self._block, width // self._block
            cut = observation[:, : rows * self._block, : columns * self._block]
            blocks = cut.reshape(n, rows, self._block, columns, self._block, channels)
            observation = blocks.mean(axis=(2, 4), dtype=np.float32).astype(self.dtype)
        return observation.reshape(n, self.size)

    def encode(self, observation: Array) -> NDArray[np.float32]:
        """Raw `[n, H, D]`, oldest first, to features `[n, D + C + (H - 1) D]`."""
        n, history, size = observation.shape
        newest = size + self._angles.size
        encoded = np.empty((n, newest + (history - 1) * size), np.float32)
        if self.dtype is np.uint8:
            observation = np.multiply(observation, np.float32(1 / 255), dtype=np.float32)
        encoded[:, :size] = observation[:, -1]
        if self._angles.size:
            angles = observation[:, -1, self._angles]
            encoded[:, self._angles] = np.sin(angles)
            encoded[:, size:newest] = np.cos(angles)
        if history > 1:
            change = self.difference(observation[:, :-1], observation[:, 1:])
            change *= self._gain
            encoded[:, newest:] = change.reshape(n, (history - 1) * size)
        return encoded

    def difference(self, last: Array, following: Array) -> NDArray[np.float32]:
        """Change from `last[..., D]` to `following[..., D]`; that of a circular component is wrapped to [-pi, pi)."""
        change = np.subtract(following, last, dtype=np.float32)
        if self._angles.size:
            change[..., self._angles] = wrap(change[..., self._angles])
        return change

    def follow(self, last: Array, change: Array) -> NDArray[np.float32]:
        """Inverse of `difference`: raw `last[n, D]` changed by `change[n, D]`, circular components wrapped, pictures kept in 0..255."""
        following = np.add(last, change, dtype=np.float32)
        if self._angles.size:
            following[..., self._angles] = wrap(following[..., self._angles])
        if self.dtype is np.uint8:
            np.clip(following, 0, 255, out=following)
        return following


class HistoryStack:
    """The newest H raw observations of each of K copies; an episode's first observation stands for those before it."""

    def __init__(self, copies: int, features: Features) -> None:
        self._stack = np.zeros((copies, features.history, features.size), features.dtype)
        self._filled = np.zeros(copies, bool)

    def push(self, observation: Array, flags: NDArray[np.uint16]) -> Array:
        """Take a tick's raw `observation[K, D]` and flags; returns `[K, H, D]`, oldest first, valid until the next call."""
        fresh = ((flags & Flag.FIRST) != 0) | ~self._filled
        self._stack[:, :-1] = self._stack[:, 1:]
        self._stack[:, -1] = observation
        self._stack[fresh] = observation[fresh, None]
        self._filled[:] = True
        return self._stack
