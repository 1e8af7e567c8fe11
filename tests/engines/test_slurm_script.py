"""A script of one's own on a real Slurm, from its start over the end of its time to the end of its successor."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path

import pytest

from protocols.runtime.errors import ExitCode
from tests.engines.slurm_cluster import SlurmCluster
from tests.orchestrator.run_server.cluster import eventually
from tests.runs.system import CONFIG, SMALL, command, environment, events

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(330)]


@pytest.mark.slow
def test_ones_own_script_is_stopped_before_its_time_is_over_and_resumed_by_another(slurm: SlurmCluster, tmp_path: Path) -> None:
    """The script of `docs/howto/hosts.md`, with a limit of two minutes: Slurm itself sends the signal."""
    slurm.repair()
    small = [change for change in SMALL if not change.startswith("until")]
    changes = [*small, "launch.engine=slurm", "launch.hosts=2", "launch.placement.policy=spread"]
    names = {**environment(tmp_path), "SLURM_CONF": str(slurm.configuration)}

    def submit(name: str, *words: str) -> str:
        script = tmp_path / f"{name}.sh"
        options = ["--no-kill", "--nodes=2", "--ntasks-per-node=1", "--cpus-per-task=2", "--mem=4G", "--time=2", "--signal=B:TERM@60"]
        lines = [f"#SBATCH {option}" for option in [*options, f"--output={tmp_path}/{name}.log"]]
        script.write_text("\n".join(["#!/bin/sh", *lines, f"exec {shlex.join(command('up', *words, '--timeout', '90s', '--plain'))}\n"]))
        done = subprocess.run(["sbatch", "--parsable", str(script)], env=names, cwd=tmp_path, text=True, capture_output=True, timeout=20)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def ended() -> bool:
        record = tmp_path / "own" / "run.json"
        return not slurm.jobs() and record.exists() and json.loads(record.read_text())["state"] in ("STOPPED", "DONE", "FAILED")

    submit("first", str(CONFIG), "--name", "own", *changes, "until={time: 300s}")
    eventually("the first job is over", ended, 150)
    first = json.loads((tmp_path / "own" / "run.json").read_text())
    assert (first["state"], first["exit_code"], first["segment"]) == ("STOPPED", ExitCode.INTERRUPTED, 1), (
        tmp_path / "first.log"
    ).read_text()
    assert set(json.loads((tmp_path / "own" / "placement.json").read_text()).values()) == {"h1", "h2"}
    kept = {node: (tmp_path / "own" / "nodes" / node / "checkpoints" / "LATEST").read_text() for node in ("agent-0", "agent-3")}
    submit("second", "--resume", "own", f"until={{time: {first['trained'] + 5:.0f}s}}")
    eventually("the second job is over", lambda: json.loads((tmp_path / "own" / "run.json").read_text())["segment"] == 2 and ended(), 150)
    second = json.loads((tmp_path / "own" / "run.json").read_text())
    assert second["state"] == "DONE", (tmp_path / "second.log").read_text()
    assert events(tmp_path / "own", "run.resumed")
    for node, checkpoint in kept.items():
        assert (tmp_path / "own" / "nodes" / node / "checkpoints" / "LATEST").read_text() > checkpoint
