"""Pictures to a film: mp4 (H.264) through the program ffmpeg that `imageio-ffmpeg` brings, or an animated GIF; and marks on grids."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from protocols.runtime.errors import ResourceError, UsageError

Picture = NDArray[np.uint8]
BLOCK = 16
"""sides of a film are multiples of it: what encoders of H.264 work in"""
MOST = {".mp4": 100_000, ".gif": 3_000}
"""most pictures in one film; those of a GIF are all held in memory"""


def check(path: Path) -> None:
    """`UsageError` or `ResourceError` where no film can be written to `path`; before anything is played."""
    if path.suffix.lower() not in MOST:
        raise UsageError(f"--video {path}: write a name that ends in .mp4 or .gif")
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise UsageError(f"--video {path}: {path.parent} is no folder that can be written to; make it first, or choose another")
    if path.suffix.lower() == ".mp4" and find_spec("imageio_ffmpeg") is None:
        raise ResourceError(
            f"--video {path}: mp4 needs the package imageio-ffmpeg: pip install 'murmuration-rl[video]'; or write --video {path.stem}.gif"
        )


def padded(picture: Picture, height: int, width: int) -> Picture:
    """A picture `[height, width, 3]` u1 with the given `[h, w, 3]` at its upper left and black elsewhere; rows and columns that do not
    fit are cut off."""
    page = np.zeros((height, width, 3), np.uint8)
    fitting = picture[:height, :width, :3]
    page[: fitting.shape[0], : fitting.shape[1]] = fitting
    return page


class VideoWriter:
    """A film of `rate` pictures a second; as a context. `path` is replaced when all is well, and left as it was otherwise."""

    def __init__(self, path: Path, rate: int) -> None:
        self.path = path
        self.pictures = 0
        self.cut = False
        """there were more pictures than a film of its kind may have"""
        self._rate = rate
        self._kind = path.suffix.lower()
        self._unfinished = path.with_name(f".{path.stem}.{os.getpid()}{self._kind}")
        self._size: tuple[int, int] | None = None
        """(height, width)"""
        self._encoder: Generator[None, Any, None] | None = None
        self._held: list[Any] = []

    def add(self, picture: Picture) -> None:
        """The next picture `[height, width, 3]`; all are made as large as the first, in whole blocks of 16 pixels."""
        if self.pictures >= MOST[self._kind]:
            self.cut = True
            return
        if self._size is None:
            self._size = (-(-picture.shape[0] // BLOCK) * BLOCK, -(-picture.shape[1] // BLOCK) * BLOCK)
            if self._kind == ".mp4":
                self._encoder = self._start(*self._size)
        page = padded(picture, *self._size)
        if self._encoder is not None:
            self._encode(page.tobytes())
        else:
            from PIL import Image

            self._held.append(Image.fromarray(page).quantize(128))
        self.pictures += 1

    def _start(self, height: int, width: int) -> Generator[None, Any, None]:
        encoder: Generator[None, Any, None] = import_module("imageio_ffmpeg").write_frames(
            str(self._unfinished), (width, height), fps=self._rate, macro_block_size=BLOCK, ffmpeg_log_level="error"
        )
        self._encoder = encoder
        self._encode(None)
        return encoder

    def _encode(self, page: bytes | None) -> None:
        try:
            if self._encoder is not None:
                self._encoder.send(page)
        except OSError as error:
            raise ResourceError(f"{self.path} can't be written: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if self._encoder is not None:
                self._encoder.close()
            if kind is None and self.pictures:
                self._finish()
        finally:
            self._held = []
            self._unfinished.unlink(missing_ok=True)

    def _finish(self) -> None:
        try:
            if self._held:
                first, *others = self._held
                first.save(self._unfinished, save_all=True, append_images=others, duration=round(1000 / self._rate), loop=0)
            self._unfinished.replace(self.path)
        except OSError as error:
            raise ResourceError(f"{self.path} can't be written: {error}") from error


HUES: Sequence[tuple[int, int, int]] = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (112, 39, 195), (255, 255, 0), (100, 100, 100))
"""of agent 0, 1, ...: as MiniGrid's agents and ours are drawn"""


def outlined(picture: Picture, cells: Sequence[tuple[int, int] | None], width: int, height: int) -> Picture:
    """The picture of a grid of `width` times `height` cells with a frame in each of `cells` (x, y), in the colour of the agent with that
    number; of frames in one cell the later ones are inside the others."""
    marked = picture.copy()
    tall, wide = picture.shape[0] // height, picture.shape[1] // width
    line = max(1, min(tall, wide) // 16)
    drawn: dict[tuple[int, int], int] = {}
    for number, cell in enumerate(cells):
        if cell is None:
            continue
        inset = drawn.get(cell, 0)
        drawn[cell] = inset + line
        x, y = cell
        left, right = x * wide + inset, (x + 1) * wide - inset
        top, bottom = y * tall + inset, (y + 1) * tall - inset
        if right - left <= 2 * line or bottom - top <= 2 * line:
            continue
        frame = np.zeros((bottom - top, right - left), bool)
        frame[:line], frame[-line:], frame[:, :line], frame[:, -line:] = True, True, True, True
        marked[top:bottom, left:right][frame] = HUES[number % len(HUES)]
    return marked
