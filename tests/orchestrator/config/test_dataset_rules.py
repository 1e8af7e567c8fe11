"""What is wrong between a dataset and the configuration of a run that learns from it is found before the start."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.config import loader
from orchestrator.config.parsing.problems import Problems
from orchestrator.config.shipped_configurations import find_shipped
from orchestrator.datasets.mixture import parse_mixture, quotas
from orchestrator.datasets.recording import record_dataset
from protocols.datasets.dataset_reader import Dataset
from protocols.datasets.dataset_writer import DatasetWriter
from protocols.datasets.shard_episodes import ShardEpisode
from tests.orchestrator.cli.test_play_policies import make_run
from tests.protocols.datasets.test_dataset_files import lie

CONFIG = "offline/spread"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    mixture = parse_mixture("random")
    record_dataset(folder / "spread", loader.load(CONFIG, ["dataset=null"]).configuration, mixture, quotas(mixture, 6), False, 0, folder)
    return folder / "spread"


def found(dataset: Path, *overrides: str) -> list[tuple[str, str]]:
    try:
        loader.load(CONFIG, [f"dataset={dataset}", *overrides])
    except Problems as problems:
        return [(problem.path, problem.text) for problem in problems.problems if problem.severity == "error"]
    return []


def test_the_environment_of_the_dataset_is_right(dataset: Path) -> None:
    assert not found(dataset) and not found(dataset, "environment.options={horizon: 25, local_ratio: 0.5}", "environment.copies=5")


@pytest.mark.parametrize(
    ("overrides", "path", "text"),
    [
        (["environment.options={horizon: 30}"], "dataset.path", "environment.options: the dataset was recorded with horizon = 25"),
        (["environment.id=mpe2:simple_spread_v3"], "dataset.path", "write environment.id: particles:simple_spread"),
        (["agents.count=4"], "dataset.path", "none is agent-3; write agents.count: 3"),
        (["environment={id: landmarks}"], "environment", "has goals, and datasets hold none"),
        (["environment={id: landmarks}", "dataset=null", "record_episodes=true"], "record_episodes", "has goals, and datasets hold none"),
        (["record_episodes=true"], "record_episodes", "write record_episodes: false"),
        (["agents.learner={kind: ppo}", "exchange.consensus=null"], "agents.learner", "ppo cannot learn from stored transitions"),
        (["exchange.experience={}"], "exchange.experience", "write experience: null"),
        (["until={episodes: 100}"], "until", "write until: {steps: N}"),
    ],
)
def test_mistakes(dataset: Path, overrides: list[str], path: str, text: str) -> None:
    assert any(place == path and text in said for place, said in found(dataset, *overrides)), found(dataset, *overrides)


def rewritten(dataset: Path, folder: Path, change: Callable[[int, dict[str, ShardEpisode]], dict[str, ShardEpisode]]) -> Path:
    """The dataset with other parts of its episodes."""
    source = Dataset(dataset)
    layouts = {shard.agent: shard.layout for shard in source.manifest.shards}
    with DatasetWriter(folder, source.manifest.environment, layouts, 0) as writer:
        writer.begin_behaviour("random", "random")
        for place, parts in enumerate(source.joined()):
            writer.add(change(place, parts))
        writer.close()
    return folder


def test_joint_learners_need_the_parts_of_all_agents_at_the_same_moments(dataset: Path, tmp_path: Path) -> None:
    team = ("agents.learner={kind: qmix}", "exchange.consensus=null")
    assert not found(dataset, *team)

    def without_a_member(place: int, parts: dict[str, ShardEpisode]) -> dict[str, ShardEpisode]:
        return {name: part for name, part in parts.items() if place != 2 or name != "agent-1"}

    def in_turns(place: int, parts: dict[str, ShardEpisode]) -> dict[str, ShardEpisode]:
        return {name: replace(part, moment=2 * part.moment) for name, part in parts.items()}

    lacking = rewritten(dataset, tmp_path / "lacking", without_a_member)
    assert not found(lacking)
    ((path, text),) = found(lacking, *team)
    assert path == "dataset.path" and "has no part of agent-1, and joint steps are those of all agents; record the data again" in text
    ((path, text),) = found(rewritten(dataset, tmp_path / "turns", in_turns), *team)
    assert path == "dataset.path" and "agents take turns in episode" in text
    assert "ppo cannot learn from stored transitions" in found(dataset, "agents.learner={kind: ppo, centralised_critic: true}")[0][1]


def test_damaged_and_untrue_datasets(dataset: Path, tmp_path: Path) -> None:
    shutil.copytree(dataset, tmp_path / "copy")
    lie(tmp_path / "copy", lambda manifest: manifest["behaviours"][0]["returns"].update(mean=0.0))
    ((path, text),) = found(tmp_path / "copy")
    assert path == "dataset.path" and "behaviours.random.returns.mean" in text
    file = tmp_path / "copy/agent-1/00000.safetensors"
    file.write_bytes(file.read_bytes()[:50])
    ((path, text),) = found(tmp_path / "copy")
    assert path == "dataset.path" and "agent-1/00000.safetensors: size" in text
    ((path, text),) = found(tmp_path / "none")
    assert path == "dataset.path" and "orchestrate dataset make" in text


def test_initial_parameters_are_those_of_a_run_with_the_same_learners(tmp_path: Path) -> None:
    make_run(tmp_path / "night", find_shipped(CONFIG), "dataset=null")

    def said(*overrides: str) -> list[str]:
        try:
            loader.load(CONFIG, ["dataset=null", f"init_from={tmp_path / 'night'}", *overrides])
        except Problems as problems:
            return [problem.text for problem in problems.problems if problem.path == "init_from"]
        return []

    assert not said() and not said("agents.count=5", "environment.options.horizon=30")
    assert "write the same kind" in said("agents.learner={kind: discrete_sac}")[0]
    assert "agents.learner.hidden of the run is" in said("agents.learner.hidden=[7]")[0]
    assert "is no directory of a run" in said(f"init_from={tmp_path}")[0]
    for path in (tmp_path / "night/nodes/agent-1/checkpoints").glob("*.json"):
        path.unlink()
    assert "agent-1 of" in said()[0] and "has no checkpoint" in said()[0]
