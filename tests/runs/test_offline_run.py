"""Runs that learn from a dataset, as a user starts them: shards are learnt from, nothing is played but evaluations, and bytes repeat."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from agent_node.session import checkpoints
from protocols.datasets.dataset_reader import Dataset
from tests.runs.system import events, metrics, orchestrate, results

pytestmark = [pytest.mark.runs, pytest.mark.cluster, pytest.mark.timeout(240)]
UPDATES = 300
LOGICAL = (
    "dataset={path: data, updates_per_tick: 5}", f"until.steps={UPDATES}", "clock=logical", "agents.learner.batch_size=32",
    "agents.learner.hidden=[16]", "evaluation={every: {steps: 100}, episodes: 8, final_episodes: 16, aligned: false}",
    "supervision.checkpoint_interval=300ms",
    "supervision.heartbeat=60s", "supervision.suspect=90s", "supervision.dead=120s",  # the last counters come with the nodes' end
)  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Beside the directory of runs there is a dataset."""
    folder = tmp_path_factory.mktemp("offline")
    (folder / "runs").mkdir()
    done = orchestrate(folder / "runs", "up", "offline/spread")
    assert done.returncode == 3 and "data/spread3/manifest.json: No such file" in done.stderr, "it plays nothing instead"
    done = orchestrate(folder / "runs", "dataset", "make", "offline/spread", "-o", "data", "-n", "60", "--mix", "random,cover@0.05")
    assert done.returncode == 0, done.stderr
    return folder / "runs"


def test_learning_from_shards(runs: Path) -> None:
    for name in ("first", "second"):
        done = orchestrate(runs, "up", "offline/spread", *LOGICAL, "--name", name, "--plain", timeout=150)
        assert done.returncode == 0, done.stdout + done.stderr
    first = runs / "first"
    assert results(first) == results(runs / "second")
    summary = json.loads((first / "summary.json").read_text())
    assert summary["episodes"] == 0 and summary["steps"] == UPDATES and metrics(first, "env-0", "steps")[-1] == UPDATES
    for agent in ("agent-0", "agent-1", "agent-2"):
        assert metrics(first, agent, "updates")[-1] == UPDATES
        assert metrics(first, agent, "buffer.transitions")[-1] == 60 * 25
        assert metrics(first, agent, "consensus.rounds")
    assert len(metrics(first, "env-0", "eval.own.return")) >= 4, "at the start, after 100, 200 and 300 updates"


def test_online_training_begins_with_what_was_learnt(runs: Path) -> None:
    """Without any update the learners of the second run end as those of the first one."""
    more = (
        "dataset=null",
        "until.steps=64",
        "clock=logical",
        "agents.learner.hidden=[16]",
        "exchange.consensus=null",
        "environment.copies=4",
    )
    quick = "evaluation={episodes: 0, final_episodes: 2, aligned: false}"
    done = orchestrate(runs, "up", "offline/spread", *more, quick, "init_from=runs/first", "--name", "online", "--plain", timeout=150)
    assert done.returncode == 0, done.stdout + done.stderr
    for agent in ("agent-0", "agent-2"):
        before, after = (
            checkpoints.read(max((runs / name / "nodes" / agent / "checkpoints").glob("*.json"))).tensors for name in ("first", "online")
        )
        learner = [name for name in before if name.startswith("learner/")]
        assert {"learner/online", "learner/target"} <= set(learner) and all(torch.equal(before[name], after[name]) for name in learner)


def test_a_team_learns_from_joint_episodes_although_messages_are_lost(runs: Path) -> None:
    """With a fifth of all messages lost, and an agent that dies while the others learn, every agent has all joint episodes in the same
    order, makes all updates that it can, and the run repeats."""
    links = [{"id": "wan", "from": "agent-*", "to": "agent-*", "loss": 0.2}]
    crash = {"id": "crash", "at": {"step": 40}, "process": {"target": "agent-1", "action": "kill", "restart_after": "200ms"}}
    lossy = f"faults={json.dumps({'seed': 3, 'links': links, 'events': [crash]})}"
    team = (*LOGICAL, "agents.learner={kind: qmix, mixing_width: 4, mixer_hidden: [8]}")
    for name in ("joint", "repeated"):
        done = orchestrate(runs, "up", "offline/spread_gum", *team, lossy, "--name", name, "--plain", timeout=150)
        assert done.returncode == 0, done.stdout + done.stderr
    assert results(runs / "joint") == results(runs / "repeated")
    assert json.loads((runs / "joint" / "summary.json").read_text())["steps"] == UPDATES
    memories = []
    for agent in ("agent-0", "agent-1", "agent-2"):
        updates = metrics(runs / "joint", agent, "updates")[-1]
        assert updates == UPDATES or (agent == "agent-1" and UPDATES / 2 < updates < UPDATES)
        assert [metrics(runs / "joint", agent, f"joint.{name}")[-1] for name in ("complete", "incomplete")] == [60, 0]
        memories.append(checkpoints.read(max((runs / "joint" / "nodes" / agent / "checkpoints").glob("*.json"))).tensors)
    assert [event["node"] for event in events(runs / "joint", "node.restart")] == ["agent-1"]
    assert metrics(runs / "joint", "agent-0", "joint.retry.steps")[-1] > 0
    columns = [name for name in memories[0] if name.startswith("joint_replay/")]
    assert all(torch.equal(memories[0][name], other[name]) for other in memories[1:] for name in columns)
    shards = list(Dataset(runs.parent / "data").joined())
    assert memories[0]["joint_replay/episodes"][:, 2].tolist() == [parts["agent-0"].number for parts in shards]
    for member, agent in enumerate(("agent-0", "agent-1", "agent-2")):
        stored = torch.from_numpy(np.concatenate([parts[agent].observation for parts in shards]))
        assert torch.equal(memories[0][f"joint_replay/observation.{member}"], stored)


def test_a_changed_dataset_is_refused_before_the_start(runs: Path) -> None:
    file = runs.parent / "data/agent-1/00000.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    try:
        done = orchestrate(runs, "up", "offline/spread", *LOGICAL, "--name", "third")
    finally:
        file.write_bytes(whole)
    assert done.returncode == 3 and "agent-1/00000.safetensors: sha256" in done.stderr
    assert not (runs / "third").exists()
