"""Pictures are made in memory, never in a window."""

from __future__ import annotations

import os


def draw_in_memory() -> None:
    """Before pygame is imported: no window, no sound, no greeting on standard output."""
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    os.environ.setdefault("SDL_AUDIODRIVER", "dummy")
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
