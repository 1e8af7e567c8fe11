"""Cooperative landmarks: goals that one body reaches alone, and goals that need several bodies at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from env_server.environments.landmarks.landmarks_parallel import LandmarksParallel


def parallel_env(render_mode: str | None = None, **options: Any) -> LandmarksParallel:
    """One arena with PettingZoo's Parallel API, options as in `LandmarksOptions`; `members` is the number of agents."""
    from env_server.environments.landmarks.landmarks_parallel import LandmarksParallel  # pettingzoo is imported only where it is needed
    from env_server.environments.landmarks.settings import LandmarksOptions

    return LandmarksParallel(LandmarksOptions(**options), render_mode)
