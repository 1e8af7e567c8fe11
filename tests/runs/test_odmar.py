"""ODMAR through real processes: sums of statistics over bad links, a death, and what all hold in the end."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from protocols.runtime.errors import ExitCode
from tests.runs.system import REPOSITORY, command, environment, events, eventually, metrics, orchestrate, processes_of

pytestmark = [pytest.mark.runs, pytest.mark.cluster, pytest.mark.timeout(240)]
CONFIGS = REPOSITORY / "configs" / "odmar"
SHORT = [
    "agents.count=4",
    "environment.options.horizon=25",
    "evaluation={every: 100000, episodes: 1, final_episodes: 40, aligned: false}",
    "agents.learner={kind: sac, hidden: [16], batch_size: 32, learning_starts: 100, random_steps: 100, replay_ratio: 0.25}",
    "agents.world_model.features=64",
    "agents.world_model.refresh=50",
    "agents.world_model.learning_starts=100",
    "agents.world_model.imagination.starts=32",
    "exchange.statistics.min_transitions=50",
    "metrics.every=200ms",
    "metrics.sinks=[csv]",
]


def last(directory: Path, agent: str, figure: str) -> float:
    return metrics(directory, agent, figure)[-1]


def held(directory: Path, agent: str) -> dict[str, np.ndarray]:
    """Versions and statistics of all, in the agent's last checkpoint."""
    arrays = load_file(newest(directory, agent))
    prefix = "statistics/machine/"
    wanted = (prefix + "version/", prefix + "payload/")
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(wanted)}


def newest(directory: Path, agent: str) -> Path:
    return sorted((directory / "nodes" / agent / "checkpoints").glob("*.safetensors"))[-1]


def same_versions(directory: Path) -> list[dict[str, np.ndarray]] | None:
    """What the agents hold, where all hold the same versions of the statistics of all four; None before that."""
    try:
        ledgers = [held(directory, f"agent-{i}") for i in range(4)]
    except (IndexError, FileNotFoundError):  # none is written yet, or the newest was replaced meanwhile
        return None
    versions = [{name: array for name, array in ledger.items() if name.startswith("version/")} for ledger in ledgers]
    if len(versions[0]) != 4 or any(other.keys() != versions[0].keys() for other in versions):
        return None
    return ledgers if all(np.array_equal(one[name], versions[0][name]) for one in versions for name in one) else None


@pytest.mark.timeout(360)
def test_four_agents_over_bad_links_and_one_that_dies(tmp_path: Path) -> None:
    """Free-running agents on links that lose 30 % and take 200 ms; one is killed after a third of the steps, which
    on a slow machine is later, when it has as many checkpoints, and comes back 1 s later. The others go on, and in the end
    all have the statistics of all, those of the dead incarnation included. The last evaluation goes on until then."""
    runs = tmp_path / "runs"
    runs.mkdir()
    words = command(
        "up", str(CONFIGS / "optimistic.yaml"), "--name", "storm", "--plain", *SHORT,
        "clock=wall", "until={steps: 1200}", "environment.copies=2",
        "network.links=[{id: storm, from: 'agent-*', to: 'agent-*', delay: 200ms, loss: 0.3}]",
        "faults={events: [{id: crash, at: {step: 400}, process: {target: agent-2, action: kill, restart_after: 1s}}]}",
        "supervision.checkpoint_interval=500ms", "supervision.min_agents=2", "evaluation.final_episodes=1000000",
            "evaluation.min_time=300s",
    )  # fmt: skip
    directory, agents = runs / "storm", [f"agent-{i}" for i in range(4)]
    with (tmp_path / "output").open("w+") as output:
        client = subprocess.Popen(words, cwd=tmp_path, env=environment(runs), stdout=output, stderr=subprocess.STDOUT)
        try:
            eventually("training is over", lambda: events(directory, "run.evaluation") or client.poll() is not None, 150)
            if client.poll() is None:
                ledgers = eventually("all hold the same versions", lambda: same_versions(directory), 60)
                eventually(
                    "no agent lacks a version that a neighbour has",
                    lambda: all(last(directory, agent, "statistics.staleness") == 0 for agent in agents),
                    30,
                )
        finally:
            orchestrate(runs, "down", "storm")
            client.wait(timeout=60)
        output.seek(0)
        assert client.returncode == ExitCode.INTERRUPTED, output.read()
    assert events(directory, "node.restored", "agent-2"), "it takes up its checkpoint"
    for agent in agents:
        assert last(directory, agent, "statistics.origins") == 4
        assert last(directory, agent, "statistics.refused") == 0
        assert last(directory, agent, "world_model.transitions") > last(directory, agent, "buffer.transitions"), "others' data too"
    assert len(ledgers[0]) == 8, "versions and payloads of four"
    for other in ledgers[1:]:
        assert all(np.array_equal(ledgers[0][name], other[name]) for name in ledgers[0]), "bit by bit"
    assert processes_of(directory) == []


def test_a_run_is_repeated_bit_for_bit(tmp_path: Path) -> None:
    """Under the logical clock two runs end with the same parameters, whatever the timing; with a drawn function and shared plans too."""
    runs = tmp_path / "runs"
    rules = [
        "until={steps: 400}",
        "evaluation.final_episodes=2",
        "agents.optimism={kind: thompson}",
        "exchange.plans={steps: 10}",
        "supervision.checkpoint_interval=60s",
    ]
    digests = []
    for name in ("one", "two"):
        done = orchestrate(runs, "up", str(CONFIGS / "optimistic.yaml"), "--name", name, *SHORT, *rules)
        assert done.returncode == 0, done.stdout + done.stderr
        directory = runs / name
        assert last(directory, "agent-0", "plans.received") > 0 and last(directory, "agent-0", "statistics.published") >= 5
        digests.append([newest(directory, f"agent-{i}").read_bytes() for i in range(4)])
    assert digests[0] == digests[1]


def test_an_ensemble_is_averaged_and_its_rewards_are_summed(tmp_path: Path) -> None:
    """Parameters by consensus and reward cells by statistics, side by side on the same edges; one is killed and comes back."""
    runs = tmp_path / "runs"
    rules = [rule for rule in SHORT if "world_model" not in rule]
    small = ["agents.world_model.hidden=[16]", "agents.world_model.learning_starts=50", "agents.world_model.imagination.starts=32"]
    crash = "faults={events: [{id: crash, at: {step: 300}, process: {target: agent-1, action: kill, restart_after: 1s}}]}"
    done = orchestrate(
        runs, "up", str(CONFIGS / "ensemble.yaml"), "--name", "mixed", *rules, *small, "until={steps: 800}", "clock=wall", crash,
        "exchange.consensus.every={updates: 10}", "supervision.checkpoint_interval=1s", "environment.copies=4",
        "evaluation.final_episodes=4",
        timeout=180,
    )  # fmt: skip
    directory = runs / "mixed"
    assert done.returncode == 0, done.stdout + done.stderr
    assert metrics(directory, "run", "consensus.disagreement") and metrics(directory, "run", "models.disagreement")
    for i in range(4):
        agent = f"agent-{i}"
        assert last(directory, agent, "statistics.origins") == 4
        if agent != "agent-1":  # which has perhaps come back too late to learn
            assert sum(metrics(directory, agent, "consensus.rounds")) > 0 and metrics(directory, agent, "world_model.model_loss")
