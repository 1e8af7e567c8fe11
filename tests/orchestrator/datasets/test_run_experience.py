"""Episodes that the agents of a run have kept become a dataset, in the order in which they began."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from orchestrator.datasets.run_experience import collect_run
from orchestrator.results import run_directories
from orchestrator.results.run_files import RunLock, write_json
from protocols.datasets.dataset_reader import Dataset
from protocols.datasets.manifest import DatasetError
from protocols.datasets.shard_episodes import ShardEpisode, encode_part
from protocols.runtime.errors import UsageError
from tests.orchestrator.cli.conftest import REPOSITORY
from tests.orchestrator.cli.test_play_policies import make_run

SPREAD = REPOSITORY / "configs/environments/particles_spread.yaml"


def part(number: int, seed: int = 0) -> ShardEpisode:
    random = np.random.default_rng([number, seed])
    return ShardEpisode(
        number, 0, random.normal(size=(5, 18)).astype(np.float32), random.integers(0, 5, (4, 1)).astype(np.int32),
        random.normal(size=4).astype(np.float32), False, np.arange(4, dtype=np.int32), np.zeros(4, np.float32),
    )  # fmt: skip


def keep(run: Path, agent: int, *files: list[ShardEpisode]) -> None:
    folder = run / f"nodes/agent-{agent}/episodes"
    folder.mkdir(exist_ok=True)
    for number, episodes in enumerate(files, len(list(folder.iterdir()))):
        (folder / f"{number:05}.safetensors").write_bytes(encode_part(episodes))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    make_run(tmp_path / "night", SPREAD, "record_episodes=true", "environment.copies=4", "seed=11")
    write_json(tmp_path / "night/run.json", {"name": "night", "state": "DONE"})
    return tmp_path / "night"


def collected(run: Path) -> Dataset:
    collect_run(run.parent / "data", run_directories.read(run))
    dataset = Dataset(run.parent / "data")
    dataset.verify()
    return dataset


def test_episodes_are_ordered_and_the_later_one_of_a_number_counts(run: Path) -> None:
    keep(run, 0, [part(2), part(0)], [part(1)], [part(2, seed=5), part(3)])
    keep(run, 1, [part(0), part(3)])
    keep(run, 2, [part(0)])
    dataset = collected(run)
    (replay,) = dataset.manifest.behaviours
    assert (replay.name, replay.policy, replay.episodes, replay.steps) == ("replay", "night", 4, 28) and dataset.manifest.seed == 11
    assert [one.number for one in dataset.episodes("agent-0")] == [0, 1, 2, 3]
    assert [one.number for one in dataset.episodes("agent-1")] == [0, 3]
    assert np.array_equal(list(dataset.episodes("agent-0"))[2].reward, part(2, seed=5).reward)
    assert dataset.manifest.environment.id == "particles:simple_spread"


def test_damage_and_missing_episodes_are_named(run: Path) -> None:
    with pytest.raises(UsageError, match="night has no training episode"):
        collected(run)
    keep(run, 1, [part(0)], [part(1)])
    file = run / "nodes/agent-1/episodes/00001.safetensors"
    whole = file.read_bytes()
    for content in (whole[:-5], whole[:20], b""):
        file.write_bytes(content)
        with pytest.raises(DatasetError, match=r"agent-1/episodes/00001\.safetensors"):
            collected(run)
    other = ShardEpisode(1, 0, np.zeros((3, 7), np.float32), np.zeros((2, 1), np.int32), np.zeros(2, np.float32), False,
                         np.arange(2, dtype=np.int32), np.zeros(2, np.float32))  # fmt: skip
    file.write_bytes(encode_part([other]))
    with pytest.raises(DatasetError, match=r"observation is uint8\[3, 7\]"):
        collected(run)
    assert not (run.parent / "data").exists() and not list(run.parent.glob(".data*"))


def test_only_runs_that_have_kept_episodes_and_ended(run: Path, tmp_path: Path) -> None:
    keep(run, 0, [part(0)])
    (run / "run.lock").touch()
    lock = RunLock(run, timeout=1)
    with pytest.raises(UsageError, match="orchestrate down night"):
        collected(run)
    lock.release()
    make_run(tmp_path / "day", SPREAD)
    write_json(tmp_path / "day/run.json", {"name": "day", "state": "DONE"})
    with pytest.raises(UsageError, match="record_episodes=true"):
        collected(tmp_path / "day")
