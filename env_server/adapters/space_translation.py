"""From Gymnasium's spaces to the layout of the wire, and back to the actions an environment expects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.spaces.utils import flatten

from env_server.adapters.image_observations import ImageEncoder, is_image
from env_server.adapters.observation_flattening import MOST_FIELDS, fields_of, flattened_layout, short_name
from env_server.environments.environment_contracts import Array
from env_server.settings import ImageSettings
from protocols.runtime.errors import ConfigurationError
from protocols.spaces.layout import Layout, ObservationField

_MOST_FACTORS = 64
_MOST_AXES = 256
_BOUND = 1e12
MASK = "action_mask"
"""entry of dictionary observations, or of infos, with the action mask: the convention of PettingZoo and Gymnasium"""
Encoder = Callable[[Any, Mapping[str, Any]], Any] | None


@dataclass(frozen=True)
class Translation:
    """Layout of one agent, its actions on the environment's side, and the action of who does nothing."""

    layout: Layout
    decode: Callable[[Array], list[Any]]
    """`[K, A]` i4 or f4 to K actions of the environment's own kind. Discrete ones outside their range are a `ValueError`; continuous ones
    are moved to the nearest bound, NaN to the middle"""
    null: Any
    """action 0 of every discrete factor, the middle of every continuous range"""
    encode: Encoder
    """from an observation of the environment's own kind, and its info, to the array of the layout, or to one frame of it; None: the
    observation is that array"""
    frames: int = 1
    """frames of images that are stacked along the last axis of the layout's array"""


def observes_mask(observation: spaces.Space[Any]) -> bool:
    """Whether the observation is a dictionary with the entry `action_mask`."""
    return isinstance(observation, spaces.Dict) and MASK in observation.spaces


def translate(
    agent: str,
    observation: spaces.Space[Any],
    action: spaces.Space[Any],
    mask_in_info: bool = False,
    images: ImageSettings | None = None,
) -> Translation:
    """The layout that belongs to an agent's spaces, `images` prepared by these settings or the default ones; `ConfigurationError` for
    spaces that do not fit.

    An action mask stands behind the observation, which becomes a vector of f4. It is the entry `action_mask` of the observation, or with
    `mask_in_info` that of infos (all ones where an info has none): for Discrete(n) n numbers, for MultiDiscrete n_1 + ... + n_A, as one
    array or as one for each factor. Continuous actions have no mask."""
    choices = _choices(action)
    if choices and (observes_mask(observation) or mask_in_info):
        return _actions(agent, *_masked(agent, observation, choices), action)
    if is_image(observation):
        images = images or ImageSettings()
        encoder = ImageEncoder(agent, observation, images)
        layout = Layout(shape=[*encoder.shape[:2], encoder.shape[2] * images.frame_stack], dtype="u1")
        return replace(_actions(agent, layout, encoder, action), frames=images.frame_stack)
    return _actions(agent, *_observation(agent, observation), action)


def _actions(agent: str, layout: Layout, encode: Encoder, action: spaces.Space[Any]) -> Translation:
    """The translation with that layout of observations."""
    if isinstance(action, spaces.Discrete):
        return _factors(agent, layout, encode, np.array(action.n), np.array(action.start), None)
    if isinstance(action, spaces.MultiDiscrete):
        return _factors(agent, layout, encode, np.asarray(action.nvec), np.asarray(action.start), action.dtype)
    if isinstance(action, spaces.MultiBinary):
        return _factors(agent, layout, encode, np.full(action.shape, 2), np.zeros(action.shape, np.int64), action.dtype)
    if isinstance(action, spaces.Box):
        return _ranges(agent, layout, encode, action)
    raise ConfigurationError(
        f"{agent} has the action space {short_name(action)}; supported are Discrete, MultiDiscrete, MultiBinary and bounded Box: "
        "wrap the environment so that its actions are one of these"
    )


def _choices(action: spaces.Space[Any]) -> int:
    """Components of the mask of these actions: choices of all discrete factors; 0 for continuous actions."""
    if isinstance(action, spaces.Discrete):
        return int(action.n)
    if isinstance(action, spaces.MultiDiscrete):
        return int(np.sum(action.nvec))
    return 2 * prod(action.shape) if isinstance(action, spaces.MultiBinary) else 0


