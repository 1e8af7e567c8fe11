"""A team learns from a dataset whose shards stay with their agents: joint memories, pooled learning, losses, deaths, checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agent_node.exchange.stored_joint_experience import PATIENCE
from agent_node.memory.joint_replay import MemberPart
from agent_node.session.agent_components import AgentComponents
from agent_node.session.roles import JOINT_REPLAY, LEARNER
from agent_node.session.training import create_trainer
from orchestrator.config import loader
from orchestrator.datasets.mixture import parse_mixture, quotas
from orchestrator.datasets.recording import record_dataset
from protocols.datasets.dataset_reader import Dataset
from protocols.datasets.settings import DatasetSettings
from protocols.runtime.errors import ResourceError
from protocols.runtime.telemetry import TimeShares
from tests.agent_node.exchange.joint_team import TICK, JointTeam
from tests.agent_node.exchange.test_joint_experience import same

ENVIRONMENT = {"id": "particles:simple_spread", "copies": 2, "options": {"horizon": 25}}
LEARNER_SETTINGS = {"kind": "qmix", "batch_size": 16, "hidden": [8], "mixing_width": 4, "mixer_hidden": [8]}
EPISODES, UPDATES_PER_TICK = 200, 2
FREE = {"joint_experience": {"snapshot_every": 10_000, "max_policy_age": 10_000}}
"""agents do not exchange policies after the first ones"""


def record(folder: Path, seed: int = 0) -> Path:
    mixture = parse_mixture("random,cover@0.05")
    configuration = loader.load("offline/spread", ["dataset=null"]).configuration
    record_dataset(folder, configuration, mixture, quotas(mixture, EPISODES), False, seed, folder.parent)
    return folder


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("stored") / "data")


def team(directory: Path, **options: Any) -> JointTeam:
    dataset = DatasetSettings(path=str(directory), updates_per_tick=UPDATES_PER_TICK)
    return JointTeam({"learner": LEARNER_SETTINGS}, ENVIRONMENT, dataset=dataset, **options)


def until_learning(made: JointTeam, most: int = 1500) -> int:
    """Ticks until no agent waits."""
    for tick in range(most):
        if not any(made.sessions[name].waits for name in made.alive):
            return tick
        made.tick()
    raise AssertionError(f"agents wait after {most} ticks")


def into_the_exchange(made: JointTeam) -> None:
    """Until each agent has some joint episodes, and not all."""
    while min(complete := [len(made.replay(name).episodes) for name in made.names]) == 0:
        made.tick()
    assert max(complete) < EPISODES, complete


def parts(made: JointTeam, directory: Path) -> list[tuple[int, list[MemberPart]]]:
    """All joint episodes of the dataset."""
    features = made.sessions["agent-0"].components.team_features
    found = []
    for shards in Dataset(directory).joined():
        seen = {name: features[name].flatten(one.observation)[:, None] for name, one in shards.items()}
        joint = [MemberPart(features[name].encode(seen[name]), one.action, one.reward, one.terminated) for name, one in shards.items()]
        found.append((next(iter(shards.values())).number, joint))
    return found


def memory(components: AgentComponents) -> dict[str, torch.Tensor]:
    return components[JOINT_REPLAY].state_dict()


@pytest.mark.parametrize("loss", [0.0, 0.2])
def test_all_agents_learn_as_from_the_pooled_dataset(directory: Path, loss: float) -> None:
    """Each agent has all joint episodes, in one order, and its parameters are those of a learner that has the whole dataset."""
    with team(directory, loss=loss, exchange=FREE) as made:
        until_learning(made)
        assert all(made.sessions[name].trainer.updates == 0 for name in made.names), "none learns before all have all episodes"
        made.tick(15)
        metrics = {name: made.joint(name).metrics() for name in made.names}
        assert all(one["joint.complete"] == EPISODES and one["joint.incomplete"] == 0 for one in metrics.values())
        pooled = {}
        layouts = {name: made.environment.layout(name) for name in made.names}
        for name in made.names:
            components = pooled[name] = AgentComponents(
                made.settings, made.exchange, layouts[name], 2, name, made.seed, layouts=layouts, dataset=made.dataset
            )
            for number, joint in parts(made, directory):
                components[JOINT_REPLAY].add(number, joint)
            assert same(memory(made.sessions[name].components), memory(components))
        snapshots = [pooled[name][LEARNER].policy_snapshot() for name in made.names]
        for own, components in enumerate(pooled.values()):
            for peer in {0, 1, 2} - {own}:
                components[LEARNER].load_peer_policy(peer, snapshots[peer])
        for name, components in pooled.items():
            trainer = create_trainer(components, TimeShares())
            for _ in range(15):
                trainer.tick()
            assert trainer.updates == made.sessions[name].trainer.updates == 15 * UPDATES_PER_TICK
            mine, other = (one[LEARNER].state_dict() for one in (made.sessions[name].components, components))
            assert all(torch.equal(mine[key], other[key]) for key in ("utility", "mixer", "utility_target", "mixer_target"))


def test_every_step_is_sent_once_where_nothing_is_lost(directory: Path) -> None:
    with team(directory) as made:
        until_learning(made)
        sent = made.bytes["MemberSteps"]
        steps = sum(one.nbytes for name in made.names for one in made.replay("agent-0").state_dict()[f"observation.{name[-1]}"].numpy())
        assert 2 * steps < sent < 2.3 * steps, "to two others"
        made.tick(20)
        assert made.bytes["MemberSteps"] == sent


def test_a_run_that_is_resumed_in_the_middle_of_the_exchange_goes_on(directory: Path, tmp_path: Path) -> None:
    """It repeats bit for bit, and no episode is lost or taken twice."""
    with team(directory, loss=0.2) as first, team(directory, loss=0.2) as second:
        for made, folder in ((first, tmp_path / "a"), (second, tmp_path / "b")):
            into_the_exchange(made)
            made.checkpoint(folder)
        with first.restored(tmp_path / "a") as third:
            for made in (first, second, third):
                until_learning(made)
                made.tick(5)
                made.checkpoint(tmp_path / str(id(made)))
                assert until_learning(made) <= 1, "what has been exchanged is not exchanged again"
                made.tick(5)
            numbers = [number for number, _ in parts(first, directory)]
            for name in first.names:
                assert first.replay(name).episodes == numbers and first.sessions[name].trainer.updates >= 9 * UPDATES_PER_TICK
                assert same(first.state(name), second.state(name)), "it repeats"
                assert same(first.state(name), third.state(name)), "it resumes"


def test_after_the_patience_agents_learn_without_a_dead_member(directory: Path, tmp_path: Path) -> None:
    with team(directory, loss=0.2, exchange={"joint_experience": {"deadline": "1s"}}) as made:
        into_the_exchange(made)
        made.kill("agent-2")
        ticks = until_learning(made)
        assert ticks == pytest.approx(PATIENCE / TICK, abs=3)
        made.tick(3)
        for name in ("agent-0", "agent-1"):
            metrics = made.joint(name).metrics()
            assert 0 < metrics["joint.incomplete"] == EPISODES - metrics["joint.complete"]
            assert made.sessions[name].trainer.updates == 3 * UPDATES_PER_TICK


def test_without_any_episode_there_is_no_update_and_the_reason_is_known(directory: Path) -> None:
    with team(directory, exchange={"joint_experience": {"deadline": "500ms"}}) as made:
        made.kill("agent-2")
        until_learning(made)
        made.tick(3)
        trainer = made.sessions["agent-0"].trainer
        assert trainer.updates == 0 and "of no episode of the dataset have arrived" in trainer.no_update_reason


def test_another_dataset_is_refused_after_a_restart(directory: Path, tmp_path: Path) -> None:
    with team(directory) as made:
        made.tick(2)
        made.dataset = DatasetSettings(path=str(record(tmp_path / "other", seed=1)))
        with pytest.raises(ResourceError, match="digest differs"):
            made.checkpoint(tmp_path / "checkpoints")


def test_the_memory_grows_to_the_dataset_and_is_restored(directory: Path, tmp_path: Path) -> None:
    """`buffer.transitions` does not count, as for other learners with a dataset."""
    with team(directory) as made:
        until_learning(made)
        before = {name: memory(made.sessions[name].components) for name in made.names}
        assert all(len(state["reward"]) == EPISODES * 26 > 4096 for state in before.values())
        made.checkpoint(tmp_path)
        assert all(same(before[name], memory(made.sessions[name].components)) for name in made.names)
        batch = made.replay("agent-0").batch(64, np.random.default_rng(0))
        assert batch.joint is not None and batch.joint.reward.shape == (64, 3)
