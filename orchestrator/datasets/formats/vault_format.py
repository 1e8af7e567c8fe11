"""Datasets as vaults of Flashbax, the format of OG-MARL: one vault for each behaviour, `OUTPUT/BEHAVIOUR`, with all T steps of its
episodes one behind another, of N agents:

    observations [1, T, N, ...]     actions [1, T, N] or [1, T, N, A]
    rewards [1, T, N]               terminals, truncations [1, T, N]: 1 at the last step of an episode
    infos.legals [1, T, N, C]       discrete actions: 1 for each choice that is legal
    infos.state [1, T, N D]         vector observations: those of all agents
    infos.final_observation, infos.log_probability, infos.episode    what the format has no place for; other readers ignore them

A vault is a directory of arrays that the library tensorstore reads and writes (driver zarr over ocdbt), with `metadata.json`. JAX is not
needed. Every agent takes part in every step of every episode, and all agents have one layout; other datasets are refused.
"""

from __future__ import annotations

import json
from ast import literal_eval
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.datasets.formats.origin import KEY, Origin, fitted_actions, fitted_observations, need
from orchestrator.datasets.recording import Progress
from protocols.datasets.dataset_reader import Dataset
from protocols.datasets.manifest import DatasetError, layout_difference
from protocols.datasets.shard_episodes import ShardEpisode
from protocols.runtime.errors import UsageError
from protocols.spaces.layout import Layout

Array = NDArray[Any]
EXTRA, METADATA, INDEX = "vault", "metadata.json", "vault_index"
VERSION = 1.2
"""of the format, as Flashbax 0.1.3 writes it; it reads every 1.x"""
LONGEST = 10**13
"""length of the time axis, which has no end"""
BLOCK = 2**14
"""steps that are read together"""
_LEAVES = ("observations", "actions", "rewards", "terminals", "truncations", "infos.legals", "infos.state", "infos.final_observation",
           "infos.log_probability", "infos.episode")  # fmt: skip


def _open(vault: Path, name: str, **more: Any) -> Any:
    """The array of that name. `DatasetError` where there is none."""
    store = need("tensorstore", EXTRA)
    spec = {"driver": "zarr", "kvstore": {"driver": "ocdbt", "base": f"file://{vault.resolve()}/", "path": name}}
    if more.pop("compressed", False):
        spec["metadata"] = {"compressor": {"id": "gzip", "level": 5}}
    try:
        return store.open(spec, **more).result()
    except ValueError as error:
        raise DatasetError(f"{vault}: {name.rstrip('.')} can't be read ({str(error)[:200]}); restore the vault") from None


def export_vault(dataset: Dataset, output: Path, progress: Progress) -> None:
    """Write all of `dataset` below `output`. `UsageError` where a vault can't hold it."""
    manifest = dataset.manifest
    first, *others = manifest.shards
    for other in others:
        if text := layout_difference(first.layout, other.layout):
            raise UsageError(_refused(dataset, f"{other.agent} differs from {first.agent} in {text.partition(':')[0]}", "one layout"))
    origin, agents = Origin.of(manifest), manifest.agents
    writers: dict[int, _VaultWriter] = {}
    for done, parts in enumerate(dataset.joined()):
        one = next(iter(parts.values()))
        whole = len(parts) == len(agents) and all(np.array_equal(part.moment, np.arange(one.steps)) for part in parts.values())
        if not whole or len({part.terminated for part in parts.values()}) > 1:
            text = f"episode {one.number} has steps in which an agent does not act, or ends for some agents only"
            raise UsageError(_refused(dataset, text, "every agent in every step"))
        if one.behaviour not in writers:
            writers[one.behaviour] = _VaultWriter(output / manifest.behaviours[one.behaviour].name, origin, first.layout, len(agents))
        writers[one.behaviour].add([parts[agent] for agent in agents])
        progress("export", done + 1, manifest.episodes)
    for writer in writers.values():
        writer.close()


def _refused(dataset: Dataset, text: str, rule: str) -> str:
    return f"{dataset.directory}: {text}, and a vault has {rule}; export it with --format minari"


