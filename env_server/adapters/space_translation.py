"""From Gymnasium's spaces to the layout of the wire, and back to the actions an environment expects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from env_server.environments.environment_contracts import Array
from protocols.runtime.errors import ConfigurationError
from protocols.spaces.layout import Layout, ObservationField

_MOST_FIELDS = 256
_MOST_BOUND = 1e6
"""bounds beyond it stand for none"""
_MOST_FACTORS = 64
_MOST_AXES = 256
_BOUND = 1e12


@dataclass(frozen=True)
class Translation:
    """Layout of one agent, its actions on the environment's side, and the action of who does nothing."""

    layout: Layout
    decode: Callable[[Array], list[Any]]
    """`[K, A]` i4 or f4 to K actions of the environment's own kind. Discrete ones outside their range are a `ValueError`; continuous ones
    are moved to the nearest bound, NaN to the middle"""
    null: Any
    """action 0 of every discrete factor, the middle of every continuous range"""
    flatten: bool
    """whether observations have more axes than the layout's one"""


def translate(agent: str, observation: spaces.Space[Any], action: spaces.Space[Any]) -> Translation:
    """The layout that belongs to an agent's spaces; `ConfigurationError` for spaces that do not fit."""
    shape, dtype, fields, flatten = _observation(agent, observation)
    if isinstance(action, spaces.Discrete):
        start, count = int(action.start), int(action.n)

        def decode(actions: Array) -> list[Any]:
            numbers: list[Any] = (_within(actions, [count], agent)[:, 0] + start).tolist()
            return numbers

        return Translation(Layout(shape=shape, dtype=dtype, fields=fields, actions=[count]), decode, start, flatten)
    if isinstance(action, (spaces.MultiDiscrete, spaces.MultiBinary)):
        return _factors(agent, action, shape, dtype, fields, flatten)
    if isinstance(action, spaces.Box):
        return _ranges(agent, action, shape, dtype, fields, flatten)
    raise ConfigurationError(
        f"{agent} has the action space {_name(action)}; supported are Discrete, MultiDiscrete, MultiBinary and bounded Box: "
        "wrap the environment so that its actions are one of these"
    )


def _name(space: Any) -> str:
    text = str(space)
    return text if len(text) <= 120 else text[:117] + "..."


def _observation(agent: str, space: spaces.Space[Any]) -> tuple[list[int], Any, list[ObservationField], bool]:
    """(shape, dtype, fields, flatten): images and other bytes stay as they are, all else becomes a vector of f4."""
    if not isinstance(space, spaces.Box):
        raise ConfigurationError(
            f"{agent} has the observation space {_name(space)}; supported is Box, a vector or an image: "
            "flatten the environment's observations first (gymnasium.wrappers.FlattenObservation does it)"
        )
    if space.dtype == np.uint8:
        if len(space.shape) > 4:
            raise ConfigurationError(f"{agent} observes bytes of {len(space.shape)} axes ({_name(space)}); at most 4 are supported")
        return list(space.shape), "u1", [], False
    size = int(np.prod(space.shape, dtype=int))
    if size == 0:
        raise ConfigurationError(f"{agent} observes nothing ({_name(space)}): leave this agent out or choose another option")
    if size > _MOST_FIELDS:
        return [size], "f4", [ObservationField("", 0, size)], len(space.shape) != 1
    fields = [ObservationField("", i, 1) for i in range(size)]
    for field, low, high in zip(fields, space.low.reshape(-1).tolist(), space.high.reshape(-1).tolist(), strict=True):
        if -_MOST_BOUND <= low < high <= _MOST_BOUND:
            field.low, field.high = low, high
    return [size], "f4", fields, len(space.shape) != 1


def _within(actions: Array, counts: list[int], agent: str) -> Array:
    if actions.min() < 0 or bool((actions >= np.array(counts)).any()):
        raise ValueError(f"{agent} sent an action outside its range: factors have {counts} values, counted from 0")
    return actions


def _factors(
    agent: str,
    action: spaces.MultiDiscrete | spaces.MultiBinary,
    shape: list[int],
    dtype: Any,
    fields: list[ObservationField],
    flatten: bool,
) -> Translation:
    if isinstance(action, spaces.MultiBinary):
        counts, start = np.full(action.shape, 2), np.zeros(action.shape, np.int64)
    else:
        counts, start = np.asarray(action.nvec), np.asarray(action.start)
    if counts.size > _MOST_FACTORS:
        raise ConfigurationError(f"{agent} has {counts.size} discrete action factors; at most {_MOST_FACTORS} are supported")
    sizes = [int(n) for n in counts.reshape(-1)]
    kind = action.dtype

    def decode(actions: Array) -> list[Any]:
        return list((_within(actions, sizes, agent).reshape(-1, *counts.shape) + start).astype(kind))

    layout = Layout(shape=shape, dtype=dtype, fields=fields, actions=sizes)
    return Translation(layout, decode, start.astype(kind), flatten)


def _ranges(agent: str, action: spaces.Box, shape: list[int], dtype: Any, fields: list[ObservationField], flatten: bool) -> Translation:
    low, high = action.low.reshape(-1).astype(np.float64), action.high.reshape(-1).astype(np.float64)
    if action.dtype is None or not np.issubdtype(action.dtype, np.floating):
        raise ConfigurationError(f"{agent} has the action space {_name(action)}: a Box of whole numbers; use MultiDiscrete")
    if not bool(np.all((np.abs(low) <= _BOUND) & (np.abs(high) <= _BOUND))):
        raise ConfigurationError(
            f"{agent} has the unbounded action space {_name(action)}: wrap it with finite bounds (gymnasium.wrappers.RescaleAction)"
        )
    if low.size > _MOST_AXES:
        raise ConfigurationError(f"{agent} has {low.size} continuous actions; at most {_MOST_AXES} are supported")
    kind, form, middle = action.dtype, action.shape, (low + high) / 2

    def decode(actions: Array) -> list[Any]:
        # An agent whose learning has diverged must not end the episodes of all: what is no number counts as no action.
        within = np.where(np.isnan(actions), middle, np.clip(actions, low, high))
        return list(within.astype(kind).reshape(-1, *form))

    layout = Layout(shape=shape, dtype=dtype, fields=fields, low=low.tolist(), high=high.tolist())
    return Translation(layout, decode, middle.astype(kind).reshape(form), flatten)
