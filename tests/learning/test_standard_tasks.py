"""Default settings learn standard tasks: real processes under the logical clock, so that a seed has one result on a machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.runs.system import metrics, orchestrate

pytestmark = [pytest.mark.cluster, pytest.mark.runs, pytest.mark.timeout(200)]
CARTPOLE = """\
environment: {id: "gymnasium:CartPole-v1"}
agents: {count: 1, learner: {kind: ppo}}
until: {steps: 20000}
clock: logical
evaluation: {every: 100000, final_episodes: 32}
"""


def test_ppo_balances_the_pole_within_20000_steps(tmp_path: Path) -> None:
    (tmp_path / "pole.yaml").write_text(CARTPOLE)
    done = orchestrate(tmp_path / "runs", "up", str(tmp_path / "pole.yaml"), "--name", "pole")
    assert done.returncode == 0, done.stdout + done.stderr
    first, last = metrics(tmp_path / "runs" / "pole", "env-0", "eval.own.return")
    assert first < 60 and last >= 450