class _VaultWriter:
    """One vault. Rows are written in whole chunks, since a chunk that is written twice is stored twice."""

    def __init__(self, vault: Path, origin: Origin, layout: Layout, agents: int) -> None:
        vault.mkdir(parents=True)
        self._vault, self._origin, self._layout, self._agents = vault, origin, layout, agents
        self._arrays: dict[str, Any] = {}
        self._waiting: dict[str, list[Array]] = {}
        self._written: dict[str, int] = {}
        self._steps = 0

    def add(self, parts: Sequence[ShardEpisode]) -> None:
        """An episode of all agents."""
        for name, rows in self._rows(parts).items():
            if name not in self._arrays:
                shape = (1, LONGEST, *rows.shape[1:])
                self._arrays[name] = _open(self._vault, f"{name}.", shape=shape, dtype=rows.dtype, create=True, compressed=True)
                self._waiting[name], self._written[name] = [], 0
            self._waiting[name].append(rows)
            self._write(name, self._arrays[name].chunk_layout.write_chunk.shape[1])
        self._steps += parts[0].steps

    def _rows(self, parts: Sequence[ShardEpisode]) -> dict[str, Array]:
        """Arrays `[T, ...]` by name."""
        layout, steps = self._layout, parts[0].steps
        whole = np.stack([part.observation for part in parts], axis=1)
        seen = whole[:-1, ..., : layout.shape[-1] - layout.mask_size]
        last, ends = np.arange(steps) == steps - 1, np.zeros((steps, self._agents), np.float32)
        ends[-1] = 1
        final = np.zeros_like(whole[:-1])
        final[last] = whole[-1]
        action = np.stack([part.action for part in parts], axis=1)
        rows = {
            "observations": seen, "actions": action[..., 0] if len(layout.actions) == 1 else action,
            "rewards": np.stack([part.reward for part in parts], axis=1),
            "terminals": ends * parts[0].terminated, "truncations": ends * (not parts[0].terminated),
            "infos.final_observation": final, "infos.episode": np.full(steps, parts[0].number, np.int64),
            "infos.log_probability": np.stack([part.log_probability for part in parts], axis=1),
        }  # fmt: skip
        if layout.actions:
            masked = whole[:-1, ..., layout.shape[-1] - layout.mask_size :]
            rows["infos.legals"] = masked if layout.mask else np.ones((steps, self._agents, sum(layout.actions)), np.float32)
        if layout.dtype == "f4":
            rows["infos.state"] = seen.reshape(steps, -1)
        return rows

    def _write(self, name: str, chunk: int) -> None:
        """What fills whole chunks."""
        waiting = self._waiting[name]
        count = sum(map(len, waiting)) // chunk * chunk
        if count:
            rows, start = np.concatenate(waiting), self._written[name]
            self._arrays[name][:, start : start + count].write(rows[None, :count]).result()
            self._waiting[name], self._written[name] = [rows[count:]], start + count

    def close(self) -> None:
        """Write what is left, the number of steps, and the metadata."""
        for name in self._arrays:
            self._write(name, 1)
        _open(self._vault, INDEX, shape=(1,), dtype=np.int32, create=True).write(np.array([self._steps], np.int32)).result()
        shapes: dict[str, Any] = {}
        types: dict[str, Any] = {}
        for name, array in self._arrays.items():
            *way, leaf = name.split(".")
            for tree, value in ((shapes, str((1, self._steps, *array.shape[2:]))), (types, array.dtype.name)):
                for key in way:
                    tree = tree.setdefault(key, {})
                tree[leaf] = value
        metadata = {"version": VERSION, "structure_shape": shapes, "structure_dtype": types, KEY: self._origin.text()}
        (self._vault / METADATA).write_text(json.dumps(metadata))


def _vaults(path: Path) -> list[Path]:
    """The vault at `path`, or those in it, by name."""
    places = [path] if (path / METADATA).is_file() else sorted(place for place in path.glob("*") if (place / METADATA).is_file())
    return [place for place in places if b'"structure_shape"' in (place / METADATA).read_bytes()]


def is_vault(path: Path) -> bool:
    """Whether a directory is a vault, or has vaults."""
    return bool(_vaults(path))


