"""Datasets to be exported and imported again."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from orchestrator.datasets.interchange import export_dataset, import_dataset
from protocols.datasets.dataset_reader import Dataset
from protocols.datasets.dataset_writer import DatasetWriter
from protocols.datasets.manifest import DatasetEnvironment
from protocols.datasets.shard_episodes import ShardEpisode
from protocols.spaces.layout import Layout

ENVIRONMENT = DatasetEnvironment(id="particles:simple_spread", options={"horizon": 25}, images={"size": [42, 42]})


def part(number: int, behaviour: int, layout: Layout, moment: list[int], terminated: bool, seed: int) -> ShardEpisode:
    random, steps = np.random.default_rng([number, seed]), len(moment)
    observation = random.integers(0, 256, (steps + 1, *layout.shape)).astype(np.uint8)
    if layout.dtype == "f4":
        observation = random.normal(size=observation.shape).astype(np.float32)
        if layout.mask:
            observation[:, -layout.mask_size :] = random.integers(0, 2, (steps + 1, layout.mask_size))
    if layout.actions:
        action = random.integers(0, layout.actions, (steps, len(layout.actions))).astype(np.int32)
    else:
        action = random.uniform(layout.low, layout.high, (steps, len(layout.low))).astype(np.float32)
    likely = -random.random(steps).astype(np.float32)
    likely[-1] = np.nan
    return ShardEpisode(
        number, behaviour, observation, action, random.normal(size=steps).astype(np.float32), terminated, np.array(moment, np.int32), likely
    )


def write(directory: Path, layouts: dict[str, Layout], episodes: list[tuple[int, int, dict[str, tuple[list[int], bool]]]]) -> Dataset:
    """Episodes (number, behaviour, {agent: (moments, terminated)})."""
    with DatasetWriter(directory, ENVIRONMENT, layouts, seed=9) as writer:
        begun = -1
        for number, behaviour, members in episodes:
            while begun < behaviour:
                begun = writer.begin_behaviour(f"quality-{begun + 1}", f"policy-{begun + 1}@0.5")
            writer.add({
                agent: part(number, behaviour, layouts[agent], moments, terminated, seed)
                for seed, (agent, (moments, terminated)) in enumerate(members.items())
            })  # fmt: skip
        writer.close()
    return Dataset(directory)


def round_trip(dataset: Dataset, folder: Path, form: str) -> None:
    """Exported and imported again, all files have the same bytes, the manifest too."""
    export_dataset(dataset, folder / "other-v0", form, lambda name, done, total: None)
    import_dataset(folder / "other-v0", folder / "again", None)
    files = sorted(path.relative_to(dataset.directory) for path in dataset.directory.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(folder / "again") for path in (folder / "again").rglob("*") if path.is_file())
    assert all((dataset.directory / file).read_bytes() == (folder / "again" / file).read_bytes() for file in files)
