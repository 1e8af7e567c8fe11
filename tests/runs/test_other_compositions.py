"""Other environments and other parts, each by its few lines of configuration, through real processes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.runs.system import CONFIG, REPOSITORY, SMALL, events, eventually, metrics, orchestrate, processes_of

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(150)]
SHORT = ["until={steps: 400, time: 60s}", "evaluation={every: 100000, episodes: 1, final_episodes: 1}", "metrics.every=200ms"]
FOREIGN = {
    "simple_spread": ["environment.copies=4"],
    "knights_archers_zombies": ["environment.copies=2", "environment.options.max_cycles=40"],
    "cartpole": ["environment.copies=4"],
    "pendulum": ["environment.copies=1", "agents.learner.random_steps=50"],
}


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_environments_by_configuration(name: str, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    learner = ["agents.learner.learning_starts=50", "agents.learner.replay_ratio=0.25", "agents.learner.batch_size=16"]
    changes = [*SHORT, *FOREIGN[name], *learner]
    done = orchestrate(runs, "up", str(REPOSITORY / "configs" / "environments" / f"{name}.yaml"), "--name", "foreign", *changes)
    assert done.returncode == 0, done.stdout + done.stderr
    directory = runs / "foreign"
    assert metrics(directory, "env-0", "steps")[-1] >= 400
    over = events(directory, "run.evaluation")[0]["text"]
    copies = json.loads((directory / "config.json").read_text())["environment"]["copies"]
    assert 400 <= int(over.split(" after ")[1].split()[0]) < 400 + copies, "training ends with the tick that uses up its budget"
    assert len(metrics(directory, "env-0", "eval.own.return")) == 2
    assert metrics(directory, "agent-0", "updates")[-1] > 10 and metrics(directory, "agent-0", "learner.loss")
    eventually("nothing is left running", lambda: processes_of(directory) == [], 10)


def test_everything_that_can_be_off_is_off_and_another_learner_on(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    changes = [
        "agents.learner={kind: discrete_sac, hidden: [16], learning_starts: 100, batch_size: 32}",
        "agents.world_model=null",
        "exchange={negotiation: null, hindsight: null, consensus: null}",
        "until={episodes: 40, time: 60s}",
    ]
    keep = [change for change in SMALL if not change.startswith(("agents.", "exchange.", "until"))]
    done = orchestrate(runs, "up", str(CONFIG), "--name", "bare", *keep, *changes)
    assert done.returncode == 0, done.stdout + done.stderr
    directory = runs / "bare"
    for i in range(4):
        agent = f"agent-{i}"
        assert metrics(directory, agent, "learner.entropy") and not metrics(directory, agent, "world_model.error")
        links = json.loads((directory / "nodes" / agent / "links.json").read_text())
        assert "peer" not in {row["channel"] for row in links if row["sent_messages"]}, "silence on every edge"
        assert metrics(directory, agent, "negotiated")[-1] == 0
    assert not metrics(directory, "run", "consensus.disagreement")


def test_one_agent_may_differ(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    changes = ["agents.overrides={agent-2: {learner: {replay_ratio: 1}}}", "until={episodes: 60, time: 60s}"]
    done = orchestrate(runs, "up", str(CONFIG), "--name", "mixed", *SMALL, *changes)
    assert done.returncode == 0, done.stdout + done.stderr
    updates = [metrics(runs / "mixed", f"agent-{i}", "updates")[-1] for i in range(4)]
    assert updates[2] > 2 * max(updates[0], updates[1], updates[3])


def test_the_main_configuration_with_an_environment_without_goals(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    learner = ["agents.learner.learning_starts=100", "agents.learner.replay_ratio=0.25"]
    changes = ["environment.id=mpe2:simple_spread_v3", "until={steps: 2000, time: 60s}", *learner]
    kept = [change for change in SMALL if change.startswith(("environment.copies", "evaluation", "metrics", "agents.learner.b"))]
    done = orchestrate(runs, "up", str(CONFIG), "--name", "spread", *changes, *kept, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "notice: exchange.negotiation: switched off: mpe2:simple_spread_v3 has no goals" in done.stderr
    directory = runs / "spread"
    assert "# exchange.negotiation: switched off" in (directory / "config.yaml").read_text()
    assert metrics(directory, "agent-3", "learner.loss") and metrics(directory, "run", "consensus.disagreement")
