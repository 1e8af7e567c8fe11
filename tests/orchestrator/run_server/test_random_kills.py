"""A run is hit at a random moment between its first instruction and its last: it ends as documented, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import random
import signal
from pathlib import Path
from threading import Event

import psutil
import pytest

from orchestrator.launch.process_control import sweep
from orchestrator.results import run_directories as runs
from tests.orchestrator.run_server.cluster import Cluster

pytestmark = [pytest.mark.slow, pytest.mark.cluster]

BLOWS = ("server", "host", "node", "terminate", "interrupt twice")


def victims(cluster: Cluster, blow: str) -> list[int]:
    """Numbers of the processes that a blow is for, as far as they exist yet."""
    if blow == "server":
        return [cluster.process.pid]
    if blow == "host":
        return [p.pid for p in cluster.processes() if "orchestrator.launch.host.host_process" in " ".join(p.cmdline())]
    try:
        records = json.loads((cluster.directory / "processes.json").read_text())
    except (OSError, ValueError):
        return []
    return [record["pid"] for record in records if record["name"].startswith(("agent", "env")) and psutil.pid_exists(record["pid"])][:1]


@pytest.mark.parametrize("moment", range(5))
@pytest.mark.parametrize("blow", BLOWS)
def test_any_blow_at_any_moment(tmp_path: Path, blow: str, moment: int) -> None:
    draw = random.Random(f"{blow} {moment}")
    cluster = Cluster(tmp_path / "run", until={"time": "3s"})
    try:
        # The moment is the point of this test: nothing but the clock can give it.
        Event().wait(draw.uniform(0.7, 6.0))
        if blow == "terminate":
            cluster.process.terminate()
        elif blow == "interrupt twice":
            cluster.process.send_signal(signal.SIGINT)
            Event().wait(draw.uniform(0.0, 0.5))
            if cluster.process.poll() is None:
                cluster.process.send_signal(signal.SIGINT)
        else:
            for pid in victims(cluster, blow):
                os.kill(pid, signal.SIGKILL)
        code = cluster.ended(45)
        if blow == "server":
            assert code in (-9, 0)
            sweep(cluster.directory)
        else:
            # 0: the blow came too late, or the node came back; -15, -2: before the run server could handle signals.
            allowed = {"host": {0, 10}, "node": {0}, "terminate": {0, 130, -15}, "interrupt twice": {0, 130, -2}}[blow]
            assert code in allowed, cluster.log()
        cluster.assert_nothing_left(within=15)
        run = runs.read(cluster.directory)
        assert not run.alive
        assert code < 0 or (run.state in runs.FINAL and run.exit_code == code)
    finally:
        cluster.close()