class VaultSource:
    """The vaults of a dataset: those that were exported, or those of OG-MARL, in which the final observation of an episode is missing."""

    def __init__(self, path: Path) -> None:
        self._vaults = {vault.name: vault for vault in _vaults(path)}
        self._metadata: dict[str, Any] = {}
        for name, vault in self._vaults.items():
            try:
                self._metadata[name] = json.loads((vault / METADATA).read_text())
            except (OSError, ValueError) as error:
                raise DatasetError(f"{vault / METADATA}: it can't be read ({error}); restore the vault") from None
        where = str(path / METADATA)
        self.origin = Origin.parse(next(iter(self._metadata.values())), where)
        self.behaviours = [(name, f"{vault.parent.name}/{name}") for name, vault in self._vaults.items()]
        if self.origin:
            self.behaviours = self.origin.behaviours
            if missing := [name for name, _ in self.behaviours if name not in self._vaults]:
                raise DatasetError(f"{path}: it was exported with {', '.join(missing)}, which is not there; export the dataset anew")

    def episodes(self, layouts: Mapping[str, Layout]) -> Iterator[dict[str, ShardEpisode]]:
        """All episodes; see `ImportedDataset`."""
        following = 0
        for behaviour, (name, _) in enumerate(self.behaviours):
            for number, parts in self._episodes(self._vaults[name], self._metadata[name], layouts):
                following = number if number >= 0 else following
                yield {agent: ShardEpisode(following, behaviour, *arrays) for agent, arrays in zip(layouts, parts, strict=True)}
                following += 1

    def _episodes(self, vault: Path, metadata: Mapping[str, Any], layouts: Mapping[str, Layout]) -> Iterator[tuple[int, list[Any]]]:
        """Numbers (-1: unknown) and arrays of each agent."""
        shapes = metadata["structure_shape"]
        names = {f"{key}.{leaf}" for key, value in shapes.items() if isinstance(value, dict) for leaf in value} | set(shapes)
        for name in _LEAVES[:5]:
            if name not in names:
                raise DatasetError(f"{vault / METADATA}: structure_shape.{name} is missing; OG-MARL's vaults have it: restore the vault")
        if (found := literal_eval(shapes["observations"])[2]) != len(layouts):
            text = f"structure_shape.observations has {found} agents, not {len(layouts)}; write agents.count: {found}"
            raise DatasetError(f"{vault / METADATA}: {text}")
        arrays = {name: _open(vault, f"{name}.") for name in _LEAVES if name in names}
        steps = int(_open(vault, INDEX).read().result()[0])

        def read(name: str, start: int, end: int) -> Array:
            rows: Array = arrays[name][0, start:end].read().result()
            return rows

        terminals, truncations = read("terminals", 0, steps) > 0, read("truncations", 0, steps) > 0
        ends = (terminals | truncations).reshape(steps, -1)
        if (partly := ends.any(axis=1) & ~ends.all(axis=1)).any():
            row = int(np.flatnonzero(partly)[0])
            text = f"step {row} is the last one of some agents only, which can't be read; leave such episodes out"
            raise DatasetError(f"{vault}: terminals: {text}")
        bounds = sorted({0, steps, *(np.flatnonzero(ends[:, 0]) + 1).tolist()})
        block, blocks = (0, 0), dict[str, Array]()
        for start, end in pairwise(bounds):
            if end > block[1]:
                block = (start, max(end, min(steps, start + BLOCK)))
                blocks = {name: read(name, *block) for name in arrays if name not in ("infos.state", "terminals", "truncations")}
            part = {name: rows[start - block[0] : end - block[0]] for name, rows in blocks.items()}
            if (episode := self._parts(vault, part, bool(terminals[end - 1].all()), layouts, start)) is not None:
                number = int(part["infos.episode"][0]) if "infos.episode" in part else -1
                yield number, episode

    def _parts(self, vault: Path, rows: dict[str, Array], terminated: bool, layouts: Mapping[str, Layout], start: int) -> list[Any] | None:
        """Arrays of each agent. Without a final observation, a terminated episode gets its last one twice, which no value is computed
        from, and a truncated one loses its last step; None where nothing is left."""
        own = "infos.final_observation" in rows
        steps = len(rows["rewards"]) - (0 if own or terminated else 1)
        if steps == 0:
            return None
        parts: list[Any] = []
        for place, (agent, layout) in enumerate(layouts.items()):
            where = f"{vault}: step {start}"
            seen = rows["observations"][:, place]
            if layout.mask and "infos.legals" in rows:
                seen = np.concatenate([seen, rows["infos.legals"][:, place].astype(seen.dtype)], axis=-1)
            final = rows["infos.final_observation"][-1, place] if own else seen[-1]
            seen = np.concatenate([seen[:steps], final[None]])
            action = fitted_actions(rows["actions"][:steps, place], layout, self.origin is None, f"{where}: actions of {agent}")
            likely = rows["infos.log_probability"][:, place] if own else np.full(steps, np.nan)
            parts.append((
                fitted_observations(seen, layout, f"{where}: observations of {agent}"), action,
                rows["rewards"][:steps, place].astype(np.float32), terminated, np.arange(steps, dtype=np.int32), likely.astype(np.float32),
            ))  # fmt: skip
        return parts