def _masked(agent: str, space: spaces.Space[Any], choices: int) -> tuple[Layout, Encoder]:
    """(layout without actions, encoder) of a vector with the mask of so many choices at its end."""
    inside = isinstance(space, spaces.Dict) and MASK in space.spaces
    if isinstance(space, spaces.Dict) and inside:
        size = _entries(space[MASK])
        if size != choices:
            text = f"{agent} observes an {MASK} of {size} numbers ({short_name(space[MASK])}), and its actions have {choices} choices"
            raise ConfigurationError(f"{text}: give one number for each choice")
        space = spaces.Dict({key: inner for key, inner in space.spaces.items() if key != MASK})
    layout = flattened_layout(agent, space)
    (size,) = layout.shape
    fields = layout.fields if len(layout.fields) < MOST_FIELDS else [ObservationField("", 0, size)]
    layout.shape, layout.mask = [size + choices], True
    layout.fields = [*fields, ObservationField(MASK, size, choices, low=0.0, high=1.0)]

    def encode(observation: Any, info: Mapping[str, Any]) -> Array:
        encoded = np.ones(size + choices, np.float32)
        encoded[:size] = np.asarray(flatten(space, observation))
        mask = observation[MASK] if inside else info.get(MASK)
        if mask is not None:
            encoded[size:] = mask_vector(mask)
        return encoded

    return layout, encode


def _entries(space: spaces.Space[Any]) -> int:
    """Numbers in a mask of this space."""
    if isinstance(space, spaces.Tuple):
        return sum(map(_entries, space.spaces))
    return prod(space.shape or ())


def mask_vector(mask: Any) -> Array:
    """A mask as one vector: an array, or a sequence of arrays, one for each factor."""
    return mask.reshape(-1) if isinstance(mask, np.ndarray) else np.concatenate([np.ravel(part) for part in mask])


def _observation(agent: str, space: spaces.Space[Any]) -> tuple[Layout, Encoder]:
    """(layout without actions, encoder) of what is no image: bytes stay as they are, all else becomes a vector of f4."""
    if not isinstance(space, spaces.Box):
        return flattened_layout(agent, space), lambda observation, info: flatten(space, observation)
    if space.dtype == np.uint8:
        if len(space.shape) > 4:
            raise ConfigurationError(f"{agent} observes bytes of {len(space.shape)} axes ({short_name(space)}); at most 4 are supported")
        return Layout(shape=list(space.shape), dtype="u1"), None
    size = int(np.prod(space.shape, dtype=int))
    if size == 0:
        raise ConfigurationError(f"{agent} observes nothing ({short_name(space)}): leave this agent out or choose another option")
    encode: Encoder = None if len(space.shape) == 1 else lambda observation, info: np.ravel(observation)
    if size > MOST_FIELDS:
        return Layout(shape=[size], fields=[ObservationField("", 0, size)]), encode
    return Layout(shape=[size], fields=fields_of("", 0, space.low, space.high)), encode


def _factors(agent: str, layout: Layout, encode: Encoder, counts: Array, start: Array, kind: Any) -> Translation:
    """`kind`: dtype of the environment's arrays of actions; None: its actions are numbers."""
    if counts.size > _MOST_FACTORS:
        raise ConfigurationError(f"{agent} has {counts.size} discrete action factors; at most {_MOST_FACTORS} are supported")
    layout.actions = [int(n) for n in counts.reshape(-1)]

    def decode(actions: Array) -> list[Any]:
        if actions.min() < 0 or bool((actions >= np.array(layout.actions)).any()):
            raise ValueError(f"{agent} sent an action outside its range: factors have {layout.actions} values, counted from 0")
        shifted = actions.reshape(-1, *counts.shape) + start
        return list(shifted.tolist() if kind is None else shifted.astype(kind))

    return Translation(layout, decode, int(start) if kind is None else start.astype(kind), encode)


def _ranges(agent: str, layout: Layout, encode: Encoder, action: spaces.Box) -> Translation:
    low, high = action.low.reshape(-1).astype(np.float64), action.high.reshape(-1).astype(np.float64)
    if action.dtype is None or not np.issubdtype(action.dtype, np.floating):
        raise ConfigurationError(f"{agent} has the action space {short_name(action)}: a Box of whole numbers; use MultiDiscrete")
    if not bool(np.all((np.abs(low) <= _BOUND) & (np.abs(high) <= _BOUND))):
        raise ConfigurationError(
            f"{agent} has the unbounded action space {short_name(action)}; give the environment's own action_space finite low and "
            "high, or name a function in environment.wrappers that does, for example def bounded(env): return "
            "gymnasium.wrappers.TransformAction(env, lambda action: action, gymnasium.spaces.Box(-1, 1, env.action_space.shape))"
        )
    if low.size > _MOST_AXES:
        raise ConfigurationError(f"{agent} has {low.size} continuous actions; at most {_MOST_AXES} are supported")
    kind, form, middle = action.dtype, action.shape, (low + high) / 2

    def decode(actions: Array) -> list[Any]:
        # An agent whose learning has diverged must not end the episodes of all: what is no number counts as no action.
        within = np.where(np.isnan(actions), middle, np.clip(actions, low, high))
        return list(within.astype(kind).reshape(-1, *form))

    layout.low, layout.high = low.tolist(), high.tolist()
    return Translation(layout, decode, middle.astype(kind).reshape(form), encode)
