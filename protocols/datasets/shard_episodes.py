"""One agent's part of an episode, and files of many such parts.

A file holds E episodes one behind another. With T_e steps of the agent in episode e and S = sum T_e:

    episode          [E] i8          number, by which the shards of a dataset are joined
    behaviour        [E] i4          place in `Manifest.behaviours`
    steps            [E] i8          T_e
    terminated       [E] bool        its part ended by its own outcome; otherwise it was truncated, and values bootstrap
    observation      [S + E, ...]    T_e + 1 of each episode, u1 where all numbers of the file are 0, 1, ... or 255, otherwise f4; action
                                     masks are their last components
    action           [S, A]          i4 choices of discrete factors, or f4
    reward           [S] f4
    moment           [S] i4          step of the whole episode at which the agent acted (agents that take turns skip some)
    log_probability  [S] f4          ln b(action | observation) of the policy that acted; NaN where it is unknown
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from protocols.datasets.manifest import DatasetError
from protocols.spaces.layout import Layout

Array = NDArray[Any]
CURE = "copy the file again, or make the dataset anew"


@dataclass
class ShardEpisode:
    """One agent's part of one episode of T steps."""

    number: int
    behaviour: int
    observation: Array
    """`[T + 1, *layout.shape]`"""
    action: Array
    """`[T, A]`"""
    reward: NDArray[np.float32]
    """`[T]`"""
    terminated: bool
    moment: NDArray[np.int32]
    """`[T]`"""
    log_probability: NDArray[np.float32]
    """`[T]`"""

    @property
    def steps(self) -> int:
        """T."""
        return len(self.reward)

    @property
    def truncated(self) -> bool:
        """Its part was cut off by a limit."""
        return not self.terminated

    @property
    def total_reward(self) -> float:
        """Undiscounted sum of the rewards."""
        return float(self.reward.sum(dtype=np.float64))

    @property
    def size(self) -> int:
        """Bytes of its arrays."""
        return sum(array.nbytes for array in (self.observation, self.action, self.reward, self.moment, self.log_probability))


def encode_part(episodes: Sequence[ShardEpisode]) -> bytes:
    """A file of at least one episode."""

    def joined(name: str) -> Array:
        return np.concatenate([getattr(episode, name) for episode in episodes])

    observation = joined("observation")
    if observation.dtype != np.uint8 and ((observation >= 0) & (observation <= 255) & (observation == np.floor(observation))).all():
        observation = observation.astype(np.uint8)
    return bytes(
        save(
            {
                "observation": observation,
                "episode": np.array([episode.number for episode in episodes], np.int64),
                "behaviour": np.array([episode.behaviour for episode in episodes], np.int32),
                "steps": np.array([episode.steps for episode in episodes], np.int64),
                "terminated": np.array([episode.terminated for episode in episodes], bool),
                **{name: joined(name) for name in ("action", "reward", "moment", "log_probability")},
            }
        )
    )


def decode_part(content: bytes, layout: Layout, behaviours: int, file: str) -> Iterator[ShardEpisode]:
    """The episodes of a file. `DatasetError` where an array is missing, or is not what the layout states."""
    try:
        found: dict[str, Array] = load(content)
    except SafetensorError as error:
        raise DatasetError(f"{file}: it is no whole safetensors file ({error}); {CURE}") from None
    steps = found.get("steps", np.zeros(0, np.int64))
    count, total = len(steps), int(steps.sum()) if steps.ndim == 1 and steps.dtype == np.int64 else -1
    size = len(layout.actions) or len(layout.low)
    bytes_ = layout.dtype == "u1" or ("observation" in found and found["observation"].dtype == np.uint8)
    expected: dict[str, tuple[tuple[int, ...], Any]] = {
        "episode": ((count,), np.int64),
        "behaviour": ((count,), np.int32),
        "steps": ((count,), np.int64),
        "terminated": ((count,), np.bool_),
        "observation": ((total + count, *layout.shape), np.uint8 if bytes_ else np.float32),
        "action": ((total, size), np.int32 if layout.actions else np.float32),
        "reward": ((total,), np.float32),
        "moment": ((total,), np.int32),
        "log_probability": ((total,), np.float32),
    }
    for name, (shape, dtype) in expected.items():
        array = found.get(name)
        if array is None:
            raise DatasetError(f"{file}: {name} is missing; {CURE}")
        if array.shape != shape or array.dtype != dtype:
            is_, must = f"{array.dtype}{list(array.shape)}", f"{np.dtype(dtype)}{list(shape)}"
            raise DatasetError(f"{file}: {name} is {is_}, and by the manifest's layout and its steps it must be {must}; {CURE}")
    found["observation"] = found["observation"].astype(np.uint8 if layout.dtype == "u1" else np.float32, copy=False)
    _check_values(found, layout, behaviours, file)
    ends = np.cumsum(steps)
    for row, (number, behaviour, length, end) in enumerate(
        zip(found["episode"].tolist(), found["behaviour"].tolist(), steps.tolist(), ends.tolist(), strict=True)
    ):
        part = slice(end - length, end)
        yield ShardEpisode(
            number, behaviour, found["observation"][end - length + row : end + row + 1], found["action"][part], found["reward"][part],
            bool(found["terminated"][row]), found["moment"][part], found["log_probability"][part],
        )  # fmt: skip


def _check_values(found: dict[str, Array], layout: Layout, behaviours: int, file: str) -> None:
    if (found["steps"] < 1).any():
        raise DatasetError(f"{file}: steps: an episode has none; {CURE}")
    if ((found["behaviour"] < 0) | (found["behaviour"] >= behaviours)).any():
        raise DatasetError(f"{file}: behaviour: a number is not of one of the manifest's {behaviours} behaviours; {CURE}")
    if (found["episode"] < 0).any():
        raise DatasetError(f"{file}: episode: a number is negative; {CURE}")
    begins = np.isin(np.arange(len(found["moment"])), np.cumsum(found["steps"]) - found["steps"])
    if ((found["moment"] < 0) | ((np.diff(found["moment"], prepend=-1) < 1) & ~begins)).any():
        raise DatasetError(f"{file}: moment: the steps of an episode do not rise from 0 or later; {CURE}")
    if np.isinf(found["log_probability"]).any():
        raise DatasetError(f"{file}: log_probability: a number is infinite; write NaN where it is unknown, and make the dataset anew")
    for name in ("observation", "reward") if layout.dtype == "f4" else ("reward",):
        if not np.isfinite(found[name]).all():
            raise DatasetError(f"{file}: {name}: a number is not finite; remove the episode, or make the dataset anew")
    action = found["action"]
    if layout.actions:
        if ((action < 0) | (action >= np.array(layout.actions))).any():
            raise DatasetError(f"{file}: action: a choice is not one of {layout.actions}; {CURE}")
    elif not np.isfinite(action).all():
        raise DatasetError(f"{file}: action: a number is not finite; remove the episode, or make the dataset anew")
