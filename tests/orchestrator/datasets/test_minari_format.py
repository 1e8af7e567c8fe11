"""Minari holds every dataset of ours without loss, its own library reads it, and foreign ones become datasets or are refused."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from orchestrator.config import loader
from orchestrator.config.configuration import Configuration
from orchestrator.datasets.interchange import export_dataset, import_dataset
from protocols.datasets.dataset_reader import Dataset
from protocols.datasets.manifest import DatasetError
from protocols.runtime.errors import ResourceError, UsageError
from protocols.spaces.layout import Layout
from tests.orchestrator.cli.conftest import REPOSITORY
from tests.orchestrator.datasets.interchange_cases import round_trip, write

minari = pytest.importorskip("minari", reason="needs the extra minari: pip install 'murmuration-rl[minari]'")
LAYOUTS = {
    "agent-0": Layout(shape=[5], actions=[4]),
    "agent-1": Layout(shape=[3], actions=[2, 3]),
    "agent-2": Layout(shape=[40, 33, 3], dtype="u1", low=[-1.0, 0.0], high=[1.0, 2.0]),
}
CONFIGS = REPOSITORY / "configs"
PART = st.tuples(st.lists(st.integers(0, 7), min_size=1, max_size=4, unique=True).map(sorted), st.booleans())
MEMBERS = st.dictionaries(st.sampled_from(sorted(LAYOUTS)), PART, min_size=1)


def nothing(name: str, done: int, total: int) -> None:
    """No progress is shown."""


@settings(max_examples=10, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(st.lists(MEMBERS, min_size=1, max_size=3), st.lists(MEMBERS, max_size=2))
def test_round_trip(first: list[Any], second: list[Any]) -> None:
    """Agents that die, that take turns, that are no members; images, several factors, two behaviours: equal bytes."""
    episodes = [(number, 0, members) for number, members in enumerate(first)]
    episodes += [(2**32 + number, 1, members) for number, members in enumerate(second)]
    with TemporaryDirectory() as folder:
        round_trip(write(Path(folder) / "data", LAYOUTS, episodes), Path(folder), "minari")


def test_what_minari_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    members = {"agent-0": ([0, 1], True), "agent-1": ([0, 1, 2], False)}
    dataset = write(tmp_path / "data", LAYOUTS, [(3, 0, members)])
    export_dataset(dataset, tmp_path / "team-v1", "minari", nothing)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    found = minari.load_dataset("team-v1")
    assert list(found.observation_space.spaces) == list(LAYOUTS) and found.action_space["agent-1"] == spaces.MultiDiscrete([2, 3])
    (parts,) = dataset.joined()
    first, second = parts["agent-0"], parts["agent-1"]
    episode = found[0]
    assert np.allclose(episode.rewards, (np.append(first.reward, 0) + second.reward) / 2)
    assert np.array_equal(episode.actions["agent-0"], [*first.action[:, 0], 0])
    assert np.array_equal(episode.observations["agent-0"][2:], first.observation[[2, 2]]), "a dead agent keeps its last observation"
    assert episode.infos["agent-0"]["alive"].tolist() == [False, True, True, False]
    assert episode.infos["agent-0"]["terminated"].tolist() == [False, False, True, False]
    assert not episode.infos["agent-2"]["alive"].any()
    assert episode.terminations.tolist() == [False] * 3 and episode.truncations.tolist() == [False, False, True]


def configuration(name: str, *overrides: str) -> Configuration:
    return loader.load(CONFIGS / f"environments/{name}.yaml", list(overrides), {}).configuration


def foreign(folder: Path, observation: spaces.Space[Any], action: spaces.Space[Any], **arrays: Any) -> Path:
    """A dataset as Minari's own functions write it, of one episode."""
    from minari.data_collector.episode_buffer import EpisodeBuffer

    os.environ["MINARI_DATASETS_PATH"] = str(folder)
    try:
        minari.create_dataset_from_buffers(
            "pole/random-v0", [EpisodeBuffer(**arrays)], observation_space=observation, action_space=action, algorithm_name="dice"
        )
    finally:
        del os.environ["MINARI_DATASETS_PATH"]
    return folder / "pole/random-v0"


def pole(**changes: Any) -> dict[str, Any]:
    ends = np.arange(4) == 3
    arrays = {
        "observations": np.random.default_rng(0).normal(size=(5, 4)), "actions": np.array([0, 1, 1, 0]), "rewards": np.ones(4),
        "terminations": ends, "truncations": ends & False,
    }  # fmt: skip
    return arrays | changes


BOX, TWO = spaces.Box(-np.inf, np.inf, (4,), np.float64), spaces.Discrete(2)


def test_a_dataset_of_one_agent(tmp_path: Path) -> None:
    source = foreign(tmp_path, BOX, spaces.Discrete(2, start=3), **pole(actions=np.array([3, 4, 4, 3])))
    import_dataset(source, tmp_path / "data", configuration("cartpole", "agents.count=1", "network.topology.kind=complete"))
    dataset = Dataset(tmp_path / "data")
    dataset.verify()
    (behaviour,) = dataset.manifest.behaviours
    assert (behaviour.name, behaviour.policy, behaviour.returns.mean) == ("pole-random-v0", "dice", 4.0)
    (episode,) = dataset.episodes("agent-0")
    assert episode.terminated and np.array_equal(episode.observation, pole()["observations"].astype(np.float32))
    assert episode.action[:, 0].tolist() == [0, 1, 1, 0] and np.isnan(episode.log_probability).all()


