"""Training episodes are in files after a checkpoint, with the log-probabilities of the agent's own actions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from agent_node.memory.episode import Episode
from agent_node.memory.episode_recording import EpisodeRecording
from protocols.datasets.shard_episodes import ShardEpisode, decode_part
from protocols.spaces.layout import Layout

LAYOUT = Layout(shape=[2, 2], actions=[3])


def episode(number: int, steps: int = 3, evaluation: bool = False, substituted: tuple[int, ...] = ()) -> Episode:
    random = np.random.default_rng(number)
    return Episode(
        number, random.normal(size=(steps + 1, 4)).astype(np.float32), random.integers(0, 3, (steps, 1)).astype(np.int32),
        random.normal(size=steps).astype(np.float32), terminated=number % 2 == 0, evaluation=evaluation,
        substituted=np.isin(np.arange(steps), substituted), extras={"log_probability": -random.random(steps).astype(np.float32)},
        moment=2 * np.arange(steps, dtype=np.int32),
    )  # fmt: skip


def read(directory: Path) -> list[list[ShardEpisode]]:
    return [list(decode_part(path.read_bytes(), LAYOUT, 1, path.name)) for path in sorted(directory.glob("*.safetensors"))]


def test_training_episodes_are_written_with_a_checkpoint(tmp_path: Path) -> None:
    recording = EpisodeRecording(tmp_path / "episodes", LAYOUT)
    given = [episode(4), episode(5, evaluation=True), episode(3, steps=6, substituted=(0, 5))]
    for one in given:
        recording.episode_ended(one)
    assert not (tmp_path / "episodes").exists()
    assert recording.state_dict() == {} == recording.state_dict()
    ((first, second),) = read(tmp_path / "episodes")
    for found, one in ((first, given[0]), (second, given[2])):
        assert (found.number, found.terminated) == (one.number, one.terminated)
        assert np.array_equal(found.observation.reshape(-1, 4), one.observation) and np.array_equal(found.action, one.action)
        assert np.array_equal(found.reward, one.reward) and one.moment is not None and np.array_equal(found.moment, one.moment)
    assert np.array_equal(first.log_probability, given[0].extras["log_probability"])
    assert np.isnan(second.log_probability).tolist() == [True, False, False, False, False, True]


def test_files_are_appended_after_a_restart_and_when_they_are_full(tmp_path: Path) -> None:
    for number in (1, 2):
        recording = EpisodeRecording(tmp_path, LAYOUT)
        recording.episode_ended(episode(number))
        recording.state_dict()
    full = EpisodeRecording(tmp_path, LAYOUT, part_bytes=200)
    for number in (3, 4, 5):
        full.episode_ended(episode(number))
    assert [[one.number for one in part] for part in read(tmp_path)] == [[1], [2], [3, 4]]


def test_what_cannot_be_written_is_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "episodes").write_text("in the way")
    recording = EpisodeRecording(tmp_path / "episodes", LAYOUT)
    recording.episode_ended(episode(1))
    recording.state_dict()
    assert "kept in memory" in caplog.text
    (tmp_path / "episodes").unlink()
    recording.state_dict()
    assert [[one.number for one in part] for part in read(tmp_path / "episodes")] == [[1]]
