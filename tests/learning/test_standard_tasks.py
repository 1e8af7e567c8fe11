"""Default settings learn standard tasks: real processes under the logical clock, so that a seed has one result on a machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.runs.system import metrics, orchestrate

pytestmark = [pytest.mark.cluster, pytest.mark.runs, pytest.mark.timeout(200)]
CARTPOLE = """\
environment: {id: "gymnasium:CartPole-v1"}
agents: {count: 1, learner: {kind: ppo, evaluation: mode}}
until: {steps: 20000}
clock: logical
evaluation: {every: {steps: 2000}, episodes: 20, final_episodes: 20, time_share: null}
"""


def test_ppo_balances_the_pole_within_20000_steps(tmp_path: Path) -> None:
    (tmp_path / "pole.yaml").write_text(CARTPOLE)
    done = orchestrate(tmp_path / "runs", "up", str(tmp_path / "pole.yaml"), "--name", "pole")
    assert done.returncode == 0, done.stdout + done.stderr
    first, *later = metrics(tmp_path / "runs" / "pole", "env-0", "eval.own.return")
    # Which evaluation is the best depends on the processor; single policies on the way fall short of those before and after them.
    assert first < 60 and max(later) >= 475
