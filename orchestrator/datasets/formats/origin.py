"""What a dataset in the format of another library says about where it comes from, so that it can become the same dataset again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from protocols.datasets.manifest import DatasetEnvironment, DatasetError, Manifest
from protocols.datasets.shard_episodes import ShardEpisode
from protocols.runtime.errors import ResourceError
from protocols.spaces.layout import Layout

Array = NDArray[Any]
KEY = "murmuration"
"""key of the metadata of an exported dataset that has its `Origin`, as JSON"""


class Origin(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The parts of the manifest that the other format has no place for."""

    environment: DatasetEnvironment
    seed: int
    layouts: dict[str, Layout]
    """by agent, in the order of the shards"""
    behaviours: list[tuple[str, str]]
    """names and policies"""

    @classmethod
    def of(cls, manifest: Manifest) -> Origin:
        """Of a dataset that is exported."""
        return cls(
            environment=manifest.environment,
            seed=manifest.seed,
            layouts={shard.agent: shard.layout for shard in manifest.shards},
            behaviours=[(behaviour.name, behaviour.policy) for behaviour in manifest.behaviours],
        )

    def text(self) -> str:
        """As JSON."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def parse(cls, metadata: Mapping[str, Any], where: str) -> Origin | None:
        """From the metadata of a dataset; None where it was not exported from one of ours. `DatasetError` for a damaged one."""
        if KEY not in metadata:
            return None
        try:
            return msgspec.json.decode(metadata[KEY], type=cls)
        except (msgspec.DecodeError, TypeError) as error:
            raise DatasetError(f"{where}: {KEY}: {error}; export the dataset anew") from None


class ImportedDataset(Protocol):
    """A dataset of another format that is read."""

    origin: Origin | None
    behaviours: list[tuple[str, str]]
    """names and policies, in the order of the episodes"""

    def episodes(self, layouts: Mapping[str, Layout]) -> Iterator[dict[str, ShardEpisode]]:
        """Episodes with rising numbers, as agents with these layouts saw them. `DatasetError` with the place and the cure where they are
        not of these agents and layouts."""
        ...


def need(module: str, extra: str) -> Any:
    """The module of an optional package. `ResourceError` with the command that installs it."""
    try:
        return import_module(module)
    except ImportError:
        raise ResourceError(f"it needs the package {module.partition('.')[0]}: pip install 'murmuration-rl[{extra}]'") from None


_CURE = "name the environment of the dataset, with its options: --environment CONFIG"


def fitted_observations(observation: Array, layout: Layout, where: str) -> Array:
    """Observations `[n, ...]` in the shape and type of the layout. `DatasetError` where they have other sizes."""
    bytes_ = layout.dtype == "u1"
    shape = list(observation.shape[1:])
    if (shape != layout.shape or observation.dtype != np.uint8) if bytes_ else np.prod(shape) != np.prod(layout.shape):
        raise DatasetError(f"{where}: they are {observation.dtype}{shape}, and the environment has {layout.dtype}{layout.shape}; {_CURE}")
    return observation.reshape(-1, *layout.shape).astype(np.uint8 if bytes_ else np.float32)


def fitted_actions(action: Array, layout: Layout, moved: bool, where: str) -> Array:
    """Actions `[T]` or `[T, A]` in the type of the layout; with `moved`, continuous ones at the nearest bound, as the environment server
    applies them. `DatasetError` where they have other sizes or choices."""
    size = len(layout.actions) or len(layout.low)
    action = action.reshape(len(action), -1)
    if action.shape[1] != size or (action.dtype.kind in "iub") != bool(layout.actions):
        kind = f"discrete {layout.actions}" if layout.actions else f"continuous [{size}]"
        raise DatasetError(f"{where}: they are {action.dtype}[{action.shape[1]}], and the environment has {kind}; {_CURE}")
    if layout.actions:
        if ((action < 0) | (action >= np.array(layout.actions))).any():
            raise DatasetError(f"{where}: a choice is not one of {layout.actions}; {_CURE}")
        return action.astype(np.int32)
    return (np.clip(action, layout.low, layout.high) if moved else action).astype(np.float32)
