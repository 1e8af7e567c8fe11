"""Dictionaries, tuples and discrete values as one vector of numbers: what `gymnasium.spaces.utils.flatten` returns, and its layout."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.spaces.utils import flatdim

from env_server.environments.environment_contracts import Array
from protocols.runtime.errors import ConfigurationError
from protocols.spaces.layout import Layout, ObservationField

MOST_FIELDS = 256
"""fields of a layout; components of longer vectors share fields"""
_MOST_NUMBERS = 2**18
"""components of a flattened observation"""
_MOST_BOUND = 1e6
"""bounds beyond it stand for none"""
_LONGEST_NAME = 64


def fields_of(name: str, start: int, low: Array, high: Array) -> list[ObservationField]:
    """One field for each component, from the bounds `[n]` of all; bounds that are not finite or very large are left out."""
    fields = [ObservationField(name[:_LONGEST_NAME], start + i, 1) for i in range(low.size)]
    for field, least, most in zip(fields, low.reshape(-1).tolist(), high.reshape(-1).tolist(), strict=True):
        if -_MOST_BOUND <= least < most <= _MOST_BOUND:
            field.low, field.high = least, most
    return fields


def flattened_layout(agent: str, space: spaces.Space[Any]) -> Layout:
    """The layout of the vector that `gymnasium.spaces.utils.flatten(space, observation)` returns.

    Discrete and MultiDiscrete values are one-hot, MultiBinary values and boxes follow in row-major order, entries of a Dict in the order of
    the space. Fields carry the path of their entry (`inventory/keys`, indices for a Tuple). One field is one component, or a whole entry
    where there would be more than 256 fields; an entry has bounds then if all of its components have the same.
    `ConfigurationError` for other spaces, and for more than 262144 components.
    """
    leaves = list(_leaves(agent, space, space, ()))
    size = sum(_size(leaf) for _, leaf in leaves)
    if size == 0:
        raise ConfigurationError(f"{agent} observes nothing ({short_name(space)}): leave this agent out or choose another option")
    if size > _MOST_NUMBERS:
        text = f"{agent} has the observation space {short_name(space)}, which is {size} numbers as one vector (discrete values are one-hot)"
        raise ConfigurationError(f"{text}; at most {_MOST_NUMBERS} are supported: wrap the environment so that it observes less")
    fields: list[ObservationField] = []
    start = 0
    for name, leaf in leaves:
        low, high = _bounds(leaf)
        if size <= MOST_FIELDS:
            fields += fields_of(name, start, low, high)
        elif low.size:
            (field,) = fields_of(name, start, low[:1], high[:1])
            field.size = low.size
            if (low != low[0]).any() or (high != high[0]).any():
                field.low = field.high = 0.0
            fields.append(field)
        start += low.size
    return Layout(shape=[size], fields=fields if len(fields) <= MOST_FIELDS else [ObservationField("", 0, size)])


def short_name(space: Any) -> str:
    """The text of a space, cut to 120 characters."""
    text = str(space)
    return text if len(text) <= 120 else text[:117] + "..."


def _leaves(
    agent: str, whole: spaces.Space[Any], space: spaces.Space[Any], path: tuple[str, ...]
) -> Iterator[tuple[str, spaces.Space[Any]]]:
    """(path, space) of every entry, in the order of the flattened vector."""
    if isinstance(space, spaces.Dict):
        for key, inner in space.spaces.items():
            yield from _leaves(agent, whole, inner, (*path, str(key)))
    elif isinstance(space, spaces.Tuple):
        for index, inner in enumerate(space.spaces):
            yield from _leaves(agent, whole, inner, (*path, str(index)))
    elif isinstance(space, (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)):
        yield "/".join(path), space
    else:
        entry = f" with the entry {'/'.join(path)}, {short_name(space)}" if path else ""
        raise ConfigurationError(
            f"{agent} has the observation space {short_name(whole)}{entry}; supported are Box, Discrete, MultiDiscrete, MultiBinary, and "
            "Dict and Tuple of these: leave entries of other spaces out by a wrapper, for example "
            "environment.wrappers: [{of: gymnasium.wrappers:FilterObservation, arguments: {filter_keys: [...]}}]"
        )


def _size(space: spaces.Space[Any]) -> int:
    """Components of one entry in the flattened vector."""
    return prod(space.shape) if isinstance(space, spaces.Box) else flatdim(space)


def _bounds(space: spaces.Space[Any]) -> tuple[Array, Array]:
    """Bounds `[n]` of one entry's components in the flattened vector."""
    if isinstance(space, spaces.Box):
        return space.low.reshape(-1).astype(np.float64), space.high.reshape(-1).astype(np.float64)
    size = _size(space)
    return np.zeros(size), np.ones(size)
