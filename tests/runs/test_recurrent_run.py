"""Recurrent learners in real processes: a run of the logical clock that is stopped and resumed equals one that was not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.runs.system import metrics, orchestrate, results

pytestmark = [pytest.mark.runs, pytest.mark.cluster, pytest.mark.timeout(320)]
CONFIG = """\
version: 2
environment:
  id: mpe2:simple_spread_v3
  options: {N: 3, max_cycles: 25}
  copies: 4
  wrappers: [{of: "env_server.adapters.observed_components:observed_components", arguments: {components: [2, 3, 4, 5, 6, 7, 8, 9]}}]
agents:
  count: 3
  learner: {kind: ppo, hidden: [16], steps: 32, recurrent: {cell: gru, sequence: 8}}
  overrides:
    agent-1:
      learner: {kind: double_dqn, hidden: [16], learning_starts: 300, batch_size: 32, recurrent: {cell: lstm, sequence: 8, burn_in: 4}}
    agent-2: {learner: {kind: impala, hidden: [16], steps: 32, recurrent: {cell: gru}}}
clock: logical
evaluation: {every: {steps: 800}, episodes: 4, final_episodes: 4, time_share: null}
supervision: {checkpoint_interval: 1s}
"""


def up(runs: Path, *words: str) -> None:
    done = orchestrate(runs, "up", *words, "--plain", timeout=150)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_resumed_run_equals_one_that_was_not_stopped(tmp_path: Path) -> None:
    config, runs = tmp_path / "recurrent.yaml", tmp_path / "runs"
    config.write_text(CONFIG)
    up(runs, str(config), "--name", "long", "until={steps: 2400}")
    up(runs, str(config), "--name", "short", "until={steps: 1600}")
    up(runs, "--resume", "short", "until.steps=2400")
    assert results(runs / "short") == results(runs / "long")
    for agent in ("agent-0", "agent-1", "agent-2"):
        assert metrics(runs / "long", agent, "updates")[-1] > 0
