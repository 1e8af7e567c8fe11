"""A learner with its own parameter group, an additive world model, a negotiation and an exchange of a plugin, in the processes of a run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.runs.system import REPOSITORY, SMALL, metrics, orchestrate

pytestmark = [pytest.mark.runs, pytest.mark.cluster, pytest.mark.timeout(200)]
CONFIG = REPOSITORY / "configs" / "logical_4agents_ring.yaml"
PLUGINS = Path(__file__).parent / "plugins"
RUN = [
    *(change for change in SMALL if not change.startswith(("until", "supervision", "exchange", "agents"))),
    "until={steps: 1500}",
    "agents.count=2",
    "agents.learner={kind: encoded, learning_starts: 100, batch_size: 32, hidden: [16]}",
    "agents.world_model={kind: linear, imagined_ratio: 0}",
    "faults=null",
    "exchange.negotiation={kind: naming, deadline: 1s}",
    "exchange.statistics={min_transitions: 50}",
    "exchange.components=[{kind: beats}]",
    "exchange.consensus={mode: mh, groups: [encoder, critic], every: {updates: 5}}",
    "supervision.checkpoint_interval=3s",
    "plugins=[lab_components]",
]
AGENTS = ("agent-0", "agent-1")


def test_components_of_a_plugin_work_in_the_processes_of_a_run(tmp_path: Path) -> None:
    for name in ("lab_components.py", "lab_implementations.py"):
        shutil.copy(PLUGINS / name, tmp_path)
    done = orchestrate(tmp_path / "runs", "up", str(CONFIG), "--name", "one", "--plain", *RUN, timeout=150)
    assert done.returncode == 0, done.stdout + done.stderr
    directory = tmp_path / "runs" / "one"
    encoders = [metrics(directory, agent, "lab.encoder") for agent in AGENTS]
    assert encoders[0][0] != encoders[1][0] and encoders[0][-1] == pytest.approx(encoders[1][-1], rel=1e-4), "the group encoder is averaged"
    for agent in AGENTS:
        assert metrics(directory, agent, "negotiated")[-1] == 1
        assert metrics(directory, agent, "statistics.origins")[-1] == 2 and metrics(directory, agent, "statistics.refused")[-1] == 0
        assert max(metrics(directory, agent, "world_model.transitions")) > 0
        assert metrics(directory, agent, "lab.beats")[-1] > 50
