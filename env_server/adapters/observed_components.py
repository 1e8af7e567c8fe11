"""A wrapper that hides components of observations: what is left is only a part of the state, so that a policy needs a memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Space
from numpy.typing import NDArray
from pettingzoo.utils import BaseParallelWrapper


def observed_components(environment: Any, components: Sequence[int]) -> Any:
    """The environment with only these components of its observations, numbered from 0, in this order.

    For the APIs of Gymnasium and of PettingZoo (Parallel), with observations that are vectors (Box with one axis). `ValueError` for other
    spaces, and for components that do not exist or are given twice.
    """
    kept = np.array(components, np.int64)
    if not kept.size or len(set(components)) < len(components):
        raise ValueError(f"components: {list(components)} must name at least one component, and each once")
    if hasattr(environment, "possible_agents"):
        return _ObservedParallel(environment, kept)
    space = _part(environment.observation_space, kept)
    return gymnasium.wrappers.TransformObservation(environment, lambda observation: observation[kept], space)


def _part(space: Space[Any], kept: NDArray[np.int64]) -> Box:
    if not isinstance(space, Box) or len(space.shape) != 1:
        raise ValueError(f"components are those of a vector, and observations are {space}")
    if kept.min() < 0 or kept.max() >= space.shape[0]:
        raise ValueError(f"components: {kept.tolist()} are not all between 0 and {space.shape[0] - 1}")
    return Box(space.low[kept], space.high[kept], dtype=space.dtype.type)


class _ObservedParallel(BaseParallelWrapper[Any, Any, Any]):  # type: ignore[misc]
    def __init__(self, environment: Any, kept: NDArray[np.int64]) -> None:
        super().__init__(environment)
        self._kept = kept
        self._spaces = {agent: _part(environment.observation_space(agent), kept) for agent in environment.possible_agents}

    def observation_space(self, agent: Any) -> Space[Any]:
        return self._spaces[agent]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict[Any, Any], dict[Any, dict[str, Any]]]:
        observations, infos = super().reset(seed=seed, options=options)
        return self._of(observations), infos

    def step(self, actions: dict[Any, Any]) -> Any:
        observations, *others = super().step(actions)
        return self._of(observations), *others

    def _of(self, observations: dict[Any, Any]) -> dict[Any, Any]:
        return {agent: observation[self._kept] for agent, observation in observations.items()}
