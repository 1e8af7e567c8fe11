"""From the wire's observations to what networks see, and from predicted changes back to observations.

Networks see the newest observation, angles as sine and cosine, and the changes that led to it. Buffers and models work on the flat raw
observation `[D]`, so that a change of features never invalidates what is remembered.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agent_node.contracts import Array, PolicySpec
from protocols.conversations.stepping.stepping_messages import Flag
from protocols.runtime.errors import ConfigurationError
from protocols.spaces.action_masks import LEGAL
from protocols.spaces.grid_space import AGENT, Grids
from protocols.spaces.layout import Layout

LARGEST_CODE = AGENT
"""Codes of a grid's cells are divided by this, the largest."""
LINEAR_GAIN = 10.0
"""Linear components change little in one step; so scaled, a network notices. (Two near-equal observations side by side hide the speed.)"""


def wrap(angle: Array) -> Array:
    """Angles in radians to the same direction in [-pi, pi)."""
    return (angle + np.pi) % (2 * np.pi) - np.pi


class Features:
    """Features of the newest `history` observations of one layout.

    A raw observation has `size` = D components (`dtype` float32, or uint8 for images, divided by 255 here, and for grids of cells,
    divided by 10, the largest code). Its features are, in this
    order: linear components, scaled to [-1, 1] where the layout has their bounds, each of the C circular ones replaced by its sine; the C
    cosines; then the H - 1 changes between the observations, oldest first, D components each (circular: wrapped radians; linear: in the
    same scale, times 10); then, for k < `frequencies` = F, sin(2^k pi x) and cos(2^k pi x) of the B newest components x with bounds
    (positional encoding: Tancik et al., arXiv 2006.10739). In all D + C + (H - 1) D + 2 F B. `ConfigurationError` for frequencies where
    nothing has bounds, and for a history of images, whose frames the environment server stacks.

    With an action mask of M numbers (`mask`) the last M components of a raw observation are it. Features begin with those of the other
    D - M components, and end with the newest mask as it is: (D - M) + C + (H - 1) (D - M) + 2 F B + M.
    """

    def __init__(self, layout: Layout, history: int, frequencies: int = 0) -> None:
        self.layout = layout
        self.history = history
        self.dtype: type[np.float32] | type[np.uint8] = np.uint8 if layout.dtype == "u1" else np.float32
        self.grids = None if layout.grid is None else Grids.from_info(layout.grid)
        self._bytes = np.float32(1 / 255 if self.grids is None else 1 / LARGEST_CODE)
        self.image: tuple[int, int, int] | None = None
        """height, width and channels of an observed image"""
        if self.dtype is np.uint8 and self.grids is None and len(layout.shape) == 3:
            height, width, channels = layout.shape
            self.image = height, width, channels
            if history > 1:
                text = "differences between images are not computed"
                raise ConfigurationError(f"agents.history: {text}; write 1, and environment.images.frame_stack: {history}")
        self.size = int(np.prod(layout.shape, dtype=np.int64))
        self.mask = layout.mask_size
        if self.mask and (self.dtype is np.uint8 or not 0 < self.mask < self.size):
            raise ConfigurationError(
                f"an action mask of {self.mask} numbers has no place behind an observation {layout.dtype}{layout.shape}"
            )
        self._seen = seen = self.size - self.mask
        """components that are observed, without the mask"""
        circular = np.zeros(self.size, bool)
        self.bounds: NDArray[np.float64] = np.zeros((self.size, 2))
        """least and largest value of each component; equal where the layout has none"""
        for field in layout.fields:
            part = slice(field.start, field.start + field.size)
            if field.unit == "radian":
                circular[part] = True
            elif field.low < field.high:
                self.bounds[part] = field.low, field.high
        self.circular: NDArray[np.bool_] = circular
        self._angles = np.flatnonzero(circular)
        self.discrete = bool(layout.actions)
        self.action_size = len(layout.actions) or len(layout.low)
        low, high = self.bounds.T
        bounded = low < high
        bounded[seen:] = False
        self._waves = np.flatnonzero(bounded)
        self._frequencies = (np.pi * 2.0 ** np.arange(frequencies)).astype(np.float32)
        if frequencies and not self._waves.size:
            raise ConfigurationError("agents.frequencies: this environment has no bounds of its observations; write 0")
        self.enclosed = self.dtype is np.float32 and bool((bounded | circular)[:seen].all())
        """whether each component has bounds or is an angle"""
        self.width = history * seen + self._angles.size + 2 * frequencies * self._waves.size + self.mask
        self._middle = ((low + high) / 2).astype(np.float32)
        self._scale = np.where(bounded, 2 / np.where(bounded, high - low, 1), 1).astype(np.float32)
        self._gain = np.where(circular, 1.0, LINEAR_GAIN * self._scale).astype(np.float32)
        self._scaled = bool(bounded.any())
        self._limits = np.where(bounded, low, -np.inf).astype(np.float32), np.where(bounded, high, np.inf).astype(np.float32)

    def policy_spec(self, goal_length: int = 0) -> PolicySpec:
        """What learners and models are built for."""
        low, high = tuple(self.layout.low), tuple(self.layout.high)
        return PolicySpec(
            (self.width,), goal_length, tuple(self.layout.actions), low, high, grids=self.grids, image=self.image, mask=self.mask
        )

    def flatten(self, observation: Array) -> Array:
        """`[n, *shape]` as it comes from the environment to raw `[n, D]`."""
        return observation.reshape(observation.shape[0], self.size)

    def encode(self, observation: Array) -> NDArray[np.float32]:
        """Raw `[n, H, D]`, oldest first, to features `[n, width]`."""
        n, history, size = len(observation), observation.shape[1], self._seen
        mask, observation = observation[:, -1, size:], observation[:, :, :size]
        newest = size + self._angles.size
        past = newest + (history - 1) * size
        encoded = np.empty((n, self.width), np.float32)
        if self.dtype is np.uint8:
            observation = np.multiply(observation, self._bytes, dtype=np.float32)
        encoded[:, :newest] = self.directions(observation[:, -1])
        if self._scaled:
            encoded[:, :size] = (encoded[:, :size] - self._middle[:size]) * self._scale[:size]
        if history > 1:
            change = self.difference(observation[:, :-1], observation[:, 1:])
            change *= self._gain[:size]
            encoded[:, newest:past] = change.reshape(n, (history - 1) * size)
        if self._frequencies.size:
            phase = (encoded[:, self._waves, None] * self._frequencies).reshape(n, -1)
            encoded[:, past : self.width - self.mask] = np.concatenate([np.sin(phase), np.cos(phase)], axis=1)
        if self.mask:
            encoded[:, -self.mask :] = mask
        return encoded

    def sample_uniform(self, n: int, random: np.random.Generator) -> NDArray[np.float32]:
        """Raw `[n, H, D]`, uniform over all that can be observed, at rest; all choices are legal. `ValueError` where that has no bounds
        (`enclosed`)."""
        if not self.enclosed:
            raise ValueError("what can be observed has no bounds")
        low, high = np.where(self.circular, -np.pi, self.bounds[:, 0]), np.where(self.circular, np.pi, self.bounds[:, 1])
        places = random.uniform(low, high, (n, self.size)).astype(np.float32)
        places[:, self._seen :] = 1.0
        return np.repeat(places[:, None], self.history, axis=1)

    def directions(self, observation: Array) -> Array:
        """Raw `[n, D]` to `[n, D + C]`: not scaled, angles as their sines, and their cosines behind."""
        if not self._angles.size:
            return observation
        angles = observation[:, self._angles]
        turned = np.concatenate([observation, np.cos(angles)], axis=1)
        turned[:, self._angles] = np.sin(angles)
        return turned

    def difference(self, last: Array, following: Array) -> NDArray[np.float32]:
        """Change from `last[..., D]` to `following[..., D]`; that of a circular component is wrapped to [-pi, pi)."""
        change = np.subtract(following, last, dtype=np.float32)
        if self._angles.size:
            change[..., self._angles] = wrap(change[..., self._angles])
        return change

    def follow(self, last: Array, change: Array) -> NDArray[np.float32]:
        """Inverse of `difference`: raw `last[n, D]` changed by `change[n, D]`, circular components wrapped, others kept within the bounds
        of the layout, images in 0..255, the action mask rounded to 0 or 1."""
        following = np.add(last, change, dtype=np.float32)
        if self._angles.size:
            following[..., self._angles] = wrap(following[..., self._angles])
        if self.dtype is np.uint8:
            np.clip(following, 0, 255, out=following)
        elif self._scaled:
            np.clip(following, *self._limits, out=following)
        if self.mask:
            following[..., self._seen :] = following[..., self._seen :] > LEGAL
        return following

    def relative_error(self, last: Array, following: Array, predicted: Array) -> float:
        """Of predictions of `following[n, D]` from `last[n, D]`: mean over the components of E[(predicted change - change)^2] /
        Var[change]; components that never change are left out. 1: no better than always predicting the mean change."""
        variance = self.difference(last, following).var(axis=0)
        moving = variance > 1e-12
        if not moving.any():
            return 0.0
        missed = self.difference(following, predicted)[:, moving]
        return float((np.square(missed).mean(axis=0) / variance[moving]).mean())


class HistoryStack:
    """The newest H raw observations of each of K copies; an episode's first observation stands for those before it."""

    def __init__(self, copies: int, features: Features) -> None:
        self._stack = np.zeros((copies, features.history, features.size), features.dtype)
        self._filled = np.zeros(copies, bool)

    def push(self, observation: Array, flags: NDArray[np.uint16]) -> Array:
        """Take a tick's raw `observation[K, D]` and flags; returns `[K, H, D]`, oldest first, valid until the next call. Rows in which the
        agent waits for its turn stay as they are."""
        fresh = ((flags & Flag.FIRST) != 0) | ~self._filled
        waiting = (flags & Flag.WAITING) != 0
        held = self._stack[waiting]
        self._stack[:, :-1] = self._stack[:, 1:]
        self._stack[:, -1] = observation
        self._stack[waiting] = held
        self._stack[fresh] = observation[fresh, None]
        self._filled[:] = True
        return self._stack
