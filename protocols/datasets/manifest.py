"""The manifest of a dataset: what was recorded, how, and the digest of every file.

DATASET/manifest.json
DATASET/agent-0/00000.safetensors, 00001.safetensors, ...
DATASET/agent-1/...
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta

from protocols.runtime.errors import ResourceError
from protocols.spaces.layout import Layout

MANIFEST = "manifest.json"
QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)
_Number = Annotated[int, Meta(ge=0, le=2**62)]
_Digest = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class DatasetError(ResourceError):
    """A dataset cannot be used; the text names the file, the field and the cure."""


class ReturnStatistics(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Statistics of episode returns. The return of an episode is the mean over its members of the undiscounted sums of their rewards, so
    that numbers of agents can be compared."""

    mean: float
    std: float
    """of the population"""
    quantiles: Annotated[list[float], Meta(min_length=len(QUANTILES), max_length=len(QUANTILES))]
    """at 0, 1/4, 1/2, 3/4 and 1"""

    @classmethod
    def of(cls, returns: Sequence[float]) -> ReturnStatistics:
        """Statistics of at least one return."""
        values = np.asarray(returns, np.float64)
        return cls(mean=float(values.mean()), std=float(values.std()), quantiles=[float(q) for q in np.quantile(values, QUANTILES)])


class Behaviour(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Episodes that one policy played."""

    name: Annotated[str, Meta(min_length=1, max_length=64)]
    """quality of the data, for example random, medium, expert"""
    policy: Annotated[str, Meta(max_length=1000)]
    """what acted, as given to `orchestrate dataset make`"""
    episodes: Annotated[int, Meta(ge=1)]
    steps: _Number
    """transitions of all agents together"""
    returns: ReturnStatistics


class PartFile(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One file of a shard: whole episodes."""

    file: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]+/[0-9]{5,}\.safetensors$")]
    """relative to the manifest"""
    sha256: _Digest
    size: _Number
    """bytes"""
    episodes: _Number
    steps: _Number


class Shard(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What one agent saw, did and was paid."""

    agent: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
    layout: Layout
    episodes: _Number
    steps: _Number
    returns: list[float | None]
    """mean sum of its own rewards by behaviour; null where it was a member of none of its episodes"""
    parts: list[PartFile]


class DatasetEnvironment(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The environment that was played, as the section `environment` of a configuration."""

    id: str
    options: dict[str, Any] = {}
    wrappers: list[Any] = []
    images: dict[str, Any] = {}


class Manifest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Everything about a dataset but its arrays."""

    format: Literal["murmuration-dataset"] = "murmuration-dataset"
    version: Literal[1] = 1
    environment: DatasetEnvironment
    rewards: Literal["own"] = "own"
    """each agent's shard has the rewards that the environment paid to it; see `ReturnStatistics` for the return of an episode"""
    seed: _Number
    episodes: _Number
    steps: _Number
    """transitions of all agents together"""
    software: dict[str, str] = {}
    """versions by package"""
    behaviours: Annotated[list[Behaviour], Meta(min_length=1)]
    shards: Annotated[list[Shard], Meta(min_length=1)]
    digest: str = ""
    """SHA-256 of this manifest with an empty digest"""

    @property
    def agents(self) -> tuple[str, ...]:
        """Names of the agents, one for each shard."""
        return tuple(shard.agent for shard in self.shards)

    def shard(self, agent: str) -> Shard:
        """The shard of an agent. `DatasetError` where it has no shard."""
        for shard in self.shards:
            if shard.agent == agent:
                return shard
        raise DatasetError(f"{MANIFEST}: shards: {agent} has no shard, only {', '.join(self.agents)}; name one of these agents")

    def computed_digest(self) -> str:
        """What `digest` must be."""
        return sha256(msgspec.json.encode(msgspec.structs.replace(self, digest=""), order="deterministic")).hexdigest()

    def differences(self, environment: DatasetEnvironment, layouts: Mapping[str, Layout]) -> list[str]:
        """Why agents with these `layouts` in this environment cannot learn from the dataset: sentences with a field and a cure."""
        found = []
        own, options = self.environment, environment.options
        if environment.id != own.id:
            text = f"the dataset was recorded in {own.id}, and this is {environment.id}"
            found.append(f"environment.id: {text}; write environment.id: {own.id}")
        elif options != own.options:
            names = sorted({name for name in {**options, **own.options} if options.get(name) != own.options.get(name)})
            text = ", ".join(f"{name} = {own.options.get(name, 'the default')}" for name in names)
            found.append(f"environment.options: the dataset was recorded with {text}; write the same options")
        for name in ("wrappers", "images"):
            if (mine := getattr(own, name)) != getattr(environment, name):
                found.append(f"environment.{name}: the dataset was recorded with {_short(mine)}; write the same")
        if missing := sorted(set(layouts) - set(self.agents)):
            cure = f"write agents.count: {len(self.agents)}, or make a dataset of {len(layouts)} agents"
            found.append(f"shards: the dataset has {len(self.agents)} agents, and none is {', '.join(missing)}; {cure}")
        for agent, layout in layouts.items():
            if agent in self.agents and (text := layout_difference(self.shard(agent).layout, layout)):
                found.append(f"shards.{agent}.layout.{text}; use the dataset's environment options, or make another dataset")
                break
        return found


def layout_difference(stored: Layout, given: Layout) -> str:
    """The first field in which observations or actions differ; empty where they are the same. Goals and reward maps do not count."""
    for name in ("shape", "dtype", "actions", "low", "high", "mask", "grid", "fields"):
        if (mine := getattr(stored, name)) != (other := getattr(given, name)):
            return f"{name}: the dataset has {_short(mine)}, and the environment {_short(other)}"
    return ""


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def read_manifest(directory: Path) -> Manifest:
    """The manifest in a dataset's directory. `DatasetError` where it is missing, of another format, or changed since it was written."""
    path = directory / MANIFEST
    try:
        content = path.read_bytes()
    except OSError as error:
        text = f"{path}: {error.strerror}"
        raise DatasetError(f"{text}; name the directory of a dataset (orchestrate dataset make writes one)") from None
    try:
        manifest = msgspec.json.decode(content, type=Manifest)
    except msgspec.DecodeError as error:
        raise DatasetError(f"{path}: {error}; the file is damaged or of another version: make the dataset anew") from None
    if manifest.digest != manifest.computed_digest():
        raise DatasetError(f"{path}: digest: it is not that of the content, which was changed or cut; restore the file")
    if len(set(manifest.agents)) < len(manifest.shards):
        raise DatasetError(f"{path}: shards: two have the same agent; make the dataset anew")
    return manifest


def write_manifest(directory: Path, manifest: Manifest) -> Manifest:
    """Write the manifest with its digest, which the returned one has."""
    sealed = msgspec.structs.replace(manifest, digest=manifest.computed_digest())
    (directory / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(sealed, order="deterministic"), indent=1) + b"\n")
    return sealed