@pytest.mark.parametrize(
    ("observation", "action", "changes", "text"),
    [
        (spaces.Box(-1, 1, (3,)), TWO, {"observations": np.zeros((5, 3))}, r"episode 0: observations of agent-0: they are float64\[3\]"),
        (BOX, spaces.Discrete(3), {"actions": np.array([0, 1, 2, 0])}, r"episode 0: actions of agent-0: a choice is not one of \[2\]"),
        (BOX, spaces.Box(-1, 1, (1,)), {"actions": np.zeros((4, 1))}, r"actions of agent-0: they are float64\[1\].*discrete \[2\]"),
        (BOX, TWO, {"rewards": np.array([0, 1, np.nan, 0])}, "reward: a number is not finite"),
        (
            spaces.Dict(x=BOX),
            TWO,
            {"observations": {"x": np.zeros((5, 4))}},
            "has the entries x, and the agents are agent-0; name the entries",
        ),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, observation: Any, action: Any, changes: dict[str, Any], text: str) -> None:
    source = foreign(tmp_path, observation, action, **pole(**changes))
    with pytest.raises(DatasetError, match=text):
        import_dataset(source, tmp_path / "data", configuration("cartpole", "agents.count=1", "network.topology.kind=complete"))
    assert not (tmp_path / "data").exists() and not list(tmp_path.glob(".data*"))


def test_rewards_of_all_agents_are_needed(tmp_path: Path) -> None:
    names = [f"agent-{place}" for place in range(3)]
    seen = spaces.Dict({name: spaces.Box(-np.inf, np.inf, (18,), np.float32) for name in names})
    acted = spaces.Dict({name: spaces.Discrete(5) for name in names})
    team: dict[str, Any] = {
        "observations": {name: np.zeros((5, 18), np.float32) for name in names}, "actions": dict.fromkeys(names, np.zeros(4, np.int64))
    }  # fmt: skip
    source = foreign(tmp_path / "a", seen, acted, **pole(**team))
    spread = configuration("particles_spread")
    with pytest.raises(DatasetError, match=r"infos\.agent-0\.reward is missing, and rewards has the sum of all"):
        import_dataset(source, tmp_path / "data", spread)
    infos = {name: {"reward": np.arange(5.0) + place} for place, name in enumerate(names)}
    import_dataset(foreign(tmp_path / "b", seen, acted, **pole(**team, infos=infos)), tmp_path / "data", spread)
    (episode,) = Dataset(tmp_path / "data").episodes("agent-2")
    assert episode.reward.tolist() == [3, 4, 5, 6] and episode.terminated


def test_mistakes_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = write(tmp_path / "data", LAYOUTS, [(0, 0, {"agent-0": ([0], True)})])
    with pytest.raises(UsageError, match="write NAME-vNUMBER, for example team-v0"):
        export_dataset(dataset, tmp_path / "team", "minari", nothing)
    with pytest.raises(DatasetError, match="never overwritten"):
        export_dataset(dataset, tmp_path / "data", "minari", nothing)
    with pytest.raises(UsageError, match="it is no dataset of Minari"):
        import_dataset(tmp_path, tmp_path / "again", None)
    export_dataset(dataset, tmp_path / "team-v0", "minari", nothing)
    metadata = tmp_path / "team-v0/data/metadata.json"
    whole = json.loads(metadata.read_text())
    metadata.write_text(json.dumps({key: value for key, value in whole.items() if key != "murmuration"}))
    with pytest.raises(UsageError, match="name its configuration: --environment CONFIG"):
        import_dataset(tmp_path / "team-v0", tmp_path / "again", None)
    metadata.write_text(json.dumps(whole | {"murmuration": whole["murmuration"][:40]}))
    with pytest.raises(DatasetError, match=r"data/metadata\.json: murmuration: .*export the dataset anew"):
        import_dataset(tmp_path / "team-v0", tmp_path / "again", None)
    metadata.write_text(json.dumps(whole))
    file = tmp_path / "team-v0/data/main_data.hdf5"
    file.write_bytes(file.read_bytes()[:2000])
    with pytest.raises(DatasetError, match="restore the dataset of Minari"):
        import_dataset(tmp_path / "team-v0", tmp_path / "again", None)
    with pytest.raises(UsageError, match="has goals in landmarks"):
        import_dataset(tmp_path / "team-v0", tmp_path / "again", loader.load(CONFIGS / "4agents_ring.yaml", [], {}).configuration)
    monkeypatch.setitem(sys.modules, "minari", None)
    with pytest.raises(ResourceError, match=r"pip install 'murmuration-rl\[minari\]'"):
        import_dataset(tmp_path / "team-v0", tmp_path / "again", None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "team-v0"]
