"""Images before they are sent: channels last, at most as large as `environment.images.size`, maybe grayscale.

The frames of `environment.images.frame_stack` are stacked in `env_server.adapters.parallel_adapter`, where episodes begin.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from PIL import Image

from env_server.settings import ImageSettings
from protocols.runtime.errors import ConfigurationError

Pixels = NDArray[np.uint8]
_AXES = (2, 3, 4)
_RGB = 3
_OFFSET = 1e-4
"""pixels by which the boxes begin later: the middle of a pixel on the border of two boxes would, by rounding, be in neither"""


def is_image(space: spaces.Space[Any]) -> TypeGuard[spaces.Box]:
    """Whether observations are images: a Box of uint8 with 2 to 4 axes."""
    return isinstance(space, spaces.Box) and space.dtype == np.uint8 and len(space.shape) in _AXES and all(space.shape)


class ImageEncoder:
    """From images of one space, as an environment returns them, to frames `[height, width, channels]` u1.

    Accepted are `[H, W]`, `[H, W, C]`, `[C, H, W]` (the first axis is the shortest), and stacks of frames `[S, H, W, C]`, whose frames
    become channels, oldest first. Grayscale is the luma of ITU-R BT.601, 0.299 R + 0.587 G + 0.114 B. A side that is longer than that of
    `settings.size` is reduced to it: each new pixel is the mean of a box of pixels, and the boxes cover the image. Smaller images stay.
    `ConfigurationError` for grayscale of images whose channels are not red, green and blue.
    """

    def __init__(self, agent: str, space: spaces.Box, settings: ImageSettings) -> None:
        self._channels_first = len(space.shape) == 3 and space.shape[0] < min(space.shape[1:])
        self.source: tuple[int, ...] = self._arranged(np.empty(space.shape, np.uint8)).shape
        """`(height, width, channels)` before size and grayscale"""
        height, width, channels = self.source
        if settings.grayscale and channels not in (1, _RGB):
            text = f"{agent} observes images with {channels} channels, {list(space.shape)}: only images with 3 (RGB) become grayscale"
            raise ConfigurationError(f"environment.images.grayscale: {text}; write false")
        self._grayscale = settings.grayscale and channels == _RGB
        if settings.size is not None:
            height, width = min(height, settings.size[0]), min(width, settings.size[1])
        self.shape = (height, width, 1 if self._grayscale else channels)
        """`(height, width, channels)` of one frame"""
        self._resizes = (height, width) != self.source[:2]

    def _arranged(self, image: Pixels) -> Pixels:
        """`[H, W, C]` of any accepted order of axes."""
        if image.ndim == 2:
            return image[:, :, None]
        if image.ndim == 4:
            return np.moveaxis(image, 0, 2).reshape(*image.shape[1:3], -1)
        return np.moveaxis(image, 0, 2) if self._channels_first else image

    def __call__(self, observation: Any, info: Mapping[str, Any] = {}) -> Pixels:
        """One frame `[height, width, channels]`; infos are not used."""
        image = self._arranged(np.asarray(observation))
        if not (self._grayscale or self._resizes):
            return image
        if image.shape[2] == _RGB:
            drawn = Image.fromarray(np.ascontiguousarray(image))
            return self._reduced(drawn.convert("L") if self._grayscale else drawn)
        planes = [self._reduced(Image.fromarray(np.ascontiguousarray(image[:, :, channel]))) for channel in range(image.shape[2])]
        return planes[0] if len(planes) == 1 else np.concatenate(planes, axis=2)

    def _reduced(self, image: Image.Image) -> Pixels:
        if self._resizes:
            part = (_OFFSET, _OFFSET, image.width, image.height)
            image = image.resize((self.shape[1], self.shape[0]), Image.Resampling.BOX, part)
        pixels: Pixels = np.asarray(image)
        return pixels if pixels.ndim == 3 else pixels[:, :, None]
